//! Carries out what servers ask of this host, within its own limits, and ends what no server renews.
//!
//! - `run.rs`: one run: its injections and its end. What puts faults in force and back is [`LocalFaults`](crate::local::LocalFaults).
//! - `limits.rs`: the host's policies. - `lease.rs`: what ends by itself. - `recover.rs`: what an agent before this one has left.
//! - `measure.rs`: probes. - `others.rs`: runs of other processes.
mod lease;
mod limits;
mod measure;
mod others;
mod recover;
mod run;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall_api::link::{Answer, Inject, Message, Outstanding, Refusal, Request};
use squall_engine::{FindError, Gate, RegistryUndoer};
use squall_model::{InjectionId, RevertedBy, RunId};
use tokio::sync::{Notify, watch};

use crate::local::{AllowedNow, Ground, LocalApi, Order};
use crate::outbox::Outbox;
use limits::{Found, InForce};
use measure::Probes;
use run::{Ended, Injection, Phase, Run};

/// What an executor is given.
#[derive(Clone)]
pub struct ExecutorConfig {
    /// What all runs on this host have in common.
    pub ground: Ground,
    /// The host's own limits.
    pub gate: Arc<dyn Gate>,
    /// Its windows and freezes.
    pub allowed_now: AllowedNow,
    /// The local API, whose faults the red button ends, too.
    pub local: Option<Arc<LocalApi>>,
}

/// Carries out requests. Cheap to clone.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

struct Inner {
    config: ExecutorConfig,
    runs: Mutex<BTreeMap<RunId, Arc<Run>>>,
    /// Runs that are over here: nothing is injected for them any more.
    over: Mutex<HashSet<RunId>>,
    found: Mutex<Found>,
    probes: Probes,
    outboxes: Mutex<Vec<Arc<Outbox>>>,
    /// What was left by an agent before this one and could not be put back.
    stuck: Mutex<Vec<Outstanding>>,
    /// Something is in force, or is not any more.
    changed: Notify,
    /// Who made the stop file, if it is there.
    blocked: watch::Sender<Option<String>>,
}

/// The file in a run's directory that says which server asked for it.
const MARK: &str = "server";

/// Whether the run of this directory is a server's, which an agent carries out beside others. Such a run ends when the file `stop` appears
/// in its directory; a signal would end the agent.
pub fn is_of_a_server(run_dir: &std::path::Path) -> bool {
    run_dir.join(MARK).exists()
}

fn refused(message: impl Into<String>, hint: impl Into<Option<String>>) -> Answer {
    Answer::Refused(Refusal { message: message.into(), hint: hint.into() })
}

impl Executor {
    /// One for this host. [`Executor::recover`] first, then [`Executor::keep`] for as long as it lives.
    pub fn new(config: ExecutorConfig) -> Self {
        let probes = Probes::new(config.ground.registry.clone(), config.ground.clock.clone());
        let blocked = watch::Sender::new(config.ground.state.stopped());
        Self(Arc::new(Inner {
            config,
            runs: Mutex::default(),
            over: Mutex::default(),
            found: Mutex::default(),
            probes,
            outboxes: Mutex::default(),
            stuck: Mutex::default(),
            changed: Notify::new(),
            blocked,
        }))
    }

    /// Time that nobody can set.
    pub(crate) fn clock(&self) -> Arc<dyn squall_engine::Clock> {
        self.0.config.ground.clock.clone()
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.0.config.ground
    }

    /// Whoever is told what happens here without having asked.
    pub(crate) fn add_outbox(&self, outbox: Arc<Outbox>) {
        self.0.outboxes.lock().unwrap_or_else(PoisonError::into_inner).push(outbox);
    }

    /// Who made the stop file, if it is there, as it changes.
    pub(crate) fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.0.blocked.subscribe()
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, Arc<Run>>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, id: &RunId) -> Option<Arc<Run>> {
        self.runs().get(id).cloned()
    }

    fn all(&self) -> Vec<Arc<Run>> {
        self.runs().values().cloned().collect()
    }

    /// Injections that are in force, or could not be put back.
    pub fn outstanding(&self) -> Vec<Outstanding> {
        let mut outstanding: Vec<Outstanding> = self.all().iter().flat_map(|run| run.outstanding()).collect();
        outstanding.extend(self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        outstanding
    }

    /// How many there are.
    pub fn in_force(&self) -> u32 {
        u32::try_from(self.outstanding().len()).unwrap_or(u32::MAX)
    }

    /// Takes a command in the order in which commands come, and carries it out beside others.
    pub(crate) fn take(&self, server: &str, id: u64, request: Request, outbox: &Arc<Outbox>) {
        if !outbox.begin(id) {
            return;
        }
        // An injection is known from here on, so that what comes behind it finds it: a revert, or a beat without its run.
        let begun = match &request {
            Request::Inject(inject) => Some(self.begin(server, inject)),
            _ => None,
        };
        let (executor, outbox) = (self.clone(), outbox.clone());
        tokio::spawn(async move {
            let answer = match begun {
                Some(Ok(injection)) => injection.outcome().await,
                Some(Err(refusal)) => Answer::Refused(refusal),
                None => executor.carry_out(request).await,
            };
            outbox.answer(id, answer);
        });
    }

    async fn carry_out(&self, request: Request) -> Answer {
        match request {
            Request::Find { kind, selector, except } => self.find(&kind, &selector, except.as_ref()).await,
            Request::Plan { fault, args, target } => {
                let ground = &self.0.config.ground;
                let known = self.0.found.lock().unwrap_or_else(PoisonError::into_inner).get(&target.id);
                let target = known.map_or(target, |(target, _)| target);
                let Some(kind) = ground.registry.fault(&fault).cloned() else {
                    return refused(format!("`{fault}` is no fault that this agent knows"), None);
                };
                match kind.plan(&args, &target, &ground.host).await {
                    Ok(plan) => Answer::Planned(plan),
                    Err(error) => refused(error.message, error.hint),
                }
            }
            // Taken before this.
            Request::Inject(_) => refused("an injection that was not begun", None),
            Request::Verify { run, injection } => match self.run(&run) {
                Some(run) => run.verify(injection).await,
                None => refused(format!("run {run} is not known here; nothing of it is in force"), None),
            },
            Request::Revert { run, injection } => self.revert(&run, injection).await,
            Request::Close { run } => self.close(&run).await,
            Request::StopAll { by, block } => self.stop_all(&by, block).await,
            Request::Unblock => self.unblock(),
            Request::Measure(question) => self.0.probes.measure(*question).await,
        }
    }

    async fn find(&self, kind: &str, selector: &serde_json::Value, except: Option<&serde_json::Value>) -> Answer {
        let ground = &self.0.config.ground;
        let Some(kind) = ground.registry.target(kind).cloned() else {
            return refused(format!("`{kind}` is no kind of target that this agent knows"), None);
        };
        let explain = |error: FindError| refused(error.message, error.hint);
        let mut targets = match kind.find(selector).await {
            Ok(targets) => targets,
            Err(error) => return explain(error),
        };
        if let Some(except) = except {
            match kind.find(except).await {
                Ok(left_out) => targets.retain(|target| !left_out.iter().any(|other| other.id == target.id)),
                Err(error) => return explain(error),
            }
        }
        let before = targets.len();
        targets.retain(|target| self.0.config.gate.protected(target).is_none());
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner).remember(&targets);
        Answer::Found { protected: before - targets.len(), targets }
    }

    /// Begins an injection, unless it has begun already.
    fn begin(&self, server: &str, inject: &Inject) -> Result<Arc<Injection>, Refusal> {
        let no = |message: String, hint: Option<String>| Refusal { message, hint };
        let (ground, now) = (&self.0.config.ground, self.0.config.ground.clock.now());
        let mut runs = self.runs();
        if let Some(known) = runs.get(&inject.run).and_then(|run| run.state().injections.get(&inject.injection).cloned()) {
            return Ok(known);
        }
        if let Some(why) = self.is_over(&runs, &inject.run) {
            let hint = "start a new run".to_owned();
            return Err(no(format!("run {} is over on this host: {why}", inject.run), Some(hint)));
        }
        if let Some(says) = ground.state.stopped() {
            let hint = "`squall stop --unblock` on the host, or lifting the stop on the server, removes it".to_owned();
            return Err(no(format!("the stop file {} is there ({says})", ground.state.stop_file().display()), Some(hint)));
        }
        (self.0.config.allowed_now)().map_err(|why| no(why, None))?;
        let known = self.0.found.lock().unwrap_or_else(PoisonError::into_inner).get(&inject.target.id);
        let hint = "look for it again: it may be gone, or the agent was started anew";
        let (target, matched) =
            known.ok_or_else(|| no(format!("{} was not found by this agent", inject.target.label), Some(hint.to_owned())))?;
        limits::allow(self.0.config.gate.as_ref(), inject, &target, matched, &in_force(&runs, inject)).map_err(|why| no(why, None))?;
        let run = if let Some(run) = runs.get(&inject.run) {
            run.clone()
        } else {
            let run = Arc::new(Run::new(inject.run.clone(), ground.clone(), inject.lease.std()));
            self.mark(&inject.run, server).map_err(|e| no(format!("the directory of the run cannot be made: {e}"), None))?;
            runs.insert(inject.run.clone(), run.clone());
            run
        };
        let injection = Arc::new(Injection {
            id: inject.injection,
            fault: inject.fault.clone(),
            target: target.label.clone(),
            latest: now + limits::longest(inject),
            phase: watch::Sender::new(Phase::Injecting),
            cancel: Notify::new(),
        });
        {
            let mut state = run.state();
            state.lease = inject.lease.std();
            // The server has just asked for it: that is as good as a beat.
            state.named.insert(server.to_owned(), now);
            state.injections.insert(inject.injection, injection.clone());
        }
        drop(runs);
        let order = Order {
            injection: inject.injection,
            fault: inject.fault.clone(),
            args: inject.args.clone(),
            target,
            duration: inject.duration,
            latest: injection.latest,
            seed: inject.seed,
            accept_irreversible: inject.accept_irreversible,
        };
        let begun = injection.clone();
        tokio::spawn(async move { run.inject(&begun, order).await });
        self.0.changed.notify_one();
        Ok(injection)
    }

    /// Why nothing more may be injected for a run.
    fn is_over(&self, runs: &BTreeMap<RunId, Arc<Run>>, id: &RunId) -> Option<String> {
        if let Some(run) = runs.get(id) {
            return run.state().over.clone();
        }
        let over = self.0.over.lock().unwrap_or_else(PoisonError::into_inner).contains(id);
        (over || self.directory(id).exists()).then(|| "everything of it was put back".to_owned())
    }

    fn directory(&self, run: &RunId) -> PathBuf {
        self.0.config.ground.state.run_dir(run)
    }

    /// Leaves word in the run's directory that it is a server's.
    fn mark(&self, run: &RunId, server: &str) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let directory = self.directory(run);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        std::fs::write(directory.join(MARK), server)
    }

    async fn revert(&self, run: &RunId, injection: InjectionId) -> Answer {
        let Some(run) = self.run(run) else { return Answer::Done { how: "nothing of this run is in force here".into() } };
        match run.revert(injection, RevertedBy::Engine).await {
            Ok(how) => Answer::Done { how },
            Err(error) => {
                refused(error, Some("the agent tries again when the run ends; `squall recover` on the host tries now".to_owned()))
            }
        }
    }

    async fn close(&self, id: &RunId) -> Answer {
        self.0.probes.close(id);
        let Some(run) = self.run(id) else { return Answer::Done { how: "nothing of this run is left here".into() } };
        let ended = run.end("its server has closed it", RevertedBy::Engine).await;
        if !ended.failed.is_empty() {
            return refused(ended.failed.join("; "), Some("the agent tries again".to_owned()));
        }
        self.forget(id);
        let done: Vec<String> = ended.reverted.into_iter().map(|(_, what, how)| format!("{what}: {how}")).collect();
        Answer::Done { how: if done.is_empty() { "nothing was left of it".into() } else { done.join("; ") } }
    }

    /// A run is over, and whoever had to know of it does.
    fn forget(&self, run: &RunId) {
        self.runs().remove(run);
        self.0.over.lock().unwrap_or_else(PoisonError::into_inner).insert(run.clone());
        // What cannot be removed is found again by the next agent, and told once more.
        let _ = std::fs::remove_dir_all(self.directory(run));
    }

    async fn stop_all(&self, by: &str, block: bool) -> Answer {
        let config = &self.0.config;
        let (mut reverted, mut failed) = (Vec::new(), Vec::new());
        let stop_file = config.ground.state.stop_file();
        if block {
            // The file first: nothing can be armed from then on.
            match std::fs::write(&stop_file, format!("{by}\n")) {
                Ok(()) => _ = self.0.blocked.send_replace(config.ground.state.stopped()),
                Err(error) => failed.push(format!("{} cannot be written: {error}", stop_file.display())),
            }
        }
        let why = format!("stopped by {by}");
        let runs = self.all();
        let undoer = RegistryUndoer(config.ground.registry.clone());
        let own = futures_util::future::join_all(runs.iter().map(|run| self.end(run, &why)));
        let local = async {
            match &config.local {
                Some(local) => Some(local.stop_all().await),
                None => None,
            }
        };
        let others = others::stop(&config.ground.state, &undoer, config.ground.clock.as_ref(), by);
        let (own, local, (done, undone)) = futures_util::future::join3(own, local, others).await;
        for ended in own {
            reverted.extend(ended.reverted.into_iter().map(|(_, what, how)| format!("{what}: {how}")));
            failed.extend(ended.failed);
        }
        if let Some(local) = local {
            reverted.extend(local.reverted);
            failed.extend(local.failed);
        }
        reverted.extend(done);
        failed.extend(undone);
        Answer::Stopped { reverted, failed }
    }

    fn unblock(&self) -> Answer {
        let path = self.0.config.ground.state.stop_file();
        match std::fs::remove_file(&path) {
            Ok(()) => {
                self.0.blocked.send_replace(None);
                Answer::Done { how: format!("removed {}", path.display()) }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Answer::Done { how: "there was no stop file".into() },
            Err(error) => refused(format!("{} cannot be removed: {error}", path.display()), None),
        }
    }

    /// Ends a run that its server has not ended, and tells whoever may drive it.
    async fn end(&self, run: &Arc<Run>, why: &str) -> Ended {
        let ended = run.end(why, RevertedBy::Agent).await;
        let reverted = ended.reverted.iter();
        self.told(
            &run.id,
            reverted.map(|(id, _, how)| (*id, RevertedBy::Agent, format!("{why}: {how}"))).collect(),
            ended.failed.is_empty(),
        );
        ended
    }

    /// Tells every server that injections of a run were put back, until one has heard it all; then, with `gone`, the run is forgotten.
    fn told(&self, run: &RunId, reverted: Vec<(InjectionId, RevertedBy, String)>, gone: bool) {
        if reverted.is_empty() {
            if gone {
                self.forget(run);
            }
            return;
        }
        let left = Arc::new(Mutex::new(reverted.iter().map(|(id, ..)| *id).collect::<HashSet<_>>()));
        let outboxes = self.0.outboxes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (injection, by, how) in reverted {
            tracing::info!(%run, %injection, how, "put back");
            for outbox in &outboxes {
                let (executor, of, left) = (self.clone(), run.clone(), left.clone());
                let heard = move || {
                    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                    if left.remove(&injection) && left.is_empty() && gone {
                        executor.forget(&of);
                    }
                };
                outbox.say(&Message::Reverted { run: run.clone(), injection, by, how: how.clone() }, Some(Box::new(heard)));
            }
        }
    }

    /// Puts everything of servers back, because the agent ends.
    pub async fn end_all(&self, why: &str) -> Vec<String> {
        let runs = self.all();
        let ended = futures_util::future::join_all(runs.iter().map(|run| self.end(run, why))).await;
        ended.into_iter().flat_map(|ended| ended.failed).collect()
    }
}

fn in_force(runs: &BTreeMap<RunId, Arc<Run>>, inject: &Inject) -> InForce {
    let mut now = InForce { alike: 0, all: 0 };
    for run in runs.values() {
        for injection in run.state().injections.values().filter(|injection| !injection.is_over()) {
            now.all += 1;
            now.alike += usize::from(run.id == inject.run && injection.fault == inject.fault);
        }
    }
    now
}

/// Between two looks at what may have ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
