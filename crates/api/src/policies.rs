//! Policies of a team: limits that no run through the server may pass.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A policy to be saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewPolicy {
    /// The policy as YAML or JSON text: the same as a host's policy file. Its `metadata.name` has to be the policy's.
    pub policy: String,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its text.
    pub policy: String,
    /// Grows with every change.
    pub version: u64,
    /// Who changed it last.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Timestamp,
}
