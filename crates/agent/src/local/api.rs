//! What is set for each target, and when it ends.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use squall_api::Problem;
use squall_engine::{GateRequest, Target};
use squall_model::{InjectionId, RevertedBy, RunId, Time};
use tokio::sync::{Mutex, Notify};

use super::order::{On, Piece};
use super::{Effects, FaultError, FaultOrder, LocalConfig, LocalFaults, Order};

/// Between two looks at the stop file and at time boxes, while something is set.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two tries to put back what could not be.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The watchdog reverts what is so late; the agent's own revert begins at the end of the time box.
const SLACK: Duration = Duration::from_secs(5);

/// What is set for a target, as `GET /faults` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActiveFault {
    /// As it was asked for.
    pub target: String,
    /// `active`, or `stuck` where something could not be put back; that is tried again each second.
    pub status: String,
    /// As it was asked for.
    pub fault: Effects,
    /// Until it ends by itself, in milliseconds.
    pub remaining_ms: u64,
    /// Each fault that it stands for.
    pub effects: Vec<AppliedEffect>,
}

/// One fault of those that were asked for together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppliedEffect {
    /// The run that carries it; `squall show` and `squall recover` know it by this.
    pub run: RunId,
    /// Its number within the run.
    pub injection: InjectionId,
    /// The kind of fault.
    pub kind: String,
    /// What it is applied to.
    pub on: String,
    /// Whether it was seen in force right after it was set.
    pub in_force: bool,
    /// What was seen.
    pub evidence: String,
}

/// What was put back when everything was stopped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoppedAll {
    /// What was done, in words, one for each injection.
    pub reverted: Vec<String>,
    /// What could not be put back, and why; it is tried again each second.
    pub failed: Vec<String>,
}

/// What is set by way of the local API.
pub struct LocalApi {
    config: LocalConfig,
    set: Mutex<Set>,
    changed: Notify,
}

/// All that is set. One run carries it, from the first fault to the last.
#[derive(Default)]
struct Set {
    /// Nothing more may be set: the agent ends.
    closed: bool,
    run: Option<Arc<LocalFaults>>,
    next: u32,
    targets: BTreeMap<String, Applied>,
}

struct Applied {
    fault: Effects,
    until: Duration,
    effects: Vec<AppliedEffect>,
    /// When to try again to put back what is over.
    again: Option<Duration>,
}

/// A fault that is ready to be ordered.
struct Ready {
    piece: Piece,
    target: Target,
}

impl LocalApi {
    /// Nothing is set yet.
    pub fn new(config: LocalConfig) -> Self {
        Self { config, set: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn config(&self) -> &LocalConfig {
        &self.config
    }

    fn now(&self) -> Duration {
        self.config.ground.clock.now()
    }

    /// Sets faults for a target, in place of those that were set for it before. They are in force when this returns, or nothing is.
    pub async fn set(&self, order: &FaultOrder) -> Result<ActiveFault, Problem> {
        let pieces = order.pieces().map_err(|errors| {
            let mut problem = Problem::invalid("the faults cannot be set as they are written");
            problem.errors = errors;
            problem
        })?;
        let duration = order.duration.unwrap_or(self.config.default_duration.min(self.config.longest));
        if duration > self.config.longest {
            let problem = Problem::refused(format!("{duration} is longer than the {} that this agent allows", self.config.longest));
            return Err(problem.hint("ask for a shorter `duration`"));
        }
        (self.config.allowed_now)().map_err(Problem::refused)?;
        let mut ready = Vec::with_capacity(pieces.len());
        for piece in pieces {
            ready.push(self.ready(piece).await?);
        }
        let (run, effects) = self.replace(order, duration, ready).await?;
        // Looking takes a while, and nobody has to wait for it who wants to end something.
        let mut seen = Vec::with_capacity(effects.len());
        for effect in effects {
            seen.push(verified(&run, effect).await);
        }
        self.remember(&order.target, seen).await
    }

    /// Ends what was set for the target, and orders the new.
    async fn replace(
        &self,
        order: &FaultOrder,
        duration: Time,
        ready: Vec<Ready>,
    ) -> Result<(Arc<LocalFaults>, Vec<AppliedEffect>), Problem> {
        let mut set = self.set.lock().await;
        let name = &order.target;
        if set.closed {
            return Err(Problem::unavailable("the agent is about to end").hint("ask again when it runs again"));
        }
        let others = set.targets.iter().filter(|(target, _)| *target != name);
        self.allow(&ready, duration, others.map(|(_, applied)| applied.effects.len()).sum())?;
        if let Some(Err(stuck)) = self.end(&mut set, name).await {
            return Err(Problem::conflict(format!("what was set for `{name}` before cannot be put back: {stuck}")));
        }
        let run = self.run(&mut set).await?;
        let until = self.now() + duration.std();
        let mut applied = Applied { fault: order.effects(), until, effects: Vec::new(), again: None };
        for Ready { piece, target } in ready {
            set.next += 1;
            let injection = InjectionId(set.next);
            let one = Order {
                injection,
                fault: piece.fault.to_owned(),
                args: piece.args,
                latest: until + SLACK,
                duration: Some(duration),
                seed: chance(),
                accept_irreversible: false,
                target,
            };
            let result = run.inject(&one).await;
            // Also one that failed is to be put back, if that was not possible at once.
            let (kind, on) = (one.fault.clone(), one.target.label.clone());
            let effect = AppliedEffect { run: run.run().clone(), injection, kind, on, in_force: false, evidence: String::new() };
            if result.is_ok() || run.in_force().contains(&injection) {
                applied.effects.push(effect);
            }
            if let Err(error) = result {
                // All or nothing: those that came before are ended, too.
                set.targets.insert(name.clone(), applied);
                let ended = self.end(&mut set, name).await;
                self.close_if_idle(&mut set).await;
                self.changed.notify_one();
                let problem = problem(error);
                return Err(match ended {
                    Some(Err(stuck)) => problem.hint(format!("it is tried again each second to put back {stuck}")),
                    _ => problem,
                });
            }
        }
        let effects = applied.effects.clone();
        set.targets.insert(name.clone(), applied);
        self.changed.notify_one();
        Ok((run, effects))
    }

    async fn remember(&self, target: &str, seen: Vec<AppliedEffect>) -> Result<ActiveFault, Problem> {
        let now = self.now();
        let mut set = self.set.lock().await;
        let applied = set.targets.get_mut(target).filter(|applied| {
            let same = |(a, b): (&AppliedEffect, &AppliedEffect)| (&a.run, a.injection) == (&b.run, b.injection);
            applied.effects.len() == seen.len() && applied.effects.iter().zip(&seen).all(same)
        });
        let Some(applied) = applied else {
            return Err(Problem::conflict(format!("what was set for `{target}` was ended by somebody else meanwhile")));
        };
        applied.effects = seen;
        Ok(shown(target, applied, now))
    }

    /// What is set, by target.
    pub async fn list(&self) -> Vec<ActiveFault> {
        let now = self.now();
        self.set.lock().await.targets.iter().map(|(target, applied)| shown(target, applied, now)).collect()
    }

    /// Ends what is set for a target: what was done, or why not. None if nothing is set for it.
    pub async fn clear(&self, target: &str) -> Option<Result<Vec<String>, String>> {
        let mut set = self.set.lock().await;
        let ended = self.end(&mut set, target).await;
        self.close_if_idle(&mut set).await;
        ended
    }

    /// Ends everything, and refuses whatever is asked for after it.
    pub(super) async fn close(&self) -> StoppedAll {
        let mut set = self.set.lock().await;
        set.closed = true;
        self.stop(&mut set).await
    }

    /// Ends everything.
    pub async fn stop_all(&self) -> StoppedAll {
        let mut set = self.set.lock().await;
        self.stop(&mut set).await
    }

    async fn stop(&self, set: &mut Set) -> StoppedAll {
        let mut stopped = StoppedAll::default();
        for target in set.targets.keys().cloned().collect::<Vec<_>>() {
            match self.end(set, &target).await {
                Some(Ok(done)) => stopped.reverted.extend(done),
                Some(Err(error)) => stopped.failed.push(error),
                None => {}
            }
        }
        self.close_if_idle(set).await;
        stopped
    }

    /// Keeps time boxes and the stop file, until it is dropped.
    pub async fn keep(&self) {
        loop {
            if self.set.lock().await.targets.is_empty() {
                self.changed.notified().await;
            }
            self.config.ground.clock.sleep_until(self.now() + LOOK_EVERY).await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let mut set = self.set.lock().await;
        let Some(run) = set.run.clone() else { return };
        let state = &self.config.ground.state;
        let all = state.stopped().is_some() || state.run_dir(run.run()).join("stop").exists() || run.lost_watchdog().is_some();
        let now = self.now();
        let over = set.targets.iter().filter(|(_, applied)| applied.again.map_or(all || applied.until <= now, |again| again <= now));
        for target in over.map(|(target, _)| target.clone()).collect::<Vec<_>>() {
            // What cannot be put back stays in the list, and is tried again.
            let _ = self.end(&mut set, &target).await;
        }
        self.close_if_idle(&mut set).await;
    }

    /// Puts back what is set for a target, the last first, each tried even if another fails.
    async fn end(&self, set: &mut Set, target: &str) -> Option<Result<Vec<String>, String>> {
        let run = set.run.clone()?;
        let applied = set.targets.get_mut(target)?;
        let (mut done, mut left, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        // Not taken out before it is done: this may be given up half way, and begun again.
        for effect in applied.effects.clone().into_iter().rev() {
            match run.revert(effect.injection, RevertedBy::Agent).await {
                Ok(how) => done.push(format!("{} on {}: {how}", effect.kind, effect.on)),
                Err(error) => {
                    errors.push(format!("{} on {}: {error}", effect.kind, effect.on));
                    left.push(effect);
                }
            }
        }
        left.reverse();
        applied.effects = left;
        if errors.is_empty() {
            set.targets.remove(target);
            return Some(Ok(done));
        }
        applied.again = Some(self.now() + RETRY_EVERY);
        Some(Err(errors.join("; ")))
    }

    /// A run that carries nothing is closed: neither a ledger that grows nor a watchdog stays for it.
    async fn close_if_idle(&self, set: &mut Set) {
        if !set.targets.is_empty() {
            return;
        }
        let Some(run) = set.run.take() else { return };
        if run.close().await.is_ok() {
            // It has nothing to tell: all was put back. What cannot be removed is in nobody's way.
            let _ = std::fs::remove_dir_all(self.config.ground.state.run_dir(run.run()));
        }
    }

    /// The run that carries what is set.
    async fn run(&self, set: &mut Set) -> Result<Arc<LocalFaults>, Problem> {
        if let Some(run) = &set.run {
            return Ok(run.clone());
        }
        let millis = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "fifteen bits of it are used")]
        let id = RunId::new(millis, chance() as u16);
        let run = LocalFaults::open(self.config.ground.clone(), id).await.map_err(problem)?;
        set.next = 0;
        Ok(set.run.insert(Arc::new(run)).clone())
    }

    /// Finds what a fault is applied to.
    async fn ready(&self, piece: Piece) -> Result<Ready, Problem> {
        let (kind, selector) = match &piece.on {
            On::Service(service) => ("app", json!({ "service": service, "directory": self.config.faults_directory })),
            On::Process(selector) => ("process", selector.clone()),
            On::Host => ("host", json!({})),
        };
        let registry = &self.config.ground.registry;
        let found = registry.target(kind).ok_or_else(|| Problem::internal(format!("`{kind}` is not a kind of target")))?;
        if let Some(error) = found.check(&selector).into_iter().next() {
            let problem = Problem::invalid(format!("{kind}: {}", error.message));
            return Err(error.hint.map_or(problem.clone(), |hint| problem.hint(hint)));
        }
        let mut targets = found.find(&selector).await.map_err(|error| {
            let problem = Problem::refused(error.message);
            error.hint.map_or(problem.clone(), |hint| problem.hint(hint))
        })?;
        targets.retain(|target| self.config.gate.protected(target).is_none());
        let nothing = || {
            let hint = "give `process` with a selector as in a manifest, such as { \"port\": 8080 }, or `host` as the target";
            Problem::refused(format!("no process that may be touched matches {selector}")).hint(hint)
        };
        // Several of one service share its control group, and one stressor in it is felt by all.
        let target = targets.into_iter().next().ok_or_else(nothing)?;
        let fault = registry.fault(piece.fault).ok_or_else(|| Problem::internal(format!("`{}` is no kind of fault", piece.fault)))?;
        match fault.check(&piece.args).into_iter().next() {
            Some(error) => {
                let problem = Problem::invalid(error.message);
                Err(error.hint.map_or(problem.clone(), |hint| problem.hint(hint)))
            }
            None => Ok(Ready { piece, target }),
        }
    }

    fn allow(&self, ready: &[Ready], duration: Time, mut in_force: usize) -> Result<(), Problem> {
        for one in ready {
            let request = GateRequest {
                fault: one.piece.fault,
                targets: std::slice::from_ref(&one.target),
                matched: 1,
                chosen: 1,
                duration: Some(duration),
                in_force,
            };
            self.config.gate.allow(&request).map_err(|denied| Problem::refused(denied.message))?;
            in_force += 1;
        }
        Ok(())
    }
}

async fn verified(run: &LocalFaults, mut effect: AppliedEffect) -> AppliedEffect {
    match run.verify(effect.injection).await {
        Ok(seen) => (effect.in_force, effect.evidence) = (seen.in_force, seen.evidence),
        Err(error) => effect.evidence = format!("could not look: {error}"),
    }
    effect
}

fn shown(target: &str, applied: &Applied, now: Duration) -> ActiveFault {
    ActiveFault {
        target: target.to_owned(),
        status: if applied.again.is_some() { "stuck" } else { "active" }.to_owned(),
        fault: applied.fault.clone(),
        remaining_ms: u64::try_from(applied.until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX),
        effects: applied.effects.clone(),
    }
}

fn problem(error: FaultError) -> Problem {
    match error {
        FaultError::Refused { message, hint } => {
            let problem = Problem::refused(message);
            hint.map_or(problem.clone(), |hint| problem.hint(hint))
        }
        FaultError::Failed(message) => Problem::conflict(message),
        FaultError::Watchdog(_) => Problem::unavailable(error.to_string()),
        other => Problem::internal(other.to_string()),
    }
}

/// Some chance: 64 bits that differ from call to call.
fn chance() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
