//! Game days.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_gameday::{DayState, Entry, GameDay};
use utoipa::ToSchema;

/// A game day, with what the server knows besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GameDayView)]
pub struct DayView {
    /// Its id.
    pub id: String,
    /// Grows with every change; the `ETag` is made of it.
    pub version: u64,
    /// The server's time: a timer counts from `scenarios[].faultAt` or `.started.at` to here.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// The game day.
    pub day: GameDay,
}

/// A game day in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GameDaySummary)]
pub struct DaySummary {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Where it stands.
    pub state: DayState,
    /// When it is meant to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub starts: Option<Timestamp>,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// How many scenarios it has.
    pub scenarios: usize,
    /// Those who take part.
    pub participants: Vec<String>,
}

/// What a request changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GameDayChanged)]
pub struct Changed {
    /// The game day as it is now.
    pub view: DayView,
    /// What went into the timeline. Absent where nothing has changed: somebody else was first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    /// Runs that could not be asked to stop when the game day was called off. The red button stops them, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_running: Vec<String>,
}

/// Something in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GameDayWords)]
pub struct Words {
    /// The words.
    #[schema(min_length = 1, max_length = 10000)]
    pub text: String,
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GameDayNote)]
pub struct NewNote {
    /// The scenario that it is about, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<usize>,
    /// The note.
    #[schema(min_length = 1, max_length = 10000)]
    pub text: String,
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    /// In words.
    #[schema(min_length = 1, max_length = 2000)]
    pub reason: String,
}
