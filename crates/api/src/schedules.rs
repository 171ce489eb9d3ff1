//! Schedules, monkeys, what became of their times, and the calendar.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_model::RunId;
use utoipa::ToSchema;

/// A schedule to be saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewSchedule {
    /// The document, YAML or JSON as a text. Its `metadata.name` has to be the schedule's.
    pub schedule: String,
}

/// A saved schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedSchedule {
    /// Its name.
    pub name: String,
    /// The document.
    pub schedule: String,
    /// Whether it is paused, by its document or by somebody.
    pub paused: bool,
    /// The experiment that it runs.
    pub experiment: String,
    /// Its cron expression.
    pub cron: String,
    /// Its time zone.
    pub time_zone: String,
    /// When it comes next, if it is neither paused nor over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next: Option<Timestamp>,
    /// Grows with every change.
    pub version: u64,
    /// Who changed it last.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Timestamp,
}

/// A time of a schedule that is ahead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NextTime {
    /// Its id.
    pub id: String,
    /// The time that the cron expression says.
    #[schema(value_type = String, format = DateTime)]
    pub nominal: Timestamp,
    /// The time at which it starts, with its jitter.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// Why it will be skipped, as far as that is known today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// What became of a time of a schedule, or of a kill of a monkey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Firing {
    /// Its id: the same on every server, and never used again.
    pub id: String,
    /// When it was due.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    pub decided: Timestamp,
    /// What became of it.
    pub state: FiringState,
    /// The run that it started, or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub run: Option<RunId>,
    /// Why, in words; empty where it simply ran.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Of a monkey: the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Of a monkey: the host that was picked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// What became of a time of a schedule, or of a kill of a monkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum FiringState {
    /// It is about to start.
    Waiting,
    /// Its run has begun.
    Started,
    /// Something stood against it, such as a policy.
    Refused,
    /// It was not to run, by the rules of its schedule.
    Skipped,
    /// Nobody was there to start it in time.
    Missed,
    /// The monkey is on the leash: nothing was done.
    Leashed,
}

/// A monkey to be saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewMonkey {
    /// The document, YAML or JSON as a text. Its `metadata.name` has to be the monkey's.
    pub monkey: String,
}

/// A saved monkey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedMonkey {
    /// Its name.
    pub name: String,
    /// The document.
    pub monkey: String,
    /// Whether it does anything at all.
    pub enabled: bool,
    /// Whether it only says what it would do.
    pub leashed: bool,
    /// Grows with every change.
    pub version: u64,
    /// Who changed it last.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Timestamp,
}

/// A monkey's day, as things stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MonkeyDay {
    /// Why today nothing is done at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
    /// Each group: which hosts it has, and what today has for it.
    pub groups: Vec<MonkeyGroup>,
}

/// A group of a monkey, and what today has for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MonkeyGroup {
    /// Its key.
    pub group: String,
    /// Its hosts.
    pub hosts: Vec<String>,
    /// The day of the last kill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_kill: Option<String>,
    /// Whether a kill is ahead today. When and whom is not told: that would be no test of anybody.
    pub ahead: bool,
    /// Why nothing is done to it today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<String>,
}

/// Configurations of Netflix's Chaos Monkey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MonkeyImport {
    /// The name of the monkey that comes of it.
    pub name: String,
    /// Texts of files: a `chaosmonkey.toml`, applications as Spinnaker keeps them, or a Kubernetes `ConfigMap` with either.
    pub files: Vec<String>,
}

/// What came of an import. Nothing is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportedMonkey {
    /// The document, as JSON, which is YAML.
    pub monkey: String,
    /// What has no equivalent, what was decided for you, and what is unknown.
    pub warnings: Vec<ImportWarning>,
}

/// Something that did not go into the monkey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportWarning {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// The place as a path, such as `chaosmonkey.term_path`.
    pub path: String,
    /// What it is about.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
