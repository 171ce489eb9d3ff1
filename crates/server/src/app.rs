//! What every route is given.

use std::sync::Arc;

use jiff::Timestamp;
use squall_store::Database;

use crate::auth::Auth;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::notifications::Notifications;
use crate::runs::Runs;

/// The database and the services that stand on it. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Whole>);

struct Whole {
    parts: Parts,
    metrics: Metrics,
}

/// The parts of an [`App`].
pub struct Parts {
    /// Everything that the server remembers.
    pub db: Arc<dyn Database>,
    /// Wall time, for people and for calendars; nothing else is decided by it.
    pub wall: Arc<dyn WallClock>,
    /// Who is asking.
    pub auth: Auth,
    /// Hosts with an agent.
    pub fleet: Fleet,
    /// Experiments under way.
    pub runs: Runs,
    /// Telling people.
    pub notifications: Notifications,
}

impl App {
    /// From its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Whole { parts, metrics: Metrics::default() }))
    }

    /// What is counted since the server's start.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

/// What a server does besides answering. Runs until it is dropped.
pub async fn background(app: App) {
    let scheduler = app.runs.scheduler();
    tokio::join!(
        crate::idempotency::forget_old(app.clone()),
        crate::notifications::keep(app.clone()),
        crate::metrics::count(app.clone()),
        scheduler.keep()
    );
}

/// Wall time.
pub trait WallClock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The host's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
