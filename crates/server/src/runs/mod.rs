//! Experiments under way. The engine is the one of `squall run`, and so are journal and verdict.
//!
//! - `remote.rs`: the kinds, which ask the agent of the target's host.
//! - `drive.rs`: one run from its start to its end, on a thread of its own.
//! - `takeover.rs`: runs whose server is gone: what they had in force is put back, and they are ended.
//! - `journal.rs`: the journal in the server's database.
//! - `wishes.rs`: what is asked of a run that another server drives.

mod drive;
mod journal;
mod remote;
mod takeover;
mod wishes;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall_api::link::Request;
use squall_api::runs::{NewRun, Stopped};
use squall_api::{Problem, problem::FieldError};
use squall_engine::{Clock, Control, Gate, HostFacts, Preview, Program, Registry, State, TrafficControl, validate_experiment};
use squall_model::{Experiment, RollbackAction, RunId, Time, Verdict};
use squall_store::{Database, Fence, Write};
use squall_undo::StateDir;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
pub use wishes::Wish;

use crate::auth::Caller;
use crate::error::unusable;
use crate::fleet::{Fleet, LiveHost};
use crate::{ApiError, WallClock};

/// How an explicit rollback action is written as an undo of a fault: the fault's name and its undo.
pub type EncodeRollback = fn(&RollbackAction) -> Result<(String, serde_json::Value), String>;

/// What the binary knows and this crate does not: the kinds, the clock, load, and the library.
pub struct Kinds {
    /// Every kind of fault, probe and target.
    pub registry: Arc<Registry>,
    /// Time that decides.
    pub clock: Arc<dyn Clock>,
    /// Makes the load of one run.
    pub traffic: Box<dyn Fn() -> Arc<dyn TrafficControl> + Send + Sync>,
    /// How rollback actions are written down.
    pub rollback: EncodeRollback,
    /// Fills in the parameters of a manifest.
    pub fill: fn(&str, &BTreeMap<String, String>) -> Result<String, String>,
    /// The text of an experiment of the library.
    pub library: fn(&str) -> Option<String>,
    /// Experiments of the library that a search finds.
    pub search: fn(&str) -> Vec<squall_api::experiments::LibraryEntry>,
    /// 15 bits of chance for ids of runs, and seeds.
    pub chance: fn() -> u64,
}

/// The limits that apply to a run: made for each, as who started it and when may matter.
pub trait Limits: Send + Sync + 'static {
    /// Whether the run may begin; what it must not touch; how wide it may be.
    fn gate<'a>(&'a self, request: &'a RunRequest) -> squall_engine::BoxFuture<'a, Result<Arc<dyn Gate>, ApiError>>;
    /// Everything that stands against the run now, each with the rule that says so.
    fn refusals<'a>(&'a self, request: &'a RunRequest, preview: &'a Preview)
    -> squall_engine::BoxFuture<'a, Result<Vec<String>, ApiError>>;
}

/// Who wants a run.
#[derive(Debug, Clone)]
pub struct Who {
    name: String,
    roles: Vec<String>,
}

impl From<&Caller> for Who {
    fn from(caller: &Caller) -> Self {
        Self { name: caller.name.clone(), roles: caller.roles.iter().map(|role| role.name().to_owned()).collect() }
    }
}

/// A part of the server, which has no roles.
impl From<&str> for Who {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), roles: Vec::new() }
    }
}

/// A run that somebody or something wants.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The experiment, checked.
    pub experiment: Experiment,
    /// Its text.
    pub text: String,
    /// Decides every random choice.
    pub seed: u64,
    /// The host that probes are asked from.
    pub from: Option<String>,
    /// How long faults stay without a word of the server.
    pub lease: Time,
    /// Who wants it.
    pub by: String,
    /// The roles of who wants it, for rules.
    pub roles: Vec<String>,
    /// What started it: null for a person, else such as `{"schedule": "nightly"}`.
    pub cause: serde_json::Value,
}

/// A run of this server that is over.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The run.
    pub run: RunId,
    /// Its experiment.
    pub experiment: String,
    /// How.
    pub verdict: Verdict,
    /// Its last state, where its journal can be read.
    pub state: Option<Arc<State>>,
}

/// Runs that end on this server, one after another.
pub struct Ends(broadcast::Receiver<Ended>);

impl Ends {
    /// The next one. Nothing, when there will be none. What is missed, as it came too fast, is said to be `without` this.
    pub async fn next(&mut self, without: &str) -> Option<Ended> {
        loop {
            match self.0.recv().await {
                Ok(ended) => return Some(ended),
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, without, "too many runs ended at once"),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Runs of this server. Cheap to clone.
#[derive(Clone)]
pub struct Runs(Arc<Inner>);

struct Inner {
    db: Arc<dyn Database>,
    fleet: Fleet,
    kinds: Kinds,
    state: StateDir,
    wall: Arc<dyn WallClock>,
    limits: Arc<dyn Limits>,
    /// The server's name, for leases and journals.
    server: String,
    live: Mutex<HashMap<RunId, Live>>,
    ends: broadcast::Sender<Ended>,
}

/// A run that this server drives.
struct Live {
    control: mpsc::UnboundedSender<Control>,
    view: watch::Receiver<Arc<State>>,
    written: watch::Receiver<u64>,
    fence: Fence,
}

/// The name of the lease of a run.
pub(crate) fn lease_of(run: &RunId) -> String {
    format!("run/{run}")
}

/// How long a server may be silent before another takes over its runs.
pub(crate) const RUN_LEASE: Duration = Duration::from_secs(15);
/// How often leases of runs are renewed, and abandoned runs looked for.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// The shortest and the longest lease of a fault on a host.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(4)..=Duration::from_mins(10);
/// The document that says that nothing may start: kind and id.
pub(crate) const STOP: (&str, &str) = ("stop", "stop");

impl Runs {
    /// Runs over a fleet. Nothing is looked for until [`Runs::keep`] runs.
    pub fn new(
        db: Arc<dyn Database>,
        fleet: Fleet,
        kinds: Kinds,
        state: StateDir,
        wall: Arc<dyn WallClock>,
        limits: Arc<dyn Limits>,
        server: String,
    ) -> Self {
        let (ends, _) = broadcast::channel(1024);
        Self(Arc::new(Inner { db, fleet, kinds, state, wall, limits, server, live: Mutex::default(), ends }))
    }

    /// What happens to runs of this server from now on.
    pub fn ends(&self) -> Ends {
        Ends(self.0.ends.subscribe())
    }

    /// Time that decides.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.kinds.clock
    }

    /// The kinds that experiments are checked against.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.0.kinds.registry
    }

    /// Reads and checks an experiment.
    pub fn check(&self, text: &str) -> Result<Experiment, ApiError> {
        let text = (self.0.kinds.fill)(text, &BTreeMap::new()).unwrap_or_else(|_| text.to_owned());
        check(&text, &self.0.kinds.registry)
    }

    /// Experiments of the library that a search finds.
    pub fn library(&self, search: &str) -> Vec<squall_api::experiments::LibraryEntry> {
        (self.0.kinds.search)(search)
    }

    /// The text of an experiment of the library.
    pub fn library_text(&self, name: &str) -> Option<String> {
        (self.0.kinds.library)(name)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<RunId, Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is asked for and checks all that can be checked without a host.
    pub async fn read(&self, new: &NewRun, who: impl Into<Who>, cause: serde_json::Value) -> Result<RunRequest, ApiError> {
        let text = self.text(new).await?;
        let text = (self.0.kinds.fill)(&text, &new.set).map_err(|e| Problem::invalid(e).hint("give every parameter a value in `set`"))?;
        let experiment = check(&text, &self.0.kinds.registry)?;
        let spec = &experiment.spec;
        let lease = match &new.lease {
            None => squall_api::link::DEFAULT_LEASE,
            Some(text) => text.parse::<Time>().map_err(|e| Problem::invalid(format!("`lease`: {e}")))?,
        };
        if !LEASES.contains(&lease.std()) {
            let (least, most) = (Time::from(*LEASES.start()), Time::from(*LEASES.end()));
            return Err(Problem::invalid(format!("`lease: {lease}` is not within {least} and {most}")).into());
        }
        if new.from.is_none() {
            let kinds = spec.hypothesis.probes.iter().map(|probe| probe.kind.as_str());
            if let Some(why) = remote::probes_that_need_a_host(self.registry(), kinds) {
                return Err(Problem::invalid(why).hint("give `from` the name of a host with an agent").into());
            }
        }
        if spec.rollback.iter().flat_map(|rollback| &rollback.actions).any(|action| action.command.is_some()) {
            let hint = "write the action as `http`, or as the `undo` of a `custom.command` fault, which runs on a host";
            return Err(Problem::invalid("a rollback action that is a command would run on the server").hint(hint).into());
        }
        let seed = new.seed.or(spec.seed).unwrap_or_else(self.0.kinds.chance);
        let Who { name: by, roles } = who.into();
        Ok(RunRequest { seed, from: new.from.clone(), lease, by, roles, cause, experiment, text })
    }

    async fn text(&self, new: &NewRun) -> Result<String, ApiError> {
        match (&new.manifest, &new.experiment, &new.library) {
            (Some(text), None, None) => Ok(text.clone()),
            (None, Some(name), None) => {
                let saved = self.0.db.get(crate::experiments::KIND, name).await?.ok_or_else(|| Problem::not_found("experiment", name))?;
                Ok(saved.decode::<crate::experiments::Saved>()?.manifest)
            }
            (None, None, Some(name)) => {
                Ok((self.0.kinds.library)(name).ok_or_else(|| Problem::not_found("experiment of the library", name))?)
            }
            _ => Err(Problem::invalid("a run needs exactly one of `manifest`, `experiment` and `library`").into()),
        }
    }

    /// What a run would touch, and what stands against it. Changes nothing.
    pub async fn plan(&self, request: &RunRequest) -> Result<Preview, ApiError> {
        let run = self.new_id();
        let remote = Arc::new(self.remote(&run, request));
        let registry = remote.registry(&self.0.kinds.registry);
        let program = compiled(&request.experiment, &registry)?;
        let gate = self.0.limits.gate(request).await?;
        let mut preview = Preview::make(&program, &registry, gate.as_ref(), &HostFacts::default(), request.seed).await;
        let mut refusals = self.0.limits.refusals(request, &preview).await?;
        refusals.extend(self.stopped().await?.map(|by| format!("everything is stopped by {by}; lift the stop first")));
        if let Some(first) = preview.steps.first_mut() {
            first.refusals.splice(0..0, refusals);
        }
        Ok(preview)
    }

    /// Begins a run, if nothing stands against it. It goes on when this has returned.
    pub async fn start(&self, request: RunRequest) -> Result<RunId, ApiError> {
        let run = self.new_id();
        let fence = self.0.db.acquire(&lease_of(&run), &self.0.server, RUN_LEASE).await?;
        let fence = fence.ok_or_else(|| Problem::unavailable("the id of the run is taken").hint("try again"))?;
        let begun = self.start_as(&run, fence.clone(), request).await;
        if begun.is_err() {
            self.0.db.release(&fence).await?;
        }
        begun.map(|()| run)
    }

    /// Begins a run of this id, whose lease is the fence's, if nothing stands against it. Where it does not begin, the lease is still
    /// the caller's.
    pub(crate) async fn start_as(&self, run: &RunId, fence: Fence, request: RunRequest) -> Result<(), ApiError> {
        let refusals = self.plan(&request).await?.refusals();
        if !refusals.is_empty() {
            let errors = refusals.into_iter().map(|message| FieldError { place: String::new(), message, hint: None }).collect::<Vec<_>>();
            let detail = errors.iter().map(|e| e.message.as_str()).collect::<Vec<_>>().join("; ");
            return Err(
                Problem { errors, ..Problem::refused(detail).hint("nothing was touched; ask for the plan to see all of it") }.into()
            );
        }
        // Planning asks hosts, which may have taken longer than the lease lasts.
        self.0.db.renew(&fence, RUN_LEASE).await.map_err(|e| Problem::unavailable(e.to_string()))?;
        let gate = self.0.limits.gate(&request).await?;
        self.drive(run, request, fence, gate)
    }

    /// Looks at schedules and monkeys, and starts runs of this server for them.
    pub fn scheduler(&self) -> crate::scheduler::Scheduler {
        let launcher = Arc::new(crate::scheduler::RunsLauncher::new(self.clone(), self.0.fleet.clone()));
        let inner = &self.0;
        crate::scheduler::Scheduler::new(inner.db.clone(), inner.wall.clone(), inner.kinds.clock.clone(), launcher, inner.server.clone())
    }

    fn remote(&self, run: &RunId, request: &RunRequest) -> remote::Remote {
        remote::Remote {
            fleet: self.0.fleet.clone(),
            run: run.clone(),
            clock: self.0.kinds.clock.clone(),
            lease: request.lease,
            longest: Time::from(Duration::from_mins(1)),
            from: request.from.clone(),
            touched: Mutex::default(),
            probes: AtomicUsize::new(0),
        }
    }

    /// An id for a run that begins now.
    pub(crate) fn new_id(&self) -> RunId {
        let millis = u64::try_from(self.0.wall.now().as_millisecond()).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "fifteen bits of it are used")]
        RunId::new(millis, (self.0.kinds.chance)() as u16)
    }

    /// The state of a run that this server drives.
    pub fn view(&self, run: &RunId) -> Option<watch::Receiver<Arc<State>>> {
        self.live().get(run).map(|live| live.view.clone())
    }

    /// The states of all runs that this server drives.
    pub(crate) fn states(&self) -> Vec<Arc<State>> {
        self.live().values().map(|live| live.view.borrow().clone()).collect()
    }

    /// How many records of a run are written, for those who follow it. Nothing for one that this server does not drive.
    pub fn written(&self, run: &RunId) -> Option<watch::Receiver<u64>> {
        self.live().get(run).map(|live| live.written.clone())
    }

    /// Asks a run of this server to stop and revert. False where it is not one of its own.
    pub fn stop(&self, run: &RunId, by: &str) -> bool {
        self.live().get(run).is_some_and(|live| live.control.send(Control::Stop(by.to_owned())).is_ok())
    }

    /// Stops every run of this server and waits for their ends; how many have not ended in time. For a server that is stopping.
    pub async fn end_all(&self, by: &str) -> usize {
        let runs: Vec<RunId> = self.live().keys().cloned().collect();
        for run in &runs {
            self.stop(run, by);
        }
        let deadline = self.0.kinds.clock.now() + EMERGENCY_WITHIN;
        while !self.live().is_empty() && self.0.kinds.clock.now() < deadline {
            self.0.kinds.clock.sleep_until(self.0.kinds.clock.now() + Duration::from_millis(20)).await;
        }
        self.live().len()
    }

    /// Who made the stop, if there is one.
    pub async fn stopped(&self) -> Result<Option<String>, ApiError> {
        let stop = self.0.db.get(STOP.0, STOP.1).await?;
        Ok(stop.map(|stop| stop.body["by"].as_str().unwrap_or("somebody").to_owned()))
    }

    /// Stops everything everywhere: every run of every server, and whatever an agent has in force.
    pub async fn stop_all(&self, by: &str, block: bool, audit: Write) -> Result<Stopped, ApiError> {
        let began = self.0.kinds.clock.now();
        // The hosts first: they need nobody's leave to put things back, and the database may be slow.
        let hosts = self.0.fleet.stop_all(by, block, EMERGENCY_WITHIN);
        let runs: Vec<String> = {
            let live = self.live();
            live.values().for_each(|live| drop(live.control.send(Control::Stop(by.to_owned()))));
            live.keys().map(ToString::to_string).collect()
        };
        let mut writes = vec![audit];
        // Other servers see it, and stop their runs; with `block` it stays until somebody lifts it.
        let body = serde_json::json!({ "by": by, "at": self.0.wall.now(), "block": block });
        writes.push(Write::Put { kind: STOP.0.into(), id: if block { STOP.1 } else { ONCE }.into(), body });
        let (hosts, written) = futures_util::future::join(hosts, self.0.db.commit(squall_store::Batch::new(writes))).await;
        written?;
        let took = self.0.kinds.clock.now().saturating_sub(began);
        Ok(Stopped { runs, hosts: hosts.hosts, unreached: hosts.unreached, took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) })
    }

    /// Lifts the stop: runs may start again, on every host.
    pub async fn lift_stop(&self, audit: Write) -> Result<(), ApiError> {
        let Some(stop) = self.0.db.get(STOP.0, STOP.1).await? else {
            return Err(Problem::not_found("stop", "stop").into());
        };
        let lift = Write::Delete { kind: STOP.0.into(), id: STOP.1.into(), version: Some(stop.version) };
        self.0.db.commit(squall_store::Batch::new(vec![lift, audit])).await?;
        let unblock = |host: Arc<LiveHost>| async move {
            // One that was not linked is told when it is: see `keep`.
            let _ = self.0.fleet.call(&host.name, Request::Unblock, EMERGENCY_WITHIN).await;
        };
        futures_util::future::join_all(self.0.fleet.connected().into_iter().map(unblock)).await;
        Ok(())
    }
}

/// The id of the document that tells other servers of a stop that does not stay.
const ONCE: &str = "once";
/// How long the answer of a host to an emergency stop is waited for.
const EMERGENCY_WITHIN: Duration = Duration::from_secs(10);

/// Reads and checks an experiment; what is wrong comes with its place.
pub(crate) fn check(text: &str, registry: &Registry) -> Result<Experiment, ApiError> {
    let (experiment, _) = validate_experiment(text, registry).map_err(|found| {
        let detail = format!("the manifest has {} mistakes", found.len());
        unusable("the manifest", &found).detail(detail).hint("`squall explain` describes every field")
    })?;
    Ok(experiment)
}

fn compiled(experiment: &Experiment, registry: &Registry) -> Result<Program, ApiError> {
    Ok(Program::compile(experiment, registry).map_err(|e| Problem::invalid(e.to_string()))?)
}
