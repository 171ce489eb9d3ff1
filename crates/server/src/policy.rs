//! Limits that no run of this server may pass: a team's policies. A host's own limits apply besides, and no server widens them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use squall_engine::{BoxFuture, Gate, GateRequest, Preview, Target, within_policy};
use squall_model::Policy;
use squall_store::{Database, List};

use crate::runs::{Limits, RunRequest};
use crate::{ApiError, WallClock};

/// The kind of the documents of policies; the id is the policy's name.
pub(crate) const KIND: &str = "policy";

/// What is kept of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Saved {
    /// Its text.
    pub policy: String,
    /// Who changed it last.
    pub by: String,
}

/// The policies in the database.
pub struct Policies {
    db: Arc<dyn Database>,
    wall: Arc<dyn WallClock>,
}

impl Policies {
    /// Over a database.
    pub fn new(db: Arc<dyn Database>, wall: Arc<dyn WallClock>) -> Self {
        Self { db, wall }
    }

    /// Every policy. One that cannot be read is an error: without it nothing may run.
    async fn all(&self) -> Result<Vec<Policy>, ApiError> {
        let mut policies = Vec::new();
        for document in self.db.list(KIND, &List::default()).await? {
            let saved: Saved = document.decode()?;
            let (policy, _) = squall_model::parse_policy(&saved.policy).map_err(|found| {
                let why = found.first().map(|d| d.message.clone()).unwrap_or_default();
                squall_api::Problem::unavailable(format!("the policy `{}` cannot be read: {why}", document.id))
                    .hint("save it again; without it nothing may run")
            })?;
            policies.push(policy);
        }
        Ok(policies)
    }
}

impl Limits for Policies {
    fn gate<'a>(&'a self, _: &'a RunRequest) -> BoxFuture<'a, Result<Arc<dyn Gate>, ApiError>> {
        Box::pin(async move { Ok(Arc::new(Team(self.all().await?)) as Arc<dyn Gate>) })
    }

    fn refusals<'a>(&'a self, _: &'a RunRequest, _: &'a Preview) -> BoxFuture<'a, Result<Vec<String>, ApiError>> {
        Box::pin(async move {
            let now = self.wall.now();
            let against = |policy: &Policy| {
                let why = squall_model::calendar::allowed(&policy.spec, now).err()?;
                Some(format!("{why} (policy {})", policy.metadata.name))
            };
            Ok(self.all().await?.iter().filter_map(against).collect())
        })
    }
}

/// Every policy has to agree.
struct Team(Vec<Policy>);

impl Gate for Team {
    fn protected(&self, target: &Target) -> Option<String> {
        // As the target's own host knows it.
        let own: Target = target.facts.get("target").and_then(|own| Deserialize::deserialize(own).ok())?;
        self.0.iter().find_map(|policy| {
            let entry = policy.spec.protected.iter().find(|entry| squall_faults::is_protected(entry, &own))?;
            Some(format!("policy {} protects {}", policy.metadata.name, entry.name.as_deref().unwrap_or(&target.label)))
        })
    }

    fn allow(&self, request: &GateRequest<'_>) -> Result<(), String> {
        for policy in &self.0 {
            within_policy(&policy.spec, request).map_err(|why| format!("{why} (policy {})", policy.metadata.name))?;
        }
        Ok(())
    }
}
