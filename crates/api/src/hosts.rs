//! Hosts with an agent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A host with an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Its name, unique.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is linked to a server now.
    pub connected: bool,
    /// When it was heard of last.
    #[schema(value_type = String, format = DateTime)]
    pub seen: Timestamp,
    /// When it joined.
    #[schema(value_type = String, format = DateTime)]
    pub joined: Timestamp,
    /// Version of its agent.
    pub squall: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Cores.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Whether it can do something, by name, and what was found.
    pub features: BTreeMap<String, HostFeature>,
    /// The agent's own policies.
    pub policies: Vec<String>,
    /// Who made the stop file, if it is there: nothing may be injected on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Injections that are in force.
    pub in_force: u32,
}

/// Whether a host can do something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostFeature {
    /// It can.
    pub available: bool,
    /// What was found, or what is missing.
    pub detail: String,
    /// What to do where it is missing and can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A new token for agents to join with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewJoinToken {
    /// How many agents may join with it, 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// How long it is good for, such as `1h`, by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
    /// Labels that every host that joins with it gets, besides its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A token for agents to join with. Shown once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinToken {
    /// What `squall agent --join` takes: the secret, and the fingerprint of the server's authority.
    pub token: String,
    /// The whole line for the new host.
    pub command: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}
