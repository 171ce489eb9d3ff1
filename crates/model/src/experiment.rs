//! The manifest: what `squall run` reads.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Compare, Guard, Probe, Step, Time, Traffic};

/// An experiment: a hypothesis about a system, and what is done to it to find out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Experiment {
    /// Always `squall.dev/v1`.
    #[schemars(extend("const" = "squall.dev/v1"))]
    pub api_version: String,
    /// Always `Experiment`.
    #[schemars(extend("const" = "Experiment"))]
    pub kind: String,
    /// Name and labels.
    pub metadata: Metadata,
    /// What is done.
    pub spec: Spec,
}

/// Name and labels of an experiment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Lower-case letters, digits and dashes, up to 63 of them, as Kubernetes has it.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// Free labels, for filters and reports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free text that tools may read; Squall's library keeps its description, parameters and tags here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What the experiment consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// What is believed of the system, and the probes that measure it.
    pub hypothesis: Hypothesis,
    /// Load that Squall itself makes while the experiment runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
    /// How the steady state is established before anything is touched.
    #[serde(default)]
    pub steady: Steady,
    /// What is done, one step after another.
    pub method: Vec<Step>,
    /// How long to keep watching after the last step, for the late effects of its faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe: Option<Time>,
    /// Conditions that abort the run and revert everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
    /// Questions to the targets of a step and to its control group, whose answers are compared while the fault is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compare: Vec<Compare>,
    /// The whole method may take this long; then everything is reverted and the run is aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// What to do besides undoing each fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// How recovery is judged after everything is reverted.
    #[serde(default)]
    pub recovery: Recovery,
    /// Decides every random choice; the same seed picks the same targets. Made up and recorded where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// When it is meant to run by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
}

/// A statement about the system, with the probes whose expectations make up the steady state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// In plain words: what stays true while the fault is in force.
    pub statement: String,
    /// What is measured, and what is expected of it.
    pub probes: Vec<Probe>,
}

/// How the steady state is established: every probe satisfied, at each of its samples, for that long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Steady {
    /// For how long. Each probe is asked at least once.
    #[serde(rename = "for")]
    pub duration: Time,
    /// How often each probe is asked, here and later, unless it says otherwise.
    pub every: Time,
    /// Samples in this first part are recorded but not judged: time for load and caches to warm up.
    pub warmup: Time,
}

impl Default for Steady {
    fn default() -> Self {
        Self { duration: Time::from_secs(10), every: Time::from_secs(1), warmup: Time::ZERO }
    }
}

/// How recovery is judged: within so long after the revert, every probe is satisfied for so long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// The longest time that recovery may take.
    pub within: Time,
    /// For how long the steady state must hold to count as recovered.
    pub stable: Time,
}

impl Default for Recovery {
    fn default() -> Self {
        Self { within: Time::from_secs(60), stable: Time::from_secs(3) }
    }
}

/// Explicit actions that run once after every fault is reverted, whatever the reason.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Run in order. They are recorded in the ledger first, so they run after a crash too.
    pub actions: Vec<RollbackAction>,
}

/// One explicit rollback action: a fault kind that undoes rather than breaks, `custom.command` or `custom.http`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackAction {
    /// What it does, for people.
    pub name: String,
    /// A command and its arguments, run without a shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// `METHOD URL`, such as `POST http://127.0.0.1:8080/reset`; any 2xx answer is success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// When to give up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
}

/// When the experiment is meant to run by itself. `squall plan` shows the next times; `squall run` runs now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// Five-field cron expression.
    pub cron: String,
    /// IANA time zone, UTC by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}
