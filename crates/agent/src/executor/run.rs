//! One run of a server on this host: its injections, its lease, and its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall_api::link::{Answer, Outstanding, Refusal};
use squall_model::{InjectionId, RevertedBy, RunId};
use tokio::sync::{Notify, OnceCell, watch};

use crate::local::{FaultError, Ground, LocalFaults, Order};

/// What became of an injection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Injecting,
    InForce,
    /// It never was in force, or not for long; nothing is left of it.
    Failed(Refusal),
    Reverted(String),
    /// It could not be put back: that is tried again.
    Stuck(String),
}

pub(super) struct Injection {
    pub id: InjectionId,
    pub fault: String,
    pub target: String,
    /// When the agent itself puts it back.
    pub latest: Duration,
    pub phase: watch::Sender<Phase>,
    pub cancel: Notify,
}

impl Injection {
    pub fn is_over(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Failed(_) | Phase::Reverted(_))
    }

    /// What the server is told that asks for it, once it is known.
    pub async fn outcome(&self) -> Answer {
        let mut phase = self.phase.subscribe();
        // The sender is in `self`.
        let phase = phase.wait_for(|phase| *phase != Phase::Injecting).await.map_or(Phase::Injecting, |phase| phase.clone());
        let refused = |message: String| Answer::Refused(Refusal { message, hint: None });
        match phase {
            Phase::InForce => Answer::Done { how: format!("{} is in force on {}", self.fault, self.target) },
            Phase::Failed(refusal) => Answer::Refused(refusal),
            Phase::Reverted(how) => refused(format!("{} on {} was put back already: {how}", self.fault, self.target)),
            Phase::Stuck(error) => refused(format!("{} on {} could not be put back: {error}", self.fault, self.target)),
            Phase::Injecting => refused("it is still under way".into()),
        }
    }
}

/// What is known of a run.
pub(super) struct RunState {
    /// How long what it injects stays without a beat.
    pub lease: Duration,
    /// When each server named it last, in a beat that both have heard.
    pub named: HashMap<String, Duration>,
    pub injections: BTreeMap<InjectionId, Arc<Injection>>,
    /// Why nothing more is injected for it.
    pub over: Option<String>,
    /// When it is tried again to put back what could not be, and the wait before that.
    pub again: Option<(Duration, Duration)>,
}

/// The first and the longest wait between tries to put something back.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long an injection that is under way may take to let go.
const LET_GO: Duration = Duration::from_secs(5);

pub(super) struct Run {
    pub id: RunId,
    ground: Ground,
    faults: OnceCell<LocalFaults>,
    state: Mutex<RunState>,
    /// Reverting all of it, one at a time.
    ending: tokio::sync::Mutex<()>,
}

/// What the end of a run came to.
pub(super) struct Ended {
    /// Each injection that was put back just now: its number, what it was, and what was done.
    pub reverted: Vec<(InjectionId, String, String)>,
    pub failed: Vec<String>,
}

impl Run {
    pub fn new(id: RunId, ground: Ground, lease: Duration) -> Self {
        let state = RunState { lease, named: HashMap::new(), injections: BTreeMap::new(), over: None, again: None };
        Self { id, ground, faults: OnceCell::new(), state: Mutex::new(state), ending: tokio::sync::Mutex::default() }
    }

    pub fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A beat of this server came at `at` that names the run, and the server knows that it came.
    pub fn renew(&self, server: &str, at: Duration) {
        let mut state = self.state();
        let last = state.named.entry(server.to_owned()).or_default();
        *last = (*last).max(at);
    }

    /// When its lease ends: so long after it was named last, by whichever server.
    pub fn lease_ends(state: &RunState) -> Duration {
        state.named.values().max().copied().unwrap_or_default() + state.lease
    }

    pub fn outstanding(&self) -> Vec<Outstanding> {
        let describe = |injection: &Arc<Injection>| Outstanding {
            run: self.id.clone(),
            injection: injection.id,
            fault: injection.fault.clone(),
            target: injection.target.clone(),
        };
        self.state().injections.values().filter(|injection| !injection.is_over()).map(describe).collect()
    }

    /// Whether somebody has asked for its end at the host: `squall stop` leaves a file.
    pub fn stopped_here(&self) -> bool {
        self.ground.state.run_dir(&self.id).join("stop").exists()
    }

    /// How the run's watchdog ended, if it did.
    pub fn lost_watchdog(&self) -> Option<String> {
        self.faults.get().and_then(LocalFaults::lost_watchdog)
    }

    async fn faults(&self) -> Result<&LocalFaults, FaultError> {
        self.faults.get_or_try_init(|| LocalFaults::open(self.ground.clone(), self.id.clone())).await
    }

    /// Puts an injection in force; its phase says what came of it.
    pub async fn inject(&self, injection: &Injection, order: Order) {
        let work = async {
            let faults = self.faults().await?;
            // Ended while the watchdog was being started.
            if let Some(why) = self.state().over.clone() {
                return Err(FaultError::Failed(why));
            }
            faults.inject(&order).await
        };
        let result = tokio::select! {
            biased;
            () = injection.cancel.notified() => Err(FaultError::Failed("it was cancelled".into())),
            result = work => result,
        };
        let Err(error) = result else {
            injection.phase.send_replace(Phase::InForce);
            return;
        };
        // What was dropped in the middle is put back here.
        let cleaned = match self.faults.get() {
            Some(faults) => faults.revert(injection.id, RevertedBy::Agent).await.map(drop),
            None => Ok(()),
        };
        injection.phase.send_replace(match cleaned {
            Ok(()) => Phase::Failed(refusal(error)),
            Err(stuck) => Phase::Stuck(stuck.to_string()),
        });
    }

    /// Puts an injection back. What was done, or why it could not be.
    pub async fn revert(&self, id: InjectionId, by: RevertedBy) -> Result<String, String> {
        let Some(injection) = self.state().injections.get(&id).cloned() else { return Ok("it was never here".into()) };
        injection.cancel.notify_one();
        let mut phase = injection.phase.subscribe();
        let clock = self.ground.clock.clone();
        let settled = tokio::select! {
            phase = phase.wait_for(|phase| *phase != Phase::Injecting) => phase.map(|phase| phase.clone()).ok(),
            () = clock.sleep_until(clock.now() + LET_GO) => None,
        };
        match settled {
            Some(Phase::Reverted(how)) => return Ok(how),
            Some(Phase::Failed(refusal)) => return Ok(format!("it was not in force: {}", refusal.message)),
            _ => {}
        }
        let Some(faults) = self.faults.get() else { return Ok("nothing was armed".into()) };
        let result = faults.revert(id, by).await.map_err(|error| error.to_string());
        injection.phase.send_if_modified(|phase| {
            *phase = match &result {
                Ok(how) => Phase::Reverted(how.clone()),
                Err(error) => Phase::Stuck(error.clone()),
            };
            true
        });
        result
    }

    pub async fn verify(&self, id: InjectionId) -> Answer {
        let refused = |message: String| Answer::Refused(Refusal { message, hint: None });
        let known = self.state().injections.get(&id).cloned();
        let Some(injection) = known else { return refused(format!("injection {id} of this run is not known here")) };
        if let Phase::Reverted(how) = &*injection.phase.borrow() {
            return Answer::Effect { in_force: false, evidence: format!("it was put back already: {how}") };
        }
        let Some(faults) = self.faults.get() else { return refused("nothing was armed".into()) };
        match faults.verify(id).await {
            Ok(effect) => Answer::Effect { in_force: effect.in_force, evidence: effect.evidence },
            Err(error) => refused(error.to_string()),
        }
    }

    /// Puts everything back and closes the ledger. What cannot be put back now is tried again later.
    pub async fn end(&self, why: &str, by: RevertedBy) -> Ended {
        let _one = self.ending.lock().await;
        let injections: Vec<Arc<Injection>> = {
            let mut state = self.state();
            state.over.get_or_insert_with(|| why.to_owned());
            // Last in, first out; all at the same time, as one that hangs must not hold up the others.
            state.injections.values().rev().filter(|injection| !injection.is_over()).cloned().collect()
        };
        let results = futures_util::future::join_all(injections.iter().map(|injection| self.revert(injection.id, by))).await;
        let mut ended = Ended { reverted: Vec::new(), failed: Vec::new() };
        for (injection, result) in injections.iter().zip(results) {
            let what = format!("{} on {}", injection.fault, injection.target);
            match result {
                Ok(how) => ended.reverted.push((injection.id, what, how)),
                Err(error) => ended.failed.push(format!("{what}: {error}")),
            }
        }
        let mut closed = ended.failed.is_empty();
        if closed && let Some(faults) = self.faults.get() {
            closed = faults.close().await.inspect_err(|error| ended.failed.push(error.to_string())).is_ok();
        }
        let mut state = self.state();
        state.again = (!closed).then(|| {
            let wait = state.again.map_or(RETRY.0, |(_, wait)| (wait * 2).min(RETRY.1));
            (self.ground.clock.now() + wait, wait)
        });
        ended
    }
}

fn refusal(error: FaultError) -> Refusal {
    match error {
        FaultError::Refused { message, hint } => Refusal { message, hint },
        other => Refusal { message: other.to_string(), hint: None },
    }
}
