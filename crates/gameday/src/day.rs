//! A game day as it stands.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Verdict;
use utoipa::ToSchema;

use crate::{ActionItem, Plan, Role, ScenarioPlan};

/// A game day: its plan, and how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GameDay {
    /// What is meant to happen. Can be changed until it starts.
    pub plan: Plan,
    /// Where it stands.
    pub state: DayState,
    /// Who wrote the plan.
    pub by: String,
    /// How far each scenario is, in the plan's order.
    pub scenarios: Vec<Scenario>,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// When it was ended or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// Why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
    /// What was learned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lessons: Vec<String>,
    /// What is to be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionItem>,
    /// Entries of its timeline: the number of the last.
    #[serde(default)]
    pub entries: u64,
}

/// Where a game day stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = GameDayState)]
pub enum DayState {
    /// It has not begun.
    Planned,
    /// It is under way.
    Running,
    /// It is over. Lessons and action items can still be added.
    Finished,
    /// It was called off.
    Cancelled,
}

impl DayState {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How far a scenario is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// Where it stands.
    pub state: ScenarioState,
    /// Its run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// When it was started, and by whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Mark>,
    /// When the first fault was in force, as the run's journal has it. Times to detect and to resolve count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub fault_at: Option<Timestamp>,
    /// When its run was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// How its run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub verdict: Option<Verdict>,
    /// Why its run ended so, or why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When somebody noticed, and who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected: Option<Mark>,
    /// When the service was well again, and who said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Mark>,
    /// What people and systems did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
}

/// Where a scenario stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScenarioState {
    /// It has not been started.
    #[default]
    Waiting,
    /// Its run is under way.
    Running,
    /// Its run is over.
    Done,
    /// It was left out.
    Skipped,
}

impl ScenarioState {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Skipped => "skipped",
        }
    }
}

/// Somebody said that something was so, and the server's time when they did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GameDayMark)]
pub struct Mark {
    /// When.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub by: String,
}

/// What can be marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Marked {
    /// Somebody noticed.
    Detected,
    /// The service is well again.
    Resolved,
}

impl Marked {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Resolved => "resolved",
        }
    }
}

impl GameDay {
    /// One that has not begun.
    pub fn new(plan: Plan, by: &str) -> Self {
        let scenarios = vec![Scenario::default(); plan.scenarios.len()];
        Self {
            plan,
            state: DayState::Planned,
            by: by.to_owned(),
            scenarios,
            started: None,
            ended: None,
            cancelled: None,
            lessons: Vec::new(),
            actions: Vec::new(),
            entries: 0,
        }
    }

    /// As what somebody takes part.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.plan.participants.iter().find(|participant| participant.name == name).map(|participant| participant.role)
    }

    /// Runs that are under way.
    pub fn live_runs(&self) -> impl Iterator<Item = &str> {
        let live = self.scenarios.iter().filter(|scenario| scenario.state == ScenarioState::Running);
        live.filter_map(|scenario| scenario.run.as_deref())
    }

    /// The scenario that a run belongs to.
    pub fn scenario_of(&self, run: &str) -> Option<usize> {
        self.scenarios.iter().position(|scenario| scenario.run.as_deref() == Some(run))
    }

    /// Scenarios with their plans.
    pub fn both(&self) -> impl Iterator<Item = (&ScenarioPlan, &Scenario)> {
        self.plan.scenarios.iter().zip(&self.scenarios)
    }
}
