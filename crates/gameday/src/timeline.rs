//! What happened on a game day, one thing after another.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Verdict;
use utoipa::ToSchema;

use crate::Marked;

/// One line of a game day's timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TimelineEntry)]
pub struct Entry {
    /// From 1, without gaps: what `Last-Event-ID` counts by.
    pub seq: u64,
    /// The server's time.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What happened.
    pub what: Happened,
}

/// What happened. Scenarios count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
#[schema(as = TimelineHappened)]
pub enum Happened {
    /// The game day began.
    Started {},
    /// A scenario's run was started.
    ScenarioStarted {
        /// Which scenario.
        scenario: usize,
        /// Its run.
        run: String,
    },
    /// The first fault of a scenario is in force.
    FaultInForce {
        /// Which scenario.
        scenario: usize,
    },
    /// A scenario's run is over.
    ScenarioEnded {
        /// Which scenario.
        scenario: usize,
        /// Its run.
        run: String,
        /// How.
        #[schema(value_type = String)]
        verdict: Verdict,
        /// Why.
        reason: String,
    },
    /// A scenario was left out.
    Skipped {
        /// Which scenario.
        scenario: usize,
        /// Why.
        reason: String,
    },
    /// Somebody noticed, or the service is well again.
    Marked {
        /// Which scenario.
        scenario: usize,
        /// Which of the two.
        mark: Marked,
    },
    /// A mark was a mistake.
    Unmarked {
        /// Which scenario.
        scenario: usize,
        /// Which of the two.
        mark: Marked,
    },
    /// What people and systems did.
    Actual {
        /// Which scenario.
        scenario: usize,
        /// In words.
        text: String,
    },
    /// Somebody noted something.
    Note {
        /// The scenario that it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scenario: Option<usize>,
        /// In words.
        text: String,
    },
    /// Something was learned.
    Lesson {
        /// In words.
        text: String,
    },
    /// Something is to be done, or has been.
    Action {
        /// Its number.
        id: u32,
        /// In words.
        text: String,
    },
    /// The game day is over.
    Finished {},
    /// The game day was called off.
    Cancelled {
        /// Why.
        reason: String,
    },
}

impl Happened {
    /// In words, with scenarios named by a function of their index.
    pub fn words(&self, title: impl Fn(usize) -> String) -> String {
        match self {
            Self::Started {} => "The game day began".into(),
            Self::ScenarioStarted { scenario, run } => format!("{}: run {run} started", title(*scenario)),
            Self::FaultInForce { scenario } => format!("{}: the fault is in force", title(*scenario)),
            Self::ScenarioEnded { scenario, verdict, reason, .. } => format!("{}: {verdict} ({reason})", title(*scenario)),
            Self::Skipped { scenario, reason } => format!("{}: left out ({reason})", title(*scenario)),
            Self::Marked { scenario, mark } => format!("{}: {}", title(*scenario), mark.name()),
            Self::Unmarked { scenario, mark } => format!("{}: not {} after all", title(*scenario), mark.name()),
            Self::Actual { scenario, text } | Self::Note { scenario: Some(scenario), text } => format!("{}: {text}", title(*scenario)),
            Self::Note { scenario: None, text } => text.clone(),
            Self::Lesson { text } => format!("Lesson: {text}"),
            Self::Action { id, text } => format!("Action {id}: {text}"),
            Self::Finished {} => "The game day is over".into(),
            Self::Cancelled { reason } => format!("The game day was called off: {reason}"),
        }
    }
}
