//! Limits that no run of this server may pass: a team's policies. A host's own limits apply besides, and no server widens them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use squall_engine::{BoxFuture, Denied, Gate, GateRequest, Preview, RunFacts, Target, within_policy};
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
    fn gate<'a>(&'a self, request: &'a RunRequest) -> BoxFuture<'a, Result<Arc<dyn Gate>, ApiError>> {
        Box::pin(async move {
            let policies = self.all().await?;
            let ruled = policies.iter().any(|policy| !policy.spec.rules.is_empty());
            let approvals = if ruled { crate::approvals::given(self.db.as_ref(), self.wall.now(), request).await? } else { 0 };
            let metadata = &request.experiment.metadata;
            let run = RunFacts {
                who: request.by.clone(),
                roles: request.roles.clone(),
                // A person starts what nothing else has.
                cause: request.cause.as_object().and_then(|cause| cause.keys().next()).map_or("person", String::as_str).to_owned(),
                experiment: metadata.name.clone(),
                labels: metadata.labels.clone(),
                approvals: Some(approvals),
            };
            Ok(Arc::new(Team { policies, run }) as Arc<dyn Gate>)
        })
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
struct Team {
    policies: Vec<Policy>,
    run: RunFacts,
}

impl Gate for Team {
    fn protected(&self, target: &Target) -> Option<String> {
        // As the target's own host knows it.
        let own: Target = target.facts.get("target").and_then(|own| Deserialize::deserialize(own).ok())?;
        self.policies.iter().find_map(|policy| {
            let entry = policy.spec.protected.iter().find(|entry| squall_faults::is_protected(entry, &own))?;
            Some(format!("policy {} protects {}", policy.metadata.name, entry.name.as_deref().unwrap_or(&target.label)))
        })
    }

    fn allow(&self, request: &GateRequest<'_>) -> Result<(), Denied> {
        let mut most: Option<Denied> = None;
        for policy in &self.policies {
            let Err(denied) = within_policy(&policy.spec, request, &self.run) else { continue };
            let denied = denied.by(&policy.metadata.name, "");
            let wanted = |denied: &Denied| denied.approvals.as_ref().map_or(u32::MAX, |need| need.wanted);
            // What no approval helps against is said first, then the rule that wants the most of them.
            if most.as_ref().is_none_or(|most| wanted(most) < wanted(&denied)) {
                most = Some(denied);
            }
        }
        most.map_or(Ok(()), Err)
    }
}
