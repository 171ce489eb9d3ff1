//! What runs say about findings.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use squall_model::Verdict;

use crate::finding::RunRef;
use crate::{Analysis, Finding, FindingState};

/// A run that is over, as far as findings are concerned.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The run.
    pub run: String,
    /// The experiment.
    pub experiment: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How.
    pub verdict: Verdict,
    /// Every probe that it judged.
    pub probes: BTreeSet<String>,
    /// Those that were not as expected, in the manifest's order.
    pub deviations: Vec<Deviation>,
    /// The service, if the experiment says.
    pub service: Option<String>,
    /// Where it says what to do, if it is known.
    pub runbook: Option<String>,
    /// The game day that it belongs to.
    pub game_day: Option<String>,
}

/// A probe that was not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// The probe's name.
    pub probe: String,
    /// What was measured.
    pub analysis: Analysis,
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It is new.
    Opened,
    /// It was thought to be over, and is not.
    Reopened,
    /// It was seen again, and known; or seen to be absent, and not said to be fixed.
    Noted,
    /// It was said to be fixed, and is.
    Verified,
    /// The run says nothing about it, or was counted before.
    Nothing,
}

/// Which weakness it is: `f` and 80 bits of SHA-256 over experiment and probe, in Crockford's base32. Runs that deviate in the
/// same way have the same, so it is the id of the finding.
pub fn fingerprint(experiment: &str, probe: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let hash = digest(&SHA256, format!("{}\0{experiment}\0{probe}", experiment.len()).as_bytes());
    let number = hash.as_ref().iter().take(10).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    let digits = (0..16).rev().map(|place| char::from(ALPHABET[usize::try_from((number >> (place * 5)) & 31).unwrap_or_default()]));
    std::iter::once('f').chain(digits).collect()
}

impl Observation {
    /// The ids of the findings that it may be about: of the probes that deviated, and where it held of all that it judged. The
    /// weakness of a run that deviated is the first of these that is known; a new one has the first of all.
    pub fn candidates(&self) -> Vec<String> {
        let id = |probe: &str| fingerprint(&self.experiment, probe);
        match self.verdict {
            Verdict::Deviated => self.deviations.iter().map(|deviation| id(&deviation.probe)).collect(),
            Verdict::Held => self.probes.iter().map(|probe| id(probe)).collect(),
            Verdict::Unsteady | Verdict::Aborted | Verdict::Inconclusive | Verdict::Failed => Vec::new(),
        }
    }

    fn reference(&self) -> RunRef {
        RunRef { run: self.run.clone(), at: self.ended, verdict: self.verdict }
    }

    fn title(&self) -> String {
        match self.deviations.first() {
            Some(first) => {
                format!("{}: {} was {} and should be {}", self.experiment, first.probe, first.analysis.actual, first.analysis.expected)
            }
            None => format!("{} deviated", self.experiment),
        }
        .chars()
        .take(200)
        .collect()
    }
}

impl Finding {
    /// A new finding of a run that deviated.
    pub fn open(seen: &Observation) -> Self {
        let mut finding = Self {
            title: seen.title(),
            state: FindingState::Open,
            experiment: seen.experiment.clone(),
            service: seen.service.clone(),
            runbook: seen.runbook.clone(),
            tags: BTreeSet::new(),
            analysis: seen.deviations.iter().map(|deviation| deviation.analysis.clone()).collect(),
            notes: String::new(),
            actions: Vec::new(),
            runs: vec![seen.reference()],
            game_day: seen.game_day.clone(),
            opened: seen.ended,
            reopened: 0,
            since: seen.ended,
            history: Vec::new(),
        };
        finding.become_(FindingState::Open, &seen.run, seen.ended, Some("the run deviated".into()));
        finding
    }

    /// Takes in a run whose [`Observation::candidates`] name this finding. A run that was taken in before changes nothing.
    pub fn observe(&mut self, seen: &Observation) -> Observed {
        if self.runs.iter().any(|known| known.run == seen.run) {
            return Observed::Nothing;
        }
        match seen.verdict {
            Verdict::Deviated => {
                self.remember(seen.reference());
                self.analysis = seen.deviations.iter().map(|deviation| deviation.analysis.clone()).collect();
                // A run that began before somebody said that it is fixed says nothing about the fix.
                let over = matches!(self.state, FindingState::Fixed | FindingState::Verified) && seen.began >= self.since;
                if !over {
                    return Observed::Noted;
                }
                self.reopened += 1;
                self.become_(FindingState::Open, &seen.run, seen.ended, Some("a later run deviated in the same way".into()));
                Observed::Reopened
            }
            Verdict::Held => {
                self.remember(seen.reference());
                if self.state != FindingState::Fixed || seen.began < self.since {
                    return Observed::Noted;
                }
                self.become_(FindingState::Verified, &seen.run, seen.ended, Some("a later run held".into()));
                Observed::Verified
            }
            Verdict::Unsteady | Verdict::Aborted | Verdict::Inconclusive | Verdict::Failed => Observed::Nothing,
        }
    }
}
