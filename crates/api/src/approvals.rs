//! Approvals: people who agree to a run that a rule of a policy keeps behind them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::runs::NewRun;

/// A run that others are asked to approve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewApproval {
    /// The run. The approval is good for this manifest with these parameters from this host, and for no other; the seed may differ.
    pub run: NewRun,
    /// Why, for those who are asked.
    pub why: String,
    /// How long it is good for, from 1 minute to 30 days; `24h` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ApprovalState {
    /// Not enough people have said yes.
    Pending,
    /// The run may be started, as often as wanted, until its end.
    Approved,
    /// Somebody has said no.
    Refused,
    /// Its time is over.
    Expired,
}

/// Why it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalRule {
    /// The policy.
    pub policy: String,
    /// Its rule.
    pub rule: String,
    /// How many people it wants.
    pub wanted: u32,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// Who.
    pub by: String,
    /// Yes or no.
    pub approve: bool,
    /// In their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A yes or a no.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewDecision {
    /// In your words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A request for approval, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// `metadata.name` of the experiment.
    pub experiment: String,
    /// The manifest as it would run, with every parameter filled in.
    pub manifest: String,
    /// The host that probes are asked from; the server where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who asked.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// What it is good until.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// What has become of it.
    pub state: ApprovalState,
    /// The rules that want it, as they were when it was asked for.
    pub rules: Vec<ApprovalRule>,
    /// What people said, in order.
    pub decisions: Vec<Decision>,
}
