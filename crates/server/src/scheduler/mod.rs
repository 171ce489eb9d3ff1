//! What starts by itself: times of schedules, and kills of monkeys.
//!
//! Whichever server holds the lease `scheduler` looks every few seconds. What it decides is one fenced batch: the record of the
//! decision under an id that only this time of this schedule has (so it is decided once), the new state of the schedule, and,
//! if something is to start, a note of it with the id of the run. Notes are worked off by whoever holds the lease: a run has a
//! lease under its id, so it begins once, however often the server that began it is replaced meanwhile.
//!
//! - `schedules.rs`, `monkeys.rs`: what is decided.
//! - `begin.rs`: from a note to a run.
//! - `launcher.rs`: runs of this server.

mod begin;
mod documents;
mod launcher;
mod monkeys;
mod schedules;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use documents::{
    FIRING, MONKEY, MONKEY_STATE, MonkeyDocument, MonkeyState, PENDING, SCHEDULE, SCHEDULE_STATE, ScheduleDocument, ScheduleState,
    firing_id,
};
pub use documents::{Pending, PendingKill};
pub use launcher::RunsLauncher;
pub(crate) use monkeys::known;
pub(crate) use schedules::pending;
use squall_engine::{BoxFuture, Clock};
use squall_model::RunId;
use squall_schedule::Candidate;
use squall_store::{Database, Fence, LeaseError, List};

use crate::{ApiError, WallClock};

/// Who looks has this lease.
const LEASE: &str = "scheduler";
/// How long the one who looks may be silent before another looks.
const TTL: Duration = Duration::from_secs(15);
/// How often is looked.
const EVERY: Duration = Duration::from_secs(2);

/// Whether a run has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// Its journal has its beginning.
    Yes,
    /// It is under way, and not known yet.
    NotYet,
}

/// Starts runs. The server's own, in tests a list.
pub trait Launcher: Send + Sync + 'static {
    /// An id for a run.
    fn new_run(&self) -> RunId;
    /// Begins a run, whose lease is the fence's.
    fn start<'a>(&'a self, run: &'a RunId, fence: Fence, wanted: &'a Pending) -> BoxFuture<'a, Result<Began, ApiError>>;
    /// Asks a run to stop, whichever server drives it.
    fn stop<'a>(&'a self, run: &'a RunId, by: &'a str) -> BoxFuture<'a, Result<(), ApiError>>;
    /// The hosts that monkeys choose from; none while this is not known yet, as right after the server's start.
    fn hosts(&self) -> Option<Vec<Candidate>>;
}

/// Looks at schedules and monkeys. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    db: Arc<dyn Database>,
    wall: Arc<dyn WallClock>,
    clock: Arc<dyn Clock>,
    launcher: Arc<dyn Launcher>,
    /// The server's name.
    server: String,
    /// Runs that this server is just beginning.
    beginning: Mutex<BTreeSet<RunId>>,
}

impl Scheduler {
    /// Over a database. Nothing is looked at until [`Scheduler::keep`] runs.
    pub fn new(
        db: Arc<dyn Database>,
        wall: Arc<dyn WallClock>,
        clock: Arc<dyn Clock>,
        launcher: Arc<dyn Launcher>,
        server: String,
    ) -> Self {
        Self(Arc::new(Inner { db, wall, clock, launcher, server, beginning: Mutex::default() }))
    }

    /// Looks, whenever this server holds the lease. Runs until it is dropped.
    pub async fn keep(self) {
        loop {
            match self.0.db.acquire(LEASE, &self.0.server, TTL).await {
                Ok(Some(fence)) => self.term(&fence).await,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the lease of the scheduler cannot be taken"),
            }
            self.pause().await;
        }
    }

    /// Looks until the lease is lost.
    async fn term(&self, fence: &Fence) {
        loop {
            match self.look(fence).await {
                // Beginning a run may take as long as its hosts do, and nobody waits for it.
                Ok(begins) => begins.into_iter().for_each(|begin| drop(tokio::spawn(begin))),
                Err(error) => tracing::warn!(error = %error.0, "schedules were not looked at"),
            }
            self.pause().await;
            match self.0.db.renew(fence, TTL).await {
                Ok(()) => {}
                Err(LeaseError::Lost(_)) => return tracing::info!("another server looks at schedules from now on"),
                Err(LeaseError::Store(error)) => tracing::warn!(%error, "the lease of the scheduler was not renewed"),
            }
        }
    }

    async fn pause(&self) {
        self.0.clock.sleep_until(self.0.clock.now() + EVERY).await;
    }

    /// Takes the lease and looks once; what is to begin is returned. Nothing where another server holds the lease.
    pub async fn once(&self) -> Result<Vec<BoxFuture<'static, ()>>, ApiError> {
        match self.0.db.acquire(LEASE, &self.0.server, TTL).await? {
            Some(fence) => self.look(&fence).await,
            None => Ok(Vec::new()),
        }
    }

    /// Decides what is due. What fails for one schedule or monkey does not keep the others.
    async fn look(&self, fence: &Fence) -> Result<Vec<BoxFuture<'static, ()>>, ApiError> {
        let all = List::default();
        let waiting: BTreeSet<RunId> = self.pending().await?.into_iter().map(|(pending, _)| pending.run).collect();
        for document in self.0.db.list(SCHEDULE, &all).await? {
            if let Err(error) = self.schedule(fence, &document, &waiting).await {
                tracing::warn!(schedule = document.id, error = %error.0, "a schedule was not looked at");
            }
        }
        if let Some(hosts) = self.0.launcher.hosts() {
            for document in self.0.db.list(MONKEY, &all).await? {
                if let Err(error) = self.monkey(fence, &document, &hosts).await {
                    tracing::warn!(monkey = document.id, error = %error.0, "a monkey was not looked at");
                }
            }
        }
        let begin = |(pending, version)| -> BoxFuture<'static, ()> { Box::pin(self.clone().begin(pending, version)) };
        Ok(self.pending().await?.into_iter().map(begin).collect())
    }

    /// Notes of runs that are to begin, and their versions.
    async fn pending(&self) -> Result<Vec<(Pending, u64)>, ApiError> {
        let found = self.0.db.list(PENDING, &List::default()).await?;
        let mut pending = Vec::with_capacity(found.len());
        for document in found {
            pending.push((document.decode()?, document.version));
        }
        Ok(pending)
    }

    fn beginning(&self) -> MutexGuard<'_, BTreeSet<RunId>> {
        self.0.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
