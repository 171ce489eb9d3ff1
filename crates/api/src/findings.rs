//! Findings.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_gameday::Finding;
use utoipa::ToSchema;

/// A finding, with what the server knows besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FindingView {
    /// Its id: the fingerprint of experiment and probe.
    pub id: String,
    /// Grows with every change; the `ETag` is made of it.
    pub version: u64,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Timestamp,
    /// Whether something should have been done by now.
    pub overdue: bool,
    /// The finding.
    pub finding: Finding,
}

/// What to say better. What is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct FindingPatch {
    /// In a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The service; empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where it says what to do; empty: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// For searching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeSet<String>>,
    /// What people think of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// Why, if there is something to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct MaybeReason {
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 2000)]
    pub reason: Option<String>,
}
