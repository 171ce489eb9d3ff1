//! What becomes of each time of a schedule, decided exactly once.
//!
//! The state is one moment: every occurrence whose nominal time is up to it has been decided. Deciding goes on from there, so
//! an occurrence is decided by the first look after it is due, never twice, and none is left out; where the clock jumps back,
//! nothing is due until it has caught up. A second server that has not yet seen the new state decides the same occurrences
//! under the same ids, which is how it finds that they are taken.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Time;

use super::{Concurrency, MissedPolicy, Occurrence, Timetable};

/// How far a schedule has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Each occurrence whose nominal time is not after this one has been decided.
    pub decided: Timestamp,
}

impl State {
    /// That of a schedule that is new: what was before it does not count.
    pub fn new(now: Timestamp) -> Self {
        Self { decided: now }
    }
}

/// What is done about an occurrence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// Which.
    pub occurrence: Occurrence,
    /// What.
    pub outcome: Outcome,
}

/// What is done about an occurrence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// The experiment starts.
    Fire {
        /// The runs of this schedule that are still going on are stopped first.
        replace: bool,
        /// It was missed, and is made up for.
        late: bool,
    },
    /// It does not start, as the schedule says.
    Skip {
        /// By which rule.
        because: Because,
        /// In words.
        detail: String,
    },
    /// It does not start, as nobody was there to start it in time.
    Missed {
        /// In words.
        detail: String,
    },
}

/// The rule by which an occurrence is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Because {
    /// The schedule is paused.
    Paused,
    /// The day is a holiday.
    Holiday,
    /// Outside the windows, or within a freeze.
    Calendar,
    /// A run of the same schedule is still going on.
    Running,
}

/// Occurrences so long ago, or so many, that they are not listed one by one. They were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lapsed {
    /// The nominal time of the first.
    pub first: Timestamp,
    /// The nominal time of the last is not after this.
    pub until: Timestamp,
}

/// What came of looking at a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What to do, in order of time.
    pub decisions: Vec<Decision>,
    /// What was missed before those.
    pub lapsed: Option<Lapsed>,
    /// To be kept, in the same transaction as the records of the decisions.
    pub state: State,
    /// When to look again; none where the schedule is over.
    pub wake: Option<Timestamp>,
    /// The clock is behind what has been decided already: it was set back.
    pub clock_went_back: bool,
}

/// Missed occurrences are listed one by one for a day at least.
const LISTED_FOR: Time = Time::from_secs(24 * 3600);
/// And at most so many.
const LISTED: usize = 1000;

impl Timetable {
    /// Decides what became due since the last look. `running` says whether a run of this schedule is still going on.
    pub fn decide(&self, state: State, now: Timestamp, running: bool) -> Decided {
        let (due, lapsed) = self.due(state.decided, now);
        let decided = due.last().map(|last| last.nominal).max(lapsed.map(|lapsed| lapsed.until)).unwrap_or(state.decided);
        let state = State { decided: decided.max(state.decided) };
        let decisions = self.judge(due, now, running);
        let wake = self.next(state.decided).map(|next| next.due);
        Decided { decisions, lapsed, state, wake, clock_went_back: now < state.decided }
    }

    /// The occurrences that are due and not decided, and which of them are too long ago to be listed.
    fn due(&self, decided: Timestamp, now: Timestamp) -> (Vec<Occurrence>, Option<Lapsed>) {
        // Jitter moves a start by less than itself: what is nominally before the horizon was due before the reach.
        let reach = duration(LISTED_FOR.max(self.missed.deadline).max(self.missed.after)) + self.jitter();
        let horizon = now.checked_sub(reach).unwrap_or(Timestamp::MIN);
        let mut lapsed = None;
        let mut from = decided;
        if horizon > decided {
            from = horizon;
            lapsed =
                self.next(decided).filter(|first| first.nominal <= horizon).map(|first| Lapsed { first: first.nominal, until: horizon });
        }
        let mut listed = VecDeque::new();
        let mut next = self.next(from);
        while let Some(occurrence) = next.take().filter(|occurrence| occurrence.due <= now) {
            next = self.next(occurrence.nominal);
            listed.push_back(occurrence);
            if listed.len() > LISTED
                && let Some(oldest) = listed.pop_front()
            {
                let first = lapsed.map_or(oldest.nominal, |lapsed| lapsed.first);
                lapsed = Some(Lapsed { first, until: oldest.nominal });
            }
        }
        (listed.into(), lapsed)
    }

    fn judge(&self, due: Vec<Occurrence>, now: Timestamp, running: bool) -> Vec<Decision> {
        let late = |occurrence: &Occurrence| now.duration_since(occurrence.due) > duration(self.missed.after);
        let refusals: Vec<Option<(Because, String)>> = due.iter().map(|occurrence| self.refused(occurrence)).collect();
        let made_up = self.made_up(&due, &refusals, now);
        let mut running = running;
        let decide = |(i, occurrence): (usize, Occurrence)| {
            let outcome = if let Some((because, detail)) = refusals[i].clone() {
                Outcome::Skip { because, detail }
            } else if late(&occurrence) && !made_up.contains(&i) {
                Outcome::Missed { detail: self.why_missed(&occurrence, now) }
            } else if let Some((because, why)) = self.refusal(now) {
                // It was allowed when it was due; now is when it would start.
                if late(&occurrence) {
                    Outcome::Missed { detail: format!("it could not be made up for: {why}") }
                } else {
                    Outcome::Skip { because, detail: why }
                }
            } else if running && self.concurrency == Concurrency::Forbid {
                Outcome::Skip { because: Because::Running, detail: "a run of this schedule was still going on".into() }
            } else {
                let replace = running && self.concurrency == Concurrency::Replace;
                running = true;
                Outcome::Fire { replace, late: late(&occurrence) }
            };
            Decision { occurrence, outcome }
        };
        due.into_iter().enumerate().map(decide).collect()
    }

    /// Why an occurrence is skipped whoever looks at it, and when.
    fn refused(&self, occurrence: &Occurrence) -> Option<(Because, String)> {
        if self.paused {
            return Some((Because::Paused, "the schedule is paused".into()));
        }
        self.refusal(occurrence.due)
    }

    /// Which of the late ones the policy makes up for.
    fn made_up(&self, due: &[Occurrence], refusals: &[Option<(Because, String)>], now: Timestamp) -> Vec<usize> {
        let lateness = |i: usize| now.duration_since(due[i].due);
        let good: Vec<usize> = (0..due.len()).filter(|i| refusals[*i].is_none()).collect();
        let (late, in_time): (Vec<usize>, Vec<usize>) = good.into_iter().partition(|i| lateness(*i) > duration(self.missed.after));
        let late = late.into_iter().rev().filter(|i| lateness(*i) <= duration(self.missed.deadline));
        match self.missed.policy {
            MissedPolicy::Skip => Vec::new(),
            // One that is in time makes up for them.
            MissedPolicy::Once if !in_time.is_empty() => Vec::new(),
            MissedPolicy::Once => late.take(1).collect(),
            MissedPolicy::All => late.take(self.missed.up_to as usize).collect(),
        }
    }

    fn why_missed(&self, occurrence: &Occurrence, now: Timestamp) -> String {
        let lateness = now.duration_since(occurrence.due);
        let ago = format!("nobody looked until {} after it was due", shown(lateness));
        if self.missed.policy == MissedPolicy::Skip {
            ago
        } else if lateness > duration(self.missed.deadline) {
            format!("{ago}, which is past the deadline of {}", self.missed.deadline)
        } else {
            format!("{ago}; a later one makes up for it")
        }
    }
}

fn duration(time: Time) -> SignedDuration {
    SignedDuration::try_from(time.std()).unwrap_or(SignedDuration::MAX)
}

fn shown(lateness: SignedDuration) -> String {
    let seconds = lateness.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    }
}
