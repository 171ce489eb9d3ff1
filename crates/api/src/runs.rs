//! Runs of experiments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A run to be started, or only planned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRun {
    /// The manifest, YAML or JSON as a text: the same that `squall run` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// In place of a manifest: the name of a saved experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// In place of a manifest: the name of an experiment of the library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Parameters of the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Decides every random choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The host that probes and traffic are asked from; by default the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How long faults stay in force on a host that hears nothing of the server, such as `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// Its id.
    #[schema(value_type = String)]
    pub run: squall_model::RunId,
    /// `metadata.name` of its manifest.
    pub experiment: String,
    /// Wall clock at its start, RFC 3339 in UTC.
    pub started: String,
    /// Who started it.
    pub user: String,
    /// `metadata.labels` of its manifest.
    pub labels: BTreeMap<String, String>,
    /// How it ended: `held`, `deviated`, `unsteady`, `aborted`, `inconclusive`, `failed`; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub verdict: Option<squall_model::Verdict>,
    /// Why it ended so, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Microseconds from its start to its last event.
    pub lasted_us: u64,
    /// How many events it has.
    pub events: u64,
}

/// Who stops, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stop {
    /// For the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The red button.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmergencyStop {
    /// For the journal and the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Nothing may start until the stop is lifted.
    #[serde(default)]
    pub block: bool,
}

/// What came of the red button.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stopped {
    /// Runs that were asked to stop.
    pub runs: Vec<String>,
    /// Hosts that have put everything back.
    pub hosts: Vec<HostStopped>,
    /// Hosts that were not linked to a server: their leases end by themselves.
    pub unreached: Vec<String>,
    /// Milliseconds until the last host had answered.
    pub took_ms: u64,
}

/// What the red button did on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostStopped {
    /// The host.
    pub host: String,
    /// What was put back.
    pub reverted: Vec<String>,
    /// What could not be, and why.
    pub failed: Vec<String>,
}
