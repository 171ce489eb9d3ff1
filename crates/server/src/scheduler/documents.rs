//! What is kept of schedules and monkeys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use squall_api::runs::NewRun;
use squall_model::RunId;
use squall_schedule::{History, Monkey, Schedule, parse_monkey, parse_schedule};

use crate::ApiError;
use crate::error::unusable;

/// The kind of the documents of schedules; the id is the name.
pub(crate) const SCHEDULE: &str = "schedule";
/// How far each schedule has come; the id is its name.
pub(crate) const SCHEDULE_STATE: &str = "schedule-state";
/// The kind of the documents of monkeys; the id is the name.
pub(crate) const MONKEY: &str = "monkey";
/// What each monkey remembers; the id is its name.
pub(crate) const MONKEY_STATE: &str = "monkey-state";
/// What became of each time and each kill: see [`firing_id`].
pub(crate) const FIRING: &str = "firing";
/// Runs that are to begin; ids as those of firings.
pub(crate) const PENDING: &str = "firing-pending";

/// The id of the document of a firing, of `schedule` or `monkey` and its name.
pub(crate) fn firing_id(kind: &str, name: &str, id: &str) -> String {
    format!("{kind}/{name}/{id}")
}

/// What is kept of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ScheduleDocument {
    /// Its text.
    pub schedule: String,
    /// Somebody has paused it, whatever its text says.
    pub paused: bool,
    /// Who changed it last.
    pub by: String,
}

impl ScheduleDocument {
    /// As it applies.
    pub(crate) fn read(&self) -> Result<Schedule, ApiError> {
        let (mut schedule, _) = parse_schedule(&self.schedule).map_err(|found| unusable("the schedule", &found))?;
        schedule.spec.paused |= self.paused;
        Ok(schedule)
    }
}

/// How far a schedule has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ScheduleState {
    /// Each time up to this one has been decided.
    pub decided: Timestamp,
    /// Its runs that are not known to be over.
    pub active: Vec<RunId>,
}

/// What is kept of a monkey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MonkeyDocument {
    /// Its text.
    pub monkey: String,
    /// Who changed it last.
    pub by: String,
}

impl MonkeyDocument {
    pub(crate) fn read(&self) -> Result<Monkey, ApiError> {
        Ok(parse_monkey(&self.monkey).map_err(|found| unusable("the monkey", &found))?.0)
    }
}

/// What a monkey remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MonkeyState {
    /// Whether it was on the leash: what it did there was not done.
    pub leashed: bool,
    /// By key.
    pub groups: BTreeMap<String, History>,
}

/// A run that is to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pending {
    /// The id of the firing's document.
    pub firing: String,
    /// The id that the run will have.
    pub run: RunId,
    /// What runs.
    pub new: NewRun,
    /// Who wants it, as `schedule/nightly`.
    pub by: String,
    /// What the run keeps of its cause.
    pub cause: Json,
    /// After this it is not begun any more.
    pub until: Timestamp,
    /// Runs that are stopped first.
    pub replaces: Vec<RunId>,
    /// Of a kill: what the group's last one was before, for one that does not come about.
    pub kill: Option<PendingKill>,
}

/// What a kill that does not come about leaves as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PendingKill {
    /// The monkey.
    pub monkey: String,
    /// The group.
    pub group: String,
    /// The day of this kill.
    pub date: Date,
    /// The day of the one before.
    pub before: Option<Date>,
}
