//! What a verdict rests on: per probe the baseline, the time under the fault and the time after it, in numbers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use squall_model::{Arm, Event, Measured, Record, Value};

use crate::program::Program;
use crate::state::{Judgement, Micros, State};

/// One probe's samples and what they come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeEvidence {
    /// Its name.
    pub name: String,
    /// What was measured, in words.
    pub what: String,
    /// The expectation in words; empty for a probe that was only watched.
    pub expectation: String,
    /// Before anything was touched.
    pub before: StageEvidence,
    /// From the first injection to the start of the revert.
    pub during: StageEvidence,
    /// After everything was reverted.
    pub after: StageEvidence,
    /// Microseconds from the run's start to the first violation under the fault.
    pub first_violation: Option<Micros>,
    /// The longest violation without a pause, in microseconds.
    pub longest_violation: Option<Micros>,
    /// Microseconds from the first fault in force to the moment at which the first violation was known.
    pub time_to_detect: Option<Micros>,
    /// Microseconds from the end of the revert until the probe was satisfied for good, for a probe that was violated.
    pub time_to_recover: Option<Micros>,
    /// Every sample, for charts.
    pub samples: Vec<SampleEvidence>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleEvidence {
    /// When the answer came, in microseconds since the run's start.
    pub at: Micros,
    /// When it was asked.
    pub asked: Micros,
    /// The answer; none where it could not be measured.
    pub value: Option<Value>,
    /// Why it could not be measured.
    pub error: Option<String>,
    /// Whether it violated the expectation.
    pub violated: bool,
}

/// One answer in a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedEvidence {
    /// When it was asked, in microseconds since the run's start.
    pub asked: Micros,
    /// Which group was asked.
    pub arm: Arm,
    /// The answer, where it is a number.
    pub value: Option<f64>,
    /// Whether it was a bad one.
    pub bad: bool,
    /// It was asked while the fault was in force.
    pub counts: bool,
}

/// The samples of one stage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageEvidence {
    /// Samples asked in the stage.
    pub samples: usize,
    /// Those that could not be measured.
    pub unmeasured: usize,
    /// Those that violated the expectation.
    pub violated: usize,
    /// Quantiles of the numbers, in the dimension's base unit; none where there were no numbers.
    pub numbers: Option<Numbers>,
}

/// Quantiles of a stage's numbers (nearest rank).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Largest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
}

impl Numbers {
    /// Of these numbers; none for none.
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an index is an index")]
        let rank = |q: f64| sorted[((q * sorted.len() as f64).ceil() as usize).saturating_sub(1).min(last)];
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        Some(Self { min: sorted[0], median: rank(0.5), p95: rank(0.95), max: sorted[last], mean })
    }
}

/// A finished (or interrupted) run, worked out from its journal.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The state that replaying the journal gives: phases, injections, guards, verdict.
    pub state: State,
    /// One for each probe.
    pub probes: Vec<ProbeEvidence>,
    /// The answers of each comparison.
    pub comparisons: Vec<Vec<ComparedEvidence>>,
}

impl Evidence {
    /// Works it out.
    pub fn gather(program: &Arc<Program>, records: &[Record]) -> Self {
        let mut state = State::new(program.clone());
        let mut samples: Vec<Vec<SampleEvidence>> = vec![Vec::new(); program.probes.len()];
        let mut comparisons: Vec<Vec<ComparedEvidence>> = vec![Vec::new(); program.comparisons.len()];
        for record in records {
            state.step(record.at, &record.event);
            if let Event::Compared { comparison, arm, target, took, measured } = &record.event
                && let Some((list, spec)) = comparisons.get_mut(*comparison).zip(program.comparisons.get(*comparison))
            {
                let asked = record.at.saturating_sub(*took);
                let value = if let Measured::Value(Value::Number(n)) = measured { Some(*n).filter(|n| n.is_finite()) } else { None };
                let counts = state.counts(spec, *arm, target, asked);
                list.push(ComparedEvidence { asked, arm: *arm, value, bad: spec.is_bad(measured), counts });
            }
            if let Event::Sampled { probe, took, measured } = &record.event
                && let Some(list) = samples.get_mut(*probe)
            {
                let last = state.probes[*probe].last.as_ref();
                list.push(SampleEvidence {
                    at: record.at,
                    asked: record.at.saturating_sub(*took),
                    value: last.and_then(|l| l.value.clone()),
                    error: if let Measured::Unmeasured(why) = measured { Some(why.clone()) } else { last.and_then(|l| l.error.clone()) },
                    violated: last.is_some_and(|l| l.judgement == Judgement::Violated),
                });
            }
        }
        let probes = samples.into_iter().enumerate().map(|(i, samples)| probe_evidence(&state, i, samples)).collect();
        Self { state, probes, comparisons }
    }
}

fn probe_evidence(state: &State, index: usize, samples: Vec<SampleEvidence>) -> ProbeEvidence {
    let (spec, probe) = (&state.program.probes[index], &state.probes[index]);
    let first = state.first_injection.unwrap_or(Micros::MAX);
    let phase_start = |phase| state.phases.iter().find(|(p, _)| *p == phase).map(|(_, at)| *at);
    let reverting = phase_start(crate::Phase::Revert).unwrap_or(Micros::MAX);
    let reverted = state.reverted_at.unwrap_or(Micros::MAX);
    let stage = |of: &dyn Fn(&SampleEvidence) -> bool| stage_evidence(samples.iter().filter(|s| of(s)));
    let violated = probe.first_violation.is_some();
    ProbeEvidence {
        name: spec.name.clone(),
        what: spec.what.clone(),
        expectation: spec.expectation.clone(),
        before: stage(&|s| s.at <= first),
        during: stage(&|s| s.at > first && s.asked < reverting),
        after: stage(&|s| s.asked >= reverted),
        first_violation: probe.first_violation,
        longest_violation: violated.then_some(probe.longest_violation),
        time_to_detect: probe.detected.zip(state.first_in_force).map(|(at, from)| at.saturating_sub(from)),
        time_to_recover: if violated { probe.ok_since.zip(state.reverted_at).map(|(at, from)| at.saturating_sub(from)) } else { None },
        samples,
    }
}

fn stage_evidence<'a>(samples: impl Iterator<Item = &'a SampleEvidence> + Clone) -> StageEvidence {
    let numbers: Vec<f64> = samples.clone().filter_map(|s| if let Some(Value::Number(n)) = s.value { Some(n) } else { None }).collect();
    StageEvidence {
        samples: samples.clone().count(),
        unmeasured: samples.clone().filter(|s| s.value.is_none()).count(),
        violated: samples.filter(|s| s.violated).count(),
        numbers: Numbers::of(&numbers),
    }
}
