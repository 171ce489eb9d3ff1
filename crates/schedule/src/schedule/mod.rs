//! Schedules: an experiment that runs by itself.

mod check;
mod decide;
mod timetable;

use std::collections::BTreeMap;

pub use decide::{Because, Decided, Decision, Lapsed, Outcome, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::{Freeze, Metadata, Time, Window};
pub use timetable::{Occurrence, Planned, Timetable};

use crate::Holiday;

/// A schedule: which experiment runs by itself, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// Always `squall.dev/v1`.
    #[schemars(extend("const" = "squall.dev/v1"))]
    pub api_version: String,
    /// Always `Schedule`.
    #[schemars(extend("const" = "Schedule"))]
    pub kind: String,
    /// Name and labels.
    pub metadata: Metadata,
    /// What runs, and when.
    pub spec: ScheduleSpec,
}

/// What runs, and when.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The name of the experiment that runs.
    pub experiment: String,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// The host that its probes are asked from; by default the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When: minute, hour, day of the month, month and day of the week, with names (`MON-FRI`), ranges, steps, `L`, `W` and `#`;
    /// or a nickname such as `@daily`. Times that a change of the clock skips come right after it, times that it repeats come
    /// once; but where the minute or the hour starts with `*`, the schedule follows the clock as it goes.
    pub cron: String,
    /// IANA time zone of the expression, the dates, the holidays, and of the windows and freezes that name none. UTC by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// First day, `YYYY-MM-DD`. From the beginning, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// Last day, included. For ever, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// It runs only within these, if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// It does not run on these days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<Holiday>,
    /// It never runs within these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// It starts up to so much later, by a share that depends on the schedule and on the time and so is the same on every server.
    /// It does not move a start out of the windows, nor past the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Time>,
    /// What to do when a run of this schedule is still going on.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// What to do about times at which nobody was there to start it.
    #[serde(default)]
    pub missed: Missed,
    /// Nothing runs until it is resumed; what would have is recorded as skipped.
    #[serde(default)]
    pub paused: bool,
}

/// What to do when a run of the same schedule is still going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// Skip this time.
    #[default]
    Forbid,
    /// Run beside it.
    Allow,
    /// Stop it, wait until it is reverted, and run.
    Replace,
}

/// What to do about times that were missed: those that are looked at more than `after` late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Missed {
    /// What to do.
    pub policy: MissedPolicy,
    /// From how late on a time counts as missed. Servers look every few seconds; another takes over within half a minute.
    pub after: Time,
    /// A missed time that is longer ago is not made up for.
    pub deadline: Time,
    /// With `all`, at most so many are made up for: the latest ones.
    pub up_to: u32,
}

impl Default for Missed {
    fn default() -> Self {
        Self { policy: MissedPolicy::Skip, after: Time::from_secs(60), deadline: Time::from_secs(3600), up_to: 10 }
    }
}

/// What to do about missed times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissedPolicy {
    /// Record them, and wait for the next.
    #[default]
    Skip,
    /// Run once, for the latest of them.
    Once,
    /// Run for each of them.
    All,
}
