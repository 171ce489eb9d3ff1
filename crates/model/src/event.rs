//! The journal's vocabulary: everything that happened to a run, in order. State is whatever replaying these gives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InjectionId, Measured, RunId, Verdict};

/// Version of the journal's format. A reader refuses newer ones.
pub const JOURNAL_VERSION: u32 = 1;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// From 0, without gaps, within one run.
    pub seq: u64,
    /// Microseconds since the run's start, on a clock that no fault can skew (`CLOCK_BOOTTIME`). Never decreases.
    pub at: u64,
    /// What happened.
    pub event: Event,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// The run began. Always the first.
    Started(Box<Started>),
    /// The plan was made and nothing speaks against it.
    Planned,
    /// A probe was asked.
    Sampled {
        /// Index in `hypothesis.probes`.
        probe: usize,
        /// Microseconds from asking to the answer.
        took: u64,
        /// What came of it.
        measured: Measured,
    },
    /// One of a comparison's targets was asked.
    Compared {
        /// Index in `compare`.
        comparison: usize,
        /// Which of the two it belongs to.
        arm: Arm,
        /// The target's id.
        target: String,
        /// Microseconds from asking to the answer.
        took: u64,
        /// What came of it.
        measured: Measured,
    },
    /// A timer of the engine went off.
    Elapsed {
        /// Which.
        timer: Timer,
    },
    /// The targets of a step were chosen.
    Selected {
        /// The step.
        node: usize,
        /// How many matched the selector.
        matched: usize,
        /// Those chosen.
        targets: Vec<TargetRef>,
        /// Labels of the targets that are its control group from now on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        control: Vec<String>,
    },
    /// The targets of a step could not be chosen.
    SelectFailed {
        /// The step.
        node: usize,
        /// Why, and what to do.
        error: String,
    },
    /// An injection's undo is on disk; from here on the target may have been touched.
    Armed {
        /// Which.
        injection: InjectionId,
    },
    /// A fault is in force, as far as its own calls tell.
    Injected {
        /// Which.
        injection: InjectionId,
    },
    /// A fault could not be put in force. What was done of it is reverted like any other.
    InjectFailed {
        /// Which.
        injection: InjectionId,
        /// Why.
        error: String,
    },
    /// The effect of a fault was looked for on the target.
    Verified {
        /// Which.
        injection: InjectionId,
        /// Whether it is really there.
        in_force: bool,
        /// What was seen.
        evidence: String,
    },
    /// A fault is gone and the target is as it was.
    Reverted {
        /// Which.
        injection: InjectionId,
        /// Who did it.
        by: RevertedBy,
        /// What was done, in words.
        how: String,
    },
    /// One try to revert failed.
    RevertFailed {
        /// Which.
        injection: InjectionId,
        /// Why.
        error: String,
    },
    /// An explicit rollback action ran.
    RolledBack {
        /// Index in `rollback.actions`.
        action: usize,
        /// Why it failed, if it did.
        error: Option<String>,
    },
    /// Somebody or something asked for the run to stop.
    StopRequested {
        /// Who: a signal's name, `squall stop`, the stop file, a key.
        by: String,
    },
    /// A person said that a suspended run may go on.
    ContinueRequested {
        /// Who.
        by: String,
    },
    /// Squall can no longer keep its promises: the watchdog is gone and could not be replaced, or the journal cannot be written.
    SafetyLost {
        /// What was seen.
        reason: String,
    },
    /// What the load generator saw in all, by traffic.
    TrafficEnded {
        /// One for each traffic.
        summaries: Vec<TrafficSummary>,
    },
    /// Something that whoever reads the report should know and that changes nothing.
    Noted {
        /// In words.
        text: String,
    },
    /// The run is over. Always the last.
    Ended {
        /// How.
        verdict: Verdict,
        /// Why, in one sentence.
        reason: String,
    },
}

/// What is known when a run begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Started {
    /// Format of this journal: [`JOURNAL_VERSION`].
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// `metadata.name`.
    pub experiment: String,
    /// The manifest as text, so that a report needs nothing else.
    pub manifest: String,
    /// Decides every random choice.
    pub seed: u64,
    /// Wall clock at the start, RFC 3339 in UTC.
    pub wall: String,
    /// Name of the host.
    pub host: String,
    /// Who started it.
    pub user: String,
    /// Version of Squall.
    pub squall: String,
}

/// A timer of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Timer {
    /// The steady phase has lasted long enough.
    SteadyEnd,
    /// A step's own timer: delay, wait, time box, ramp stage, pause between repeats, or the end of a suspension.
    Node(usize),
    /// An injection's time box is over.
    TimeBox(InjectionId),
    /// Time to try a failed revert again.
    RetryRevert(InjectionId),
    /// The observation after the method is over.
    ObserveEnd,
    /// The whole method took too long.
    Timeout,
    /// Recovery took too long.
    RecoveryEnd,
    /// A guard's condition has been met for its whole `for`, by index in `guards`.
    Guard(usize),
}

/// A target as journals and reports name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetRef {
    /// The injection that will be made.
    pub injection: InjectionId,
    /// Unique on the host and never reused: `process:1234:5678` is pid 1234 that started at tick 5678.
    pub id: String,
    /// For people: `payments (pid 1234)`.
    pub label: String,
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// What the fault is applied to.
    Experiment,
    /// What nothing of the run touches.
    Control,
}

/// Who reverted an injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RevertedBy {
    /// The run itself.
    Engine,
    /// The watchdog, because the run was gone or late.
    Watchdog,
    /// `squall recover`, or the start of a later run.
    Recover,
    /// `squall stop`, because the run did not react.
    Stop,
    /// The agent on the target's host, which had not heard of the run for its lease time, or was told to stop everything.
    Agent,
}

/// What the load generator saw over a whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficSummary {
    /// The traffic's name.
    pub name: String,
    /// Requests that were due.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Failures by class: `timeout`, `connect`, `reset`, `status 503`, `overload`…
    pub errors: std::collections::BTreeMap<String, u64>,
    /// Arrivals a second, as achieved.
    pub rate: f64,
    /// Latency in seconds from the scheduled arrival: p50, p90, p95, p99, p99.9, max.
    pub latency: LatencySummary,
}

/// Latency quantiles in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencySummary {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// Mean.
    pub mean: f64,
    /// Largest.
    pub max: f64,
}
