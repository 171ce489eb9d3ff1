//! The faults of one run on this host: put in force, looked at and put back, with an undo ledger and a watchdog of their own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value as Json;
use squall_engine::{AnyFault, Clock, Cx, Effect, HostFacts, Registry, RegistryUndoer, Target};
use squall_model::{InjectionId, RevertedBy, RunId, Time};
use squall_undo::{ArmError, Armed, Entry, Ledger, LedgerError, StateDir, Watchdog};

/// Starts the watchdog of the run in a directory: a process that calls [`squall_undo::watch`] for it.
pub type StartWatchdog = Arc<dyn Fn(&Path) -> Result<Watchdog, String> + Send + Sync>;

/// What all runs on this host have in common.
#[derive(Clone)]
pub struct Ground {
    /// Where undo ledgers are kept.
    pub state: StateDir,
    /// The kinds of fault and target. One for all runs: some faults keep what they hold in their kind.
    pub registry: Arc<Registry>,
    /// What the host can do.
    pub host: HostFacts,
    /// Time that nobody can set.
    pub clock: Arc<dyn Clock>,
    /// Starts a watchdog.
    pub watchdog: StartWatchdog,
}

/// One fault on one target.
#[derive(Debug, Clone)]
pub struct Order {
    /// Its number within the run.
    pub injection: InjectionId,
    /// The kind of fault.
    pub fault: String,
    /// Its arguments.
    pub args: Json,
    /// As found on this host.
    pub target: Target,
    /// The time box.
    pub duration: Option<Time>,
    /// When the watchdog reverts it, whatever this process does; on [`Ground::clock`].
    pub latest: Duration,
    /// Decides the fault's own random choices.
    pub seed: u64,
    /// Whoever asks for it knows that it may be irreversible.
    pub accept_irreversible: bool,
}

/// A fault could not be put in force, looked at, or put back.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// There is no undo ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no watchdog, so nothing may be touched.
    #[error("nothing was touched, as there is no watchdog: {0}")]
    Watchdog(String),
    /// No such kind.
    #[error("`{0}` is no kind of fault that this agent knows")]
    UnknownKind(String),
    /// No such injection in this run.
    #[error("injection {0} is not in force")]
    Unknown(InjectionId),
    /// It cannot be done on this host; nothing was touched.
    #[error("{message}")]
    Refused {
        /// What stands in the way.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// It went wrong; what was armed was reverted, or is left to be.
    #[error("{0}")]
    Failed(String),
}

/// What is known of an injection of this run.
struct Injection {
    fault: Arc<dyn AnyFault>,
    /// The undo that was armed last.
    undo: Option<Json>,
}

/// The faults of one run on this host. Whoever drops it without [`LocalFaults::close`] leaves the faults to the watchdog.
pub struct LocalFaults {
    ground: Ground,
    run: RunId,
    ledger: Ledger,
    watchdog: Mutex<Option<Watchdog>>,
    injections: Mutex<BTreeMap<InjectionId, Injection>>,
}

impl LocalFaults {
    /// Makes the run's ledger, and waits until its watchdog watches.
    pub async fn open(ground: Ground, run: RunId) -> Result<Self, FaultError> {
        let ledger = Ledger::create(&ground.state, &run)?;
        let mut watchdog = (ground.watchdog)(&ground.state.run_dir(&run)).map_err(FaultError::Watchdog)?;
        watchdog.ready().await.map_err(|error| FaultError::Watchdog(error.to_string()))?;
        ledger.attach(watchdog.poker());
        Ok(Self { ground, run, ledger, watchdog: Mutex::new(Some(watchdog)), injections: Mutex::default() })
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Puts a fault in force. What fails after it was armed is put back before this returns.
    pub async fn inject(&self, order: &Order) -> Result<(), FaultError> {
        let kind = self.ground.registry.fault(&order.fault).ok_or_else(|| FaultError::UnknownKind(order.fault.clone()))?.clone();
        let plan = kind.plan(&order.args, &order.target, &self.ground.host).await;
        let plan = plan.map_err(|error| FaultError::Refused { message: error.message, hint: error.hint })?;
        if plan.irreversible && !order.accept_irreversible {
            let message = format!("{} on {} cannot be undone", order.fault, order.target.label);
            return Err(FaultError::Refused { message, hint: Some("say `acceptIrreversible: true` if it is meant".into()) });
        }
        let claims: Vec<String> = plan.claims.into_iter().map(|claim| claim.0).collect();
        self.injections().insert(order.injection, Injection { fault: kind.clone(), undo: None });
        let recorder = |undo: Json| self.arm(order, &claims, undo);
        let deadline = order.duration.map(|duration| (self.ground.clock.now() + duration.std()).min(order.latest));
        let (marker, directory) = (format!("squall-{}-{}", self.run, order.injection), self.ground.state.run_dir(&self.run));
        let cx = Cx::new(&self.run, order.injection, &marker, order.duration, deadline, order.seed, &directory, &recorder);
        let work = std::panic::AssertUnwindSafe(kind.inject(&order.args, &order.target, cx)).catch_unwind();
        let error = match work.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the fault itself failed".to_owned(),
        };
        match self.revert(order.injection, RevertedBy::Agent).await {
            Ok(_) => Err(FaultError::Failed(error)),
            Err(stuck) => Err(FaultError::Failed(format!("{error}; and it could not be put back: {stuck}"))),
        }
    }

    fn arm(&self, order: &Order, claims: &[String], undo: Json) -> Result<Armed, ArmError> {
        let armed = self.ledger.arm(Entry {
            injection: order.injection,
            fault: order.fault.clone(),
            target: order.target.label.clone(),
            undo: undo.clone(),
            claims: claims.to_vec(),
            deadline: Some(order.latest),
        })?;
        if let Some(injection) = self.injections().get_mut(&order.injection) {
            injection.undo = Some(undo);
        }
        Ok(armed)
    }

    /// Looks whether a fault is really in force.
    pub async fn verify(&self, id: InjectionId) -> Result<Effect, FaultError> {
        let known = self.injections().get(&id).and_then(|injection| Some((injection.fault.clone(), injection.undo.clone()?)));
        let (kind, undo) = known.ok_or(FaultError::Unknown(id))?;
        let work = std::panic::AssertUnwindSafe(kind.verify(&undo)).catch_unwind();
        match work.await {
            Ok(effect) => effect.map_err(|error| FaultError::Failed(error.to_string())),
            Err(_) => Err(FaultError::Failed("the fault itself failed".into())),
        }
    }

    /// Puts a fault back, and says what was done. After an error it may be tried again; after a success that does nothing.
    pub async fn revert(&self, id: InjectionId, by: RevertedBy) -> Result<String, FaultError> {
        let undoer = RegistryUndoer(self.ground.registry.clone());
        let work = std::panic::AssertUnwindSafe(self.ledger.revert(id, &undoer, by)).catch_unwind();
        match work.await {
            Ok(Ok(how)) => {
                self.injections().remove(&id);
                Ok(how)
            }
            Ok(Err(error)) => Err(FaultError::Failed(error)),
            Err(_) => Err(FaultError::Failed("the revert itself failed".into())),
        }
    }

    /// Injections that are in force, or could not be put back.
    pub fn in_force(&self) -> Vec<InjectionId> {
        self.injections().keys().copied().collect()
    }

    /// How the watchdog ended, if it did: then nothing may stay in force.
    pub fn lost_watchdog(&self) -> Option<String> {
        let mut watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        watchdog.as_mut()?.lost().now_or_never()
    }

    /// Closes the ledger and lets the watchdog go. An error, and nothing done, while something is in force.
    pub async fn close(&self) -> Result<(), FaultError> {
        self.ledger.close()?;
        let watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watchdog) = watchdog {
            // One that does not end now ends by itself: the ledger is closed.
            watchdog.stop().await;
        }
        Ok(())
    }

    fn injections(&self) -> MutexGuard<'_, BTreeMap<InjectionId, Injection>> {
        self.injections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
