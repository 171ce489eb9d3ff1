//! From the note of a run that is to begin to the run.
//!
//! The server that made the note may be gone, or slow. So the run's own lease is taken first: while somebody has it, nobody else
//! begins the run; the journal of a run is fenced by it; and whoever has it looks whether the run is still wanted.

use serde_json::json;
use squall_api::schedules::{Firing, FiringState};
use squall_store::{AuditEntry, Batch, CommitError, Document, Fence, StoreError, Write};

use super::{Began, FIRING, MONKEY_STATE, MonkeyState, PENDING, Pending, Scheduler};
use crate::ApiError;
use crate::runs::{RUN_LEASE, lease_of};

/// How often the end of a note is written anew when somebody else was faster.
const TRIES: usize = 20;

impl Scheduler {
    /// Begins a run, if it is still wanted and nobody else does.
    pub(super) async fn begin(self, pending: Pending, version: u64) {
        if !self.beginning().insert(pending.run.clone()) {
            return;
        }
        if let Err(error) = self.try_to_begin(&pending, version).await {
            tracing::warn!(run = %pending.run, of = pending.by, error = %error.0, "a run did not begin yet");
        }
        self.beginning().remove(&pending.run);
    }

    async fn try_to_begin(&self, pending: &Pending, version: u64) -> Result<(), ApiError> {
        if self.is_known(pending).await? {
            return self.settle(pending, version, FiringState::Started, None).await;
        }
        let over = self.0.wall.now() > pending.until;
        if !over && !self.replaced(pending).await? {
            return Ok(());
        }
        let Some(fence) = self.0.db.acquire(&lease_of(&pending.run), &self.0.server, RUN_LEASE).await? else {
            // Somebody else is about to begin it.
            return Ok(());
        };
        let begun = self.with_its_lease(pending, version, &fence, over).await;
        if !matches!(begun, Ok(true)) {
            self.0.db.release(&fence).await?;
        }
        begun.map(drop)
    }

    /// Whether the lease is the run's from here on.
    async fn with_its_lease(&self, pending: &Pending, version: u64, fence: &Fence, over: bool) -> Result<bool, ApiError> {
        // It may have been begun, or given up, just before the lease was free.
        if self.is_known(pending).await? {
            self.settle(pending, version, FiringState::Started, None).await?;
            return Ok(false);
        }
        let Some(firing) = self.0.db.get(FIRING, &pending.firing).await? else { return Ok(false) };
        if firing.decode::<Firing>()?.state != FiringState::Waiting {
            return Ok(false);
        }
        if over {
            let why = "it could not be begun in time".to_owned();
            self.settle(pending, version, FiringState::Missed, Some(why)).await?;
            return Ok(false);
        }
        match self.0.launcher.start(&pending.run, fence.clone(), pending).await {
            Ok(Began::Yes) => {
                self.settle(pending, version, FiringState::Started, None).await?;
                Ok(true)
            }
            // The next look finds it.
            Ok(Began::NotYet) => Ok(true),
            // Something is not there just now; until it is too late it is tried again.
            Err(error) if error.0.status >= 500 => Err(error),
            Err(error) => {
                let why = error.0.detail.clone().unwrap_or_else(|| error.0.title.clone());
                self.settle(pending, version, FiringState::Refused, Some(why)).await?;
                Ok(false)
            }
        }
    }

    async fn is_known(&self, pending: &Pending) -> Result<bool, ApiError> {
        match self.0.db.run(&pending.run).await {
            Ok(_) => Ok(true),
            Err(StoreError::UnknownRun(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Stops what is to be replaced; whether all of it is over.
    async fn replaced(&self, pending: &Pending) -> Result<bool, ApiError> {
        let mut over = true;
        for run in &pending.replaces {
            if self.goes_on(run).await? {
                over = false;
                self.0.launcher.stop(run, &pending.by).await?;
            }
        }
        Ok(over)
    }

    /// Writes what became of it, and takes the note away.
    async fn settle(&self, pending: &Pending, version: u64, state: FiringState, why: Option<String>) -> Result<(), ApiError> {
        for _ in 0..TRIES {
            let mut writes = vec![Write::Delete { kind: PENDING.into(), id: pending.firing.clone(), version: Some(version) }];
            if let Some(document) = self.0.db.get(FIRING, &pending.firing).await? {
                let mut firing: Firing = document.decode()?;
                firing.state = state;
                if let Some(why) = &why {
                    firing.detail.clone_from(why);
                    firing.run = None;
                }
                let body = crate::error::json_of(&firing)?;
                writes.push(Write::Replace { kind: FIRING.into(), id: document.id, version: document.version, body });
            }
            if state != FiringState::Started {
                writes.extend(self.as_before(pending).await?);
            }
            writes.push(self.row(pending, state, why.as_deref()));
            match self.0.db.commit(Batch::new(writes)).await {
                Ok(_) => return Ok(()),
                // The note is gone: another has settled it.
                Err(CommitError::NotFound { kind, .. } | CommitError::Conflict { kind, .. }) if kind == PENDING => return Ok(()),
                Err(CommitError::NotFound { .. } | CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(squall_api::Problem::conflict("it was changed elsewhere all the while").into())
    }

    /// A kill that did not come about does not count for the minimum.
    async fn as_before(&self, pending: &Pending) -> Result<Option<Write>, ApiError> {
        let Some(kill) = &pending.kill else { return Ok(None) };
        let Some(document) = self.0.db.get(MONKEY_STATE, &kill.monkey).await? else { return Ok(None) };
        let mut state: MonkeyState = Document::decode(&document)?;
        let Some(history) = state.groups.get_mut(&kill.group).filter(|history| history.last_kill == Some(kill.date)) else {
            return Ok(None);
        };
        history.last_kill = kill.before;
        let body = crate::error::json_of(&state)?;
        Ok(Some(Write::Replace { kind: MONKEY_STATE.into(), id: document.id, version: document.version, body }))
    }

    fn row(&self, pending: &Pending, state: FiringState, why: Option<&str>) -> Write {
        let (action, outcome) = match state {
            FiringState::Started => ("run.start", "ok"),
            FiringState::Refused => ("run.start", "refused"),
            _ => ("run.start", "failed"),
        };
        Write::Audit(AuditEntry {
            at: self.0.wall.now(),
            actor: pending.by.clone(),
            action: action.into(),
            subject: pending.firing.clone(),
            outcome: outcome.into(),
            detail: json!({ "run": pending.run, "why": why }),
        })
    }
}
