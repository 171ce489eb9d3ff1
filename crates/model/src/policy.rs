//! Limits that no run on this host may pass, whatever its manifest says. The file is the host's own; it wins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, Metadata, Percent, Time};

/// A policy file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Always `squall.dev/v1`.
    #[schemars(extend("const" = "squall.dev/v1"))]
    pub api_version: String,
    /// Always `Policy`.
    #[schemars(extend("const" = "Policy"))]
    pub kind: String,
    /// Name and labels.
    pub metadata: Metadata,
    /// The limits.
    pub spec: PolicySpec,
}

/// The limits of a policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PolicySpec {
    /// Upper bounds on one run.
    pub caps: Caps,
    /// Processes that no fault may touch. Process 1, Squall itself and its ancestors are always protected.
    pub protected: Vec<ProtectedProcess>,
    /// Experiments run only within these, if there are any.
    pub windows: Vec<Window>,
    /// Experiments never run within these.
    pub freezes: Vec<Freeze>,
    /// Kinds of fault that are not allowed: a name, or a family such as `process.*`.
    pub deny_faults: Vec<String>,
    /// If there are any, only these kinds of fault are allowed.
    pub allow_faults: Vec<String>,
    /// Who may do what to what, and what needs others to agree: looked at for each step, in order.
    pub rules: Vec<Rule>,
}

/// What holds for the steps that a condition is true of. Exactly one of `deny` and `approvals` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Named to whoever is refused.
    pub name: String,
    /// Which steps it is about: a condition in the Common Expression Language over `who` (`name`, `roles`, `cause`), `experiment` (`name`,
    /// `labels`), `fault` (`kind`, `family`, `seconds`: its time box, -1 without one), `targets` (a list, each with `id`, `label`, `host`,
    /// `labels` of its host), `matched`, `chosen` and `inForce` (numbers). Optional keys are asked for with `has()`.
    #[schemars(extend("examples" = ["targets.exists(t, has(t.labels.env) && t.labels.env == 'production')", "fault.family == 'disk' && !('admin' in who.roles)"]))]
    pub when: Condition,
    /// Such steps are refused, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<String>,
    /// Such steps need so many people to approve the run, none of whom asked for it or starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<u32>,
}

/// Upper bounds on one run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Caps {
    /// Targets of one step.
    pub targets: Option<u32>,
    /// Targets of one step as a share of what its selector matches.
    pub percent: Option<Percent>,
    /// Time box of one fault.
    pub duration: Option<Time>,
    /// Faults in force at the same time.
    pub faults: Option<u32>,
}

/// A process that no fault may touch: all the given fields must match.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProtectedProcess {
    /// The kernel's name of the process (`comm`), or the file name of its program.
    pub name: Option<String>,
    /// The user that it runs as, by name or number.
    pub user: Option<String>,
    /// A TCP or UDP port that it listens on.
    pub port: Option<u16>,
    /// Its systemd unit.
    pub unit: Option<String>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// Times of the week at which experiments may run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Days, all by default. A window over midnight belongs to the day that it starts on.
    #[serde(default)]
    pub days: Vec<Weekday>,
    /// Start, `HH:MM`.
    pub from: String,
    /// End, `HH:MM`; not included. Earlier than `from` means on the next day.
    pub to: String,
    /// IANA time zone, UTC by default.
    #[serde(default)]
    pub time_zone: Option<String>,
}

/// A span of days at which nothing may run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Freeze {
    /// First day, `YYYY-MM-DD`.
    pub from: String,
    /// Last day, included.
    pub to: String,
    /// IANA time zone, UTC by default.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Shown to whoever is refused.
    pub reason: String,
}
