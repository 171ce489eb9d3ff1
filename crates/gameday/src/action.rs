//! Something to be done about a weakness.

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Mistake;
use crate::mistake::text;

/// How soon something has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
pub enum Priority {
    /// Now.
    P0,
    /// In the next days.
    P1,
    /// When there is time.
    P2,
}

impl Priority {
    /// `P0`, `P1`, `P2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
        }
    }
}

/// Whether something has been done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActionState {
    /// Not yet.
    #[default]
    Todo,
    /// Somebody does it.
    Doing,
    /// It is done.
    Done,
    /// It will not be done.
    Dropped,
}

impl ActionState {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Todo => "to do",
            Self::Doing => "doing",
            Self::Done => "done",
            Self::Dropped => "dropped",
        }
    }
}

/// Something to be done, as somebody writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewActionItem {
    /// What.
    pub text: String,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How soon.
    pub priority: Priority,
    /// By when: a day, such as `2026-12-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = Date)]
    pub due: Option<Date>,
    /// Whether it has been done.
    #[serde(default)]
    pub state: ActionState,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionItem {
    /// Counts from 1 within its finding or game day, and is never used again.
    pub id: u32,
    /// What, who, by when.
    pub what: NewActionItem,
    /// Who wrote it.
    pub by: String,
    /// When it was written.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// When it was done or dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed: Option<Timestamp>,
}

impl NewActionItem {
    /// Everything that is wrong with it.
    pub fn check(&self) -> Vec<Mistake> {
        let owner = self.owner.as_deref().and_then(|owner| text("owner", owner, 100));
        text("text", &self.text, 2_000).into_iter().chain(owner).collect()
    }

    /// Whether there is nothing left to do.
    pub(crate) fn closed(&self) -> bool {
        matches!(self.state, ActionState::Done | ActionState::Dropped)
    }
}

impl ActionItem {
    /// Whether it should have been done by this day.
    pub fn overdue(&self, today: Date) -> bool {
        !self.what.closed() && self.what.due.is_some_and(|due| due < today)
    }

    /// Changes what it says.
    pub(crate) fn change(&mut self, what: NewActionItem, at: Timestamp) {
        match (what.closed(), self.closed) {
            (true, None) => self.closed = Some(at),
            (false, _) => self.closed = None,
            (true, Some(_)) => {}
        }
        self.what = what;
    }
}

/// Adds one.
pub(crate) fn add(actions: &mut Vec<ActionItem>, what: NewActionItem, by: &str, at: Timestamp) -> u32 {
    let id = actions.iter().map(|action| action.id).max().unwrap_or_default() + 1;
    let closed = what.closed().then_some(at);
    actions.push(ActionItem { id, what, by: by.to_owned(), at, closed });
    id
}
