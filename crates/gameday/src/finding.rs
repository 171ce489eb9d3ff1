//! A weakness that was found, and what becomes of it.
//!
//! ```text
//!   open ──▶ acknowledged ──▶ fixed ──▶ verified        by a later run of the experiment that held
//!    ▲  └────────┬────────────▲  │          │
//!    │           └▶ wontfix      │          │
//!    └───────────────────────────┴──────────┘           by a later run that deviates in the same way, or by a person
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Verdict;
use utoipa::ToSchema;

use crate::mistake::{link, text};
use crate::{ActionItem, Mistake, NewActionItem, action};

/// A weakness that a run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// In a few words.
    pub title: String,
    /// Where it stands.
    pub state: FindingState,
    /// The experiment that found it.
    pub experiment: String,
    /// The service that it is about: the label `service` of the experiment, unless somebody said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where it says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// For searching.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// What was measured and what was expected, when it was seen last.
    pub analysis: Vec<Analysis>,
    /// What people think of it. Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// What is to be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionItem>,
    /// Runs that show it, or that it is gone: the first and the last 49.
    pub runs: Vec<RunRef>,
    /// The game day on which it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game_day: Option<String>,
    /// When it was found.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub opened: Timestamp,
    /// How often it came back.
    #[serde(default)]
    pub reopened: u32,
    /// Since when its state is what it is.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How it got there: the last 100 changes of its state.
    pub history: Vec<FindingChange>,
}

/// Where a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    /// Nobody has taken it on.
    Open,
    /// Somebody has.
    Acknowledged,
    /// Somebody says that it is fixed. No run has shown it.
    Fixed,
    /// A later run of its experiment held.
    Verified,
    /// It stays as it is, for a reason.
    Wontfix,
}

impl FindingState {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Fixed => "fixed",
            Self::Verified => "verified",
            Self::Wontfix => "wontfix",
        }
    }
}

/// What was measured against what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FailureAnalysis)]
pub struct Analysis {
    /// The probe.
    pub metric: String,
    /// What was expected of it.
    pub expected: String,
    /// What it was.
    pub actual: String,
    /// What happened just before, in order: the likely cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likely_cause: Vec<String>,
}

/// A run that says something about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FindingRun)]
pub struct RunRef {
    /// The run.
    pub run: String,
    /// When it ended.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How.
    #[schema(value_type = String)]
    pub verdict: Verdict,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FindingChange {
    /// When.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who: a person, or a run.
    pub by: String,
    /// What it became.
    pub to: FindingState,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What somebody does with a finding.
#[derive(Debug, Clone, PartialEq)]
pub enum FindingStep {
    /// Takes it on.
    Acknowledge,
    /// Says that it is fixed. A later run that holds verifies it.
    Fix {
        /// How.
        reason: Option<String>,
    },
    /// Leaves it as it is.
    Wontfix {
        /// Why.
        reason: String,
    },
    /// It is not over.
    Reopen {
        /// Why.
        reason: String,
    },
    /// Says it better.
    Describe {
        /// In a few words.
        title: Option<String>,
        /// The service; empty: none.
        service: Option<String>,
        /// Where it says what to do; empty: nowhere.
        runbook: Option<String>,
        /// For searching.
        tags: Option<BTreeSet<String>>,
        /// What people think of it.
        notes: Option<String>,
    },
    /// Something is to be done.
    AddAction(Box<NewActionItem>),
    /// What is to be done has changed.
    ChangeAction {
        /// Its number.
        id: u32,
        /// What it is now.
        what: Box<NewActionItem>,
    },
}

/// Why it cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindingError {
    /// It is in another state.
    #[error("the finding is {}; {hint}", .state.name())]
    State {
        /// Where it stands.
        state: FindingState,
        /// What to do.
        hint: &'static str,
    },
    /// There is no such action item.
    #[error("there is no action item {0}")]
    NoAction(u32),
    /// What was said cannot be used.
    #[error("{}: {}", .0[0].path, .0[0].message)]
    Words(Vec<Mistake>),
}

const REMEMBERED_RUNS: usize = 50;
const REMEMBERED_CHANGES: usize = 100;

impl Finding {
    /// Does it, if it may be done now.
    pub fn apply(&mut self, step: FindingStep, by: &str, at: Timestamp) -> Result<(), FindingError> {
        use FindingState::{Acknowledged, Fixed, Open, Verified, Wontfix};
        match step {
            FindingStep::Acknowledge => {
                self.allowed(&[Open], "only one that is open can be taken on")?;
                self.become_(Acknowledged, by, at, None);
            }
            FindingStep::Fix { reason } => {
                self.allowed(&[Open, Acknowledged], "say first that it is not over")?;
                reason.as_deref().map_or(Ok(()), |reason| said("reason", reason))?;
                self.become_(Fixed, by, at, reason);
            }
            FindingStep::Wontfix { reason } => {
                self.allowed(&[Open, Acknowledged, Fixed], "there is nothing left to fix")?;
                said("reason", &reason)?;
                self.become_(Wontfix, by, at, Some(reason));
            }
            FindingStep::Reopen { reason } => {
                self.allowed(&[Fixed, Verified, Wontfix], "it is not over")?;
                said("reason", &reason)?;
                self.reopened += 1;
                self.become_(Open, by, at, Some(reason));
            }
            FindingStep::Describe { title, service, runbook, tags, notes } => self.describe(title, service, runbook, tags, notes)?,
            FindingStep::AddAction(what) => {
                good(what.check())?;
                action::add(&mut self.actions, *what, by, at);
            }
            FindingStep::ChangeAction { id, what } => {
                good(what.check())?;
                self.actions.iter_mut().find(|action| action.id == id).ok_or(FindingError::NoAction(id))?.change(*what, at);
            }
        }
        Ok(())
    }

    fn describe(
        &mut self,
        title: Option<String>,
        service: Option<String>,
        runbook: Option<String>,
        tags: Option<BTreeSet<String>>,
        notes: Option<String>,
    ) -> Result<(), FindingError> {
        let some = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let mut mistakes: Vec<Mistake> = title.as_deref().and_then(|title| text("title", title, 200)).into_iter().collect();
        mistakes.extend(some(&service).and_then(|service| text("service", &service, 100)));
        mistakes.extend(some(&runbook).and_then(|url| link("runbook", &url)));
        if let Some(tags) = &tags {
            mistakes.extend(tags.iter().filter_map(|tag| text("tags", tag, 50)));
            if tags.len() > 50 {
                mistakes.push(Mistake::new("tags", format!("{} tags", tags.len()), "50 is the most"));
            }
        }
        mistakes.extend(some(&notes).and_then(|notes| text("notes", &notes, 20_000)));
        good(mistakes)?;
        if let Some(title) = title {
            self.title = title;
        }
        if service.is_some() {
            self.service = some(&service);
        }
        if runbook.is_some() {
            self.runbook = some(&runbook);
        }
        if let Some(tags) = tags {
            self.tags = tags;
        }
        if let Some(notes) = notes {
            self.notes = notes;
        }
        Ok(())
    }

    fn allowed(&self, states: &[FindingState], hint: &'static str) -> Result<(), FindingError> {
        if states.contains(&self.state) { Ok(()) } else { Err(FindingError::State { state: self.state, hint }) }
    }

    pub(crate) fn become_(&mut self, to: FindingState, by: &str, at: Timestamp, reason: Option<String>) {
        (self.state, self.since) = (to, at);
        if self.history.len() >= REMEMBERED_CHANGES {
            self.history.remove(0);
        }
        self.history.push(FindingChange { at, by: by.to_owned(), to, reason });
    }

    pub(crate) fn remember(&mut self, run: RunRef) {
        if self.runs.len() >= REMEMBERED_RUNS {
            // The first stays: it found it.
            self.runs.remove(1);
        }
        self.runs.push(run);
    }

    /// The run that found it.
    pub fn found_by(&self) -> Option<&str> {
        self.runs.first().map(|run| run.run.as_str())
    }

    /// The most urgent priority of what is still to be done.
    pub fn priority(&self) -> Option<crate::Priority> {
        self.actions.iter().filter(|action| !action.what.closed()).map(|action| action.what.priority).min()
    }

    /// Whether something should have been done by this day.
    pub fn overdue(&self, today: Date) -> bool {
        self.actions.iter().any(|action| action.overdue(today))
    }
}

fn good(mistakes: Vec<Mistake>) -> Result<(), FindingError> {
    if mistakes.is_empty() { Ok(()) } else { Err(FindingError::Words(mistakes)) }
}

fn said(path: &str, words: &str) -> Result<(), FindingError> {
    good(text(path, words, 2_000).into_iter().collect())
}
