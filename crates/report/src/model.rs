//! The content of a report, before it has a form. Times are microseconds since the run's start unless said otherwise;
//! values are in their dimension's base unit (seconds, bytes, share of one, events a second).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::{Dimension, InjectionId, RevertedBy, RunId, TrafficSummary, Value, Verdict};
use utoipa::ToSchema;

/// Version of the JSON format. Within a version fields are only added.
pub const REPORT_VERSION: u32 = 1;

/// Everything that a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunReport)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// `metadata.name`.
    pub experiment: String,
    /// `hypothesis.statement`.
    pub statement: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// How the run ended; none for one that is under way or was interrupted.
    #[schema(value_type = Option<String>)]
    pub verdict: Option<Verdict>,
    /// The verdict in plain words.
    pub headline: String,
    /// Why, in one sentence.
    pub reason: String,
    /// What was learned, one sentence each.
    pub learned: Vec<String>,
    /// Which run it was.
    pub facts: Facts,
    /// When each phase was.
    pub phases: Vec<PhaseSpan>,
    /// One for each probe.
    pub probes: Vec<ProbeReport>,
    /// One for each guard.
    pub guards: Vec<GuardReport>,
    /// One for each comparison of a step's targets with its control group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<ComparisonReport>,
    /// One for each fault on each target.
    pub injections: Vec<InjectionReport>,
    /// What stopped the run before its method was through.
    pub stop: Option<StopReport>,
    /// Whether the system came back.
    pub recovery: RecoveryReport,
    /// Explicit rollback actions.
    pub rollback: Vec<RollbackReport>,
    /// What did not go as expected: one for each metric.
    pub analysis: Vec<Analysis>,
    /// What to do about it, to be filled in by people.
    pub actions: Vec<Action>,
    /// What the load generator saw.
    #[schema(value_type = Vec<Object>)]
    pub traffic: Vec<TrafficSummary>,
    /// What happened, in order.
    pub events: Vec<EventLine>,
    /// The manifest as it was run, without the values of secrets.
    pub manifest: String,
}

/// Which run it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunFacts)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The run.
    #[schema(value_type = String)]
    pub run: RunId,
    /// Name of the host.
    pub host: String,
    /// Who started it.
    pub user: String,
    /// Wall clock at the start, RFC 3339 in UTC.
    pub started: String,
    /// Decided every random choice.
    pub seed: u64,
    /// From the start to the last event.
    pub duration: u64,
    /// Version of Squall.
    pub squall: String,
}

/// When a phase was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunPhase)]
#[serde(rename_all = "camelCase")]
pub struct PhaseSpan {
    /// `steady`, `inject`, `observe`, `revert`, `recover`.
    pub phase: String,
    /// When it began.
    pub from: u64,
    /// When the next began, or the run's last event.
    pub to: u64,
}

/// One probe with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunProbe)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// Its name.
    pub name: String,
    /// What was measured, in words.
    pub what: String,
    /// What was expected, in words; empty for a probe that was only watched.
    pub expectation: String,
    /// What its values are measured in.
    #[schema(value_type = String)]
    pub dimension: Dimension,
    /// The thresholds that are numbers.
    pub thresholds: Vec<f64>,
    /// What came of it.
    pub status: ProbeStatus,
    /// The value furthest from what was expected, among those under the fault and after it, for people.
    pub worst: Option<String>,
    /// Before anything was touched.
    pub before: Stage,
    /// From the first injection to the start of the revert.
    pub during: Stage,
    /// After everything was reverted.
    pub after: Stage,
    /// Start of the first violation under the fault.
    pub first_violation: Option<u64>,
    /// How long the longest violation lasted.
    pub longest_violation: Option<u64>,
    /// From the first fault in force until the first violation was known.
    pub time_to_detect: Option<u64>,
    /// From the end of the revert until it was satisfied for good.
    pub time_to_recover: Option<u64>,
    /// Every sample.
    pub samples: Vec<Point>,
}

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunProbeStatus)]
#[serde(rename_all = "lowercase")]
pub enum ProbeStatus {
    /// As expected under the fault and after it.
    Held,
    /// Not as expected under the fault, or not again after it.
    Violated,
    /// Not as expected before anything was touched.
    Unsteady,
    /// Could not be measured well enough to say.
    Unmeasured,
    /// Nothing was expected of it.
    Watched,
    /// Nothing was injected, so nothing can be said.
    Untested,
}

/// The samples of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunStage)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Samples asked in the stage.
    pub samples: usize,
    /// Those that could not be measured.
    pub unmeasured: usize,
    /// Those that violated the expectation.
    pub violated: usize,
    /// None where there were no numbers.
    pub numbers: Option<Numbers>,
}

/// Quantiles (nearest rank).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunNumbers)]
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

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunPoint)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When it was asked.
    pub at: u64,
    /// The answer; none where it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<Value>,
    /// Why it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it violated the expectation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub violated: bool,
}

/// One guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunGuard)]
#[serde(rename_all = "camelCase")]
pub struct GuardReport {
    /// The probe that it watched.
    pub probe: String,
    /// The condition in words.
    pub condition: String,
    /// It aborted the run.
    pub tripped: bool,
    /// When, and why.
    pub at: Option<u64>,
    /// What it saw.
    pub why: Option<String>,
}

/// A comparison of a step's targets with its control group. An answer that is not as expected, or does not come in time, is a bad one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunComparison)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonReport {
    /// Its name.
    pub name: String,
    /// What was asked, in words.
    pub what: String,
    /// What a good answer is, in words.
    pub expectation: String,
    /// What the answers are measured in.
    #[schema(value_type = String)]
    pub dimension: Dimension,
    /// The thresholds that are numbers.
    pub thresholds: Vec<f64>,
    /// The step whose targets were asked.
    pub step: String,
    /// What came of it.
    pub status: ComparisonStatus,
    /// The same in one sentence.
    pub summary: String,
    /// How much larger the share of bad answers might be, from 0 to 1.
    pub margin: f64,
    /// How sure each end of `difference` is at any time, from 0 to 1.
    pub confidence: f64,
    /// By how much the share of bad answers was larger under the fault: the differences that are not ruled out, from -1 to 1.
    pub difference: [f64; 2],
    /// When the targets were shown to be worse off.
    pub worse: Option<u64>,
    /// The targets of the step while the fault was in force.
    pub experiment: ArmReport,
    /// The control group meanwhile.
    pub control: ArmReport,
    /// All answers in the order of time, also those before and after the fault.
    pub turns: Vec<Turn>,
}

/// What came of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunComparisonStatus)]
#[serde(rename_all = "camelCase")]
pub enum ComparisonStatus {
    /// The targets were shown to be worse off, by more than the margin.
    Worse,
    /// They were shown not to be.
    NotWorse,
    /// Neither was shown.
    Undecided,
    /// It cannot say anything: answers were missing, or the control group was not well itself.
    Unmeasured,
    /// No fault came into force.
    Untested,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunArm)]
#[serde(rename_all = "camelCase")]
pub struct ArmReport {
    /// Who was asked, for people.
    pub targets: Vec<String>,
    /// Answers that counted: at most one a second of each target.
    pub answers: u32,
    /// Those that were bad.
    pub bad: u32,
    /// None where there were no numbers.
    pub numbers: Option<Numbers>,
}

/// The answers of a short time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunTurn)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// When it began.
    pub at: u64,
    /// Answers of the step's targets.
    #[serde(default, skip_serializing_if = "TurnArm::is_empty")]
    pub experiment: TurnArm,
    /// Answers of the control group.
    #[serde(default, skip_serializing_if = "TurnArm::is_empty")]
    pub control: TurnArm,
}

/// The answers of one side in a short time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunTurnArm)]
#[serde(rename_all = "camelCase")]
pub struct TurnArm {
    /// All of them.
    pub answers: u32,
    /// Those that were bad.
    pub bad: u32,
    /// The middle one of those that are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
}

/// One fault on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunInjection)]
#[serde(rename_all = "camelCase")]
pub struct InjectionReport {
    /// Its number within the run.
    #[schema(value_type = u32)]
    pub injection: InjectionId,
    /// The step's name.
    pub step: String,
    /// The kind of fault.
    pub fault: String,
    /// What that kind does.
    pub summary: String,
    /// Its arguments, in words.
    pub arguments: String,
    /// The target, for people.
    pub target: String,
    /// The target's id.
    pub target_id: String,
    /// When it was begun.
    pub begun: u64,
    /// When it came into force.
    pub in_force: Option<u64>,
    /// Whether the effect was seen on the target.
    pub verified: Option<bool>,
    /// What was seen.
    pub evidence: Option<String>,
    /// How it goes away, by its kind.
    pub undone: String,
    /// When it was gone. None too where somebody else reverted it after the run was gone; `by` says who.
    pub reverted: Option<u64>,
    /// Who reverted it.
    #[schema(value_type = Option<String>)]
    pub by: Option<RevertedBy>,
    /// What was done, in words.
    pub how: Option<String>,
    /// The last error of it.
    pub error: Option<String>,
    /// Squall could not revert it within the run.
    pub stuck: bool,
    /// The step went on without it: enough of its other targets were left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

/// What stopped the run early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunStop)]
#[serde(rename_all = "camelCase")]
pub struct StopReport {
    /// When.
    pub at: u64,
    /// Why, in words.
    pub why: String,
}

/// Whether the system came back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunRecovery)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryReport {
    /// The longest time that it may take, in microseconds.
    pub within: u64,
    /// None where it was not looked at.
    pub recovered: Option<bool>,
    /// From the end of the revert until the system was steady for as long as the manifest asks.
    pub took: Option<u64>,
}

/// One explicit rollback action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunRollback)]
#[serde(rename_all = "camelCase")]
pub struct RollbackReport {
    /// Its name.
    pub name: String,
    /// Whether it ran.
    pub ran: bool,
    /// Why it failed.
    pub error: Option<String>,
}

/// One thing that did not go as expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunAnalysis)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// What was looked at.
    pub metric: String,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub actual: String,
    /// What happened when, one sentence each.
    pub happened: Vec<String>,
}

/// One thing to do, to be filled in by people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunAction)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// What.
    pub action: String,
    /// Who.
    pub owner: Option<String>,
    /// `P0` (now) to `P2` (some day).
    pub priority: Option<String>,
    /// By when.
    pub deadline: Option<String>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunEventLine)]
#[serde(rename_all = "camelCase")]
pub struct EventLine {
    /// When.
    pub at: u64,
    /// How it is meant.
    pub mark: Mark,
    /// In words.
    pub text: String,
}

/// How an event is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[schema(as = RunMark)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// The run goes on.
    Step,
    /// Something is broken on purpose.
    Fault,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Not known, or for a person to look at.
    Unsure,
}

impl Mark {
    /// One character for it, so that colour is never all there is.
    pub const fn sign(self) -> char {
        match self {
            Self::Step => '›',
            Self::Fault => '⚡',
            Self::Good => '✓',
            Self::Bad => '✗',
            Self::Unsure => '?',
        }
    }

    /// As CSS and JSON have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Fault => "fault",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unsure => "unsure",
        }
    }
}

impl ProbeStatus {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Violated => "violated",
            Self::Unsteady => "not steady",
            Self::Unmeasured => "not measurable",
            Self::Watched => "watched",
            Self::Untested => "not tested",
        }
    }

    /// How it is meant.
    pub const fn mark(self) -> Mark {
        match self {
            Self::Held => Mark::Good,
            Self::Violated | Self::Unsteady => Mark::Bad,
            Self::Unmeasured => Mark::Unsure,
            Self::Watched | Self::Untested => Mark::Step,
        }
    }
}

impl TurnArm {
    fn is_empty(&self) -> bool {
        self.answers == 0
    }

    /// The share of bad ones; none of none.
    pub fn share(&self) -> Option<f64> {
        (self.answers > 0).then(|| f64::from(self.bad) / f64::from(self.answers))
    }
}

impl ComparisonStatus {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::NotWorse => "not worse",
            Self::Undecided => "no difference shown",
            Self::Unmeasured => "says nothing",
            Self::Untested => "not tested",
        }
    }

    /// How it is meant.
    pub const fn mark(self) -> Mark {
        match self {
            Self::Worse => Mark::Bad,
            Self::NotWorse => Mark::Good,
            Self::Unmeasured => Mark::Unsure,
            Self::Undecided | Self::Untested => Mark::Step,
        }
    }
}

impl Report {
    /// The verdict in one word, `unfinished` where there is none.
    pub const fn outcome(&self) -> &'static str {
        match self.verdict {
            Some(verdict) => verdict.name(),
            None => "unfinished",
        }
    }
}

impl InjectionReport {
    /// When the target was, or may have been, broken: from the start of the injection to its revert, or the run's end.
    pub fn window(&self, end: u64) -> (u64, u64) {
        (self.in_force.unwrap_or(self.begun), self.reverted.unwrap_or(end))
    }
}

impl From<squall_engine::Numbers> for Numbers {
    fn from(squall_engine::Numbers { min, median, p95, max, mean }: squall_engine::Numbers) -> Self {
        Self { min, median, p95, max, mean }
    }
}

impl From<&squall_engine::StageEvidence> for Stage {
    fn from(stage: &squall_engine::StageEvidence) -> Self {
        let numbers = stage.numbers.map(Numbers::from);
        Self { samples: stage.samples, unmeasured: stage.unmeasured, violated: stage.violated, numbers }
    }
}
