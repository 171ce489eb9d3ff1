//! The Chaos Monkey: now and then, in business hours, something is done to one host of each group.

mod check;
mod days;
mod experiment;
mod frequency;
mod group;
mod plan;

use std::collections::BTreeMap;

pub use days::Day;
pub use frequency::Frequency;
pub use group::{Candidate, Group, OPT_LABEL};
pub use plan::{History, Kill, MonkeyDecided, Passed, PassedBecause, Planner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use squall_model::{Freeze, Guard, Hypothesis, Metadata, Recovery, Steady, Target, Time, Weekday};

use crate::Holiday;

/// A Chaos Monkey: on each work day it may pick one host of each group, and do to it one of its faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Monkey {
    /// Always `squall.dev/v1`.
    #[schemars(extend("const" = "squall.dev/v1"))]
    pub api_version: String,
    /// Always `Monkey`.
    #[schemars(extend("const" = "Monkey"))]
    pub kind: String,
    /// Name and labels.
    pub metadata: Metadata,
    /// What it does, to whom, and how often.
    pub spec: MonkeySpec,
}

/// Labels that something has to have: all of them. `*` is any value or none; an empty text is an empty value or none.
pub type Labels = BTreeMap<String, String>;

/// What a monkey does, to whom, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MonkeySpec {
    /// Whether it does anything at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Dry mode: everything is decided and recorded as if, and nothing is done. A monkey is on the leash until it is let go.
    #[serde(default = "yes")]
    pub leashed: bool,
    /// IANA time zone of the hours, days and holidays, and of the freezes that name none. UTC by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Work days: Monday to Friday by default.
    #[serde(default = "monday_to_friday")]
    pub work_days: Vec<Weekday>,
    /// Business hours: from 9:00 to 15:00 by default.
    #[serde(default)]
    pub hours: Hours,
    /// These are no work days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<Holiday>,
    /// A day of which the business hours touch one of these is no work day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// How often something is done to each group.
    #[serde(default)]
    pub frequency: Frequency,
    /// What makes up a group. A host belongs to the first of these that it fits, so to one group at most.
    pub groups: Vec<GroupRule>,
    /// Only hosts with these labels, if there are any: one of the sets is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opt_in: Vec<Labels>,
    /// Never hosts with these labels: one of the sets is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Labels>,
    /// Only hosts that say so themselves, by the label `squall.dev/monkey: on`. Those that say `off` are always left alone.
    #[serde(default)]
    pub asks_first: bool,
    /// What is done: one of these, by chance and weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<MonkeyFault>,
    /// What stays true meanwhile. A monkey is only let off the leash with it: else nobody would know what it broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypothesis: Option<Hypothesis>,
    /// The host that probes are asked from; by default the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How the steady state is established first.
    #[serde(default)]
    pub steady: Steady,
    /// Conditions that abort and revert everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
    /// How recovery is judged.
    #[serde(default)]
    pub recovery: Recovery,
    /// A kill for whose time nobody was there is still done so much later, if business hours are not over.
    #[serde(default = "quarter_of_an_hour")]
    pub late: Time,
    /// Decides when, whom and what. Made from the name where absent. Who knows it can foresee everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for MonkeySpec {
    fn default() -> Self {
        Self {
            enabled: true,
            leashed: true,
            time_zone: None,
            work_days: monday_to_friday(),
            hours: Hours::default(),
            holidays: Vec::new(),
            freezes: Vec::new(),
            frequency: Frequency::default(),
            groups: Vec::new(),
            opt_in: Vec::new(),
            exceptions: Vec::new(),
            asks_first: false,
            faults: Vec::new(),
            hypothesis: None,
            from: None,
            steady: Steady::default(),
            guards: Vec::new(),
            recovery: Recovery::default(),
            late: quarter_of_an_hour(),
            seed: None,
        }
    }
}

/// Business hours, the same on each work day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hours {
    /// Start, `HH:MM`.
    pub from: String,
    /// End, `HH:MM`, on the same day; not included.
    pub to: String,
}

impl Default for Hours {
    fn default() -> Self {
        Self { from: "09:00".into(), to: "15:00".into() }
    }
}

/// What makes up a group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupRule {
    /// For people; unique within the monkey.
    pub name: String,
    /// Only hosts with these labels. All, if there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub select: Labels,
    /// Hosts whose values of these labels are the same make up a group: `[app, region]`. Without any, all are one group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// How often, if not as the monkey says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<Frequency>,
    /// What is done, if not what the monkey says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<MonkeyFault>,
    /// Leave these alone for now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// A fault that a monkey may inject, on the host that it picked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MonkeyFault {
    /// The kind of fault, such as `process.kill`; `squall explain faults` lists them.
    pub fault: String,
    /// What on that host it is applied to.
    pub target: Target,
    /// The fault's own arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Value>,
    /// How long it is in force. Required for every fault that lasts.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Time>,
    /// Accepts, in writing, that this fault cannot be undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_irreversible: bool,
    /// How often beside the others: one of weight 3 comes three times as often as one of weight 1.
    #[serde(default = "one")]
    pub weight: u32,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn monday_to_friday() -> Vec<Weekday> {
    vec![Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri]
}

fn quarter_of_an_hour() -> Time {
    Time::from_secs(15 * 60)
}
