//! Approvals of runs: who has agreed to what, and until when. Nobody agrees to what they asked for or start themselves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_api::approvals::{ApprovalRule, ApprovalState, Decision};
use squall_store::{Database, List};

use crate::ApiError;
use crate::auth::secrets::sha256;
use crate::runs::RunRequest;

/// The kind of the documents of approvals; ids begin with what is approved.
pub(crate) const KIND: &str = "approval";

/// What is kept of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Saved {
    pub experiment: String,
    pub manifest: String,
    pub from: Option<String>,
    pub by: String,
    pub why: String,
    pub created: Timestamp,
    pub until: Timestamp,
    pub rules: Vec<ApprovalRule>,
    pub decisions: Vec<Decision>,
}

impl Saved {
    /// How many people have said yes.
    pub fn yes(&self) -> u32 {
        u32::try_from(self.decisions.iter().filter(|decision| decision.approve).count()).unwrap_or(u32::MAX)
    }

    /// How many have to.
    pub fn wanted(&self) -> u32 {
        self.rules.iter().map(|rule| rule.wanted).max().unwrap_or_default()
    }

    pub fn state(&self, now: Timestamp) -> ApprovalState {
        if self.decisions.iter().any(|decision| !decision.approve) {
            ApprovalState::Refused
        } else if now >= self.until {
            ApprovalState::Expired
        } else if self.yes() >= self.wanted() {
            ApprovalState::Approved
        } else {
            ApprovalState::Pending
        }
    }
}

/// What the ids of approvals of this run begin with: the same for the same manifest, filled in, from the same host.
pub(crate) fn subject(request: &RunRequest) -> String {
    let from = request.from.as_deref().unwrap_or_default();
    format!("{}-", &sha256(&format!("{from}\n{}", request.text))[..20])
}

/// How many people have approved this run, other than who starts it. Of several requests for the same run the best counts.
pub(crate) async fn given(db: &dyn Database, now: Timestamp, request: &RunRequest) -> Result<u32, ApiError> {
    let mut most = 0;
    for document in db.list(KIND, &List::prefix(subject(request))).await? {
        let saved: Saved = document.decode()?;
        if matches!(saved.state(now), ApprovalState::Refused | ApprovalState::Expired)
            || saved.from != request.from
            || saved.manifest != request.text
        {
            continue;
        }
        let others = saved.decisions.iter().filter(|decision| decision.approve && decision.by != request.by).count();
        most = most.max(u32::try_from(others).unwrap_or(u32::MAX));
    }
    Ok(most)
}
