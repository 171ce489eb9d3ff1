//! The one driver of the loop: it owns the state, writes every event to the journal before it acts on it, and lets
//! executors do what the state asks for. Executors only ever answer with events.

mod inject;
mod probes;
mod select;
mod timers;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall_model::{Event, InjectionId, Record, RevertedBy, RollbackAction, RunId, Started, Verdict};
use squall_undo::{Ledger, Undoer, Watchdog};
use tokio::sync::{Notify, mpsc, watch};

use crate::compare::Question;
use crate::state::{Command, Micros, Phase, State};
pub(crate) use select::{Groups, matches, shuffled, unmet, wanted};
pub use select::{chance, keyed_hash};

use crate::{Clock, HostFacts, Journal, JournalError, Program, Registry, Target, TrafficControl};

/// What no manifest may pass: a policy, and who else is at work.
pub trait Gate: Send + Sync {
    /// Why a target must not be touched at all; it is then no match.
    fn protected(&self, target: &Target) -> Option<String>;

    /// Whether a step may touch these targets, out of so many matches, with so many faults in force already. An error says
    /// which limit stands in the way.
    fn allow(&self, request: &GateRequest<'_>) -> Result<(), crate::Denied>;
}

/// What a step wants to do.
#[derive(Debug)]
pub struct GateRequest<'a> {
    /// The kind of fault.
    pub fault: &'a str,
    /// The targets that are to be touched.
    pub targets: &'a [Target],
    /// How many matched.
    pub matched: usize,
    /// How many are to be touched by this step in all.
    pub chosen: usize,
    /// The time box.
    pub duration: Option<squall_model::Time>,
    /// Faults that are in force now, without these.
    pub in_force: usize,
}

/// What somebody outside wants.
#[derive(Debug, Clone)]
pub enum Control {
    /// Stop and revert.
    Stop(String),
    /// Go on after a suspension.
    Continue(String),
    /// An injection was put back by somebody else, as by an agent that had not heard of the run for its lease time.
    Reverted {
        /// Which.
        injection: InjectionId,
        /// Who did it.
        by: RevertedBy,
        /// Why, and what was done.
        how: String,
    },
}

/// Starts a watchdog for the run.
pub type StartWatchdog = Box<dyn Fn() -> Result<Watchdog, String> + Send>;

/// Everything that a run needs.
pub struct Setup {
    /// What is carried out.
    pub program: Arc<Program>,
    /// The kinds.
    pub registry: Arc<Registry>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub journal: Box<dyn Journal>,
    /// Where undos go.
    pub ledger: Arc<Ledger>,
    /// How undos are done.
    pub undoer: Arc<dyn Undoer>,
    /// Who reverts when this process is gone. None where that is not a process of this host: agents revert by themselves.
    pub watchdog: Option<StartWatchdog>,
    /// The run's own load.
    pub traffic: Arc<dyn TrafficControl>,
    /// What is known of the host.
    pub host: HostFacts,
    /// Limits.
    pub gate: Arc<dyn Gate>,
    /// How an explicit rollback action is written as an undo of a fault: the fault's name and its undo.
    pub rollback: fn(&RollbackAction) -> Result<(String, serde_json::Value), String>,
    /// What is known at the beginning.
    pub started: Started,
    /// Where faults may put files.
    pub directory: PathBuf,
    /// What somebody outside wants.
    pub control: mpsc::UnboundedReceiver<Control>,
    /// Who wants to see the state, if anybody.
    pub view: Option<watch::Sender<Arc<State>>>,
    /// For tests of crash safety: die by SIGKILL right after so many events are in the journal.
    pub halt_after: Option<u64>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The last state.
    pub state: Arc<State>,
}

/// What executors share.
pub(crate) struct Shared {
    pub program: Arc<Program>,
    pub registry: Arc<Registry>,
    pub clock: Arc<dyn Clock>,
    pub ledger: Arc<Ledger>,
    pub undoer: Arc<dyn Undoer>,
    pub host: HostFacts,
    pub gate: Arc<dyn Gate>,
    pub run: RunId,
    pub seed: u64,
    pub directory: PathBuf,
    pub start: Duration,
    pub events: mpsc::UnboundedSender<Event>,
    /// The watchdog watches: nothing is armed before.
    pub guarded: watch::Receiver<bool>,
    pub injections: Mutex<HashMap<InjectionId, Arc<inject::Injection>>>,
    /// Control groups, and what was touched.
    pub groups: Mutex<Groups>,
    /// What comparisons ask, as soon as that is known.
    pub questions: Mutex<Vec<(usize, Question)>>,
}

impl Shared {
    /// Tells the driver. It is gone only when the run is over, and then nobody needs to know.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub fn now(&self) -> Micros {
        micros(self.clock.now().saturating_sub(self.start))
    }

    /// A time of the run on the clock of deadlines.
    pub fn absolute(&self, at: Micros) -> Duration {
        self.start + Duration::from_micros(at)
    }
}

fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Injections with these numbers are rollback actions: above any that a run reaches.
pub(crate) fn rollback_id(action: usize) -> InjectionId {
    InjectionId(u32::MAX - u32::try_from(action).unwrap_or(u32::MAX))
}

/// How often a live view gets a new state.
const VIEW_EVERY: Micros = 50_000;

struct Driver {
    shared: Arc<Shared>,
    state: State,
    journal: Box<dyn Journal>,
    journal_lost: bool,
    records: u64,
    timers: timers::Timers,
    probes: probes::Probes,
    traffic: Arc<dyn TrafficControl>,
    rollback: fn(&RollbackAction) -> Result<(String, serde_json::Value), String>,
    rollback_armed: bool,
    view: Option<watch::Sender<Arc<State>>>,
    viewed: Micros,
    halt_after: Option<u64>,
    finish: Option<(Verdict, String)>,
}

/// Carries out an experiment to its end.
///
/// # Errors
/// Only if the run could not even begin; whatever goes wrong later ends in a verdict.
pub async fn drive(setup: Setup) -> Result<Outcome, JournalError> {
    let (events, mut inbox) = mpsc::unbounded_channel();
    let (guarded, guard) = watch::channel(false);
    let start = setup.clock.now();
    let mut journal = setup.journal;
    journal.begin(&setup.started, &setup.program.experiment.metadata.labels)?;
    let shared = Arc::new(Shared {
        program: setup.program.clone(),
        registry: setup.registry,
        clock: setup.clock,
        ledger: setup.ledger,
        undoer: setup.undoer,
        host: setup.host,
        gate: setup.gate,
        run: setup.started.run.clone(),
        seed: setup.started.seed,
        directory: setup.directory,
        start,
        events,
        guarded: guard,
        injections: Mutex::default(),
        groups: Mutex::default(),
        questions: Mutex::default(),
    });
    let mut driver = Driver {
        state: State::new(setup.program),
        journal,
        journal_lost: false,
        records: 0,
        timers: timers::Timers::default(),
        probes: probes::Probes::new(shared.clone(), setup.traffic.clone()),
        traffic: setup.traffic,
        rollback: setup.rollback,
        rollback_armed: false,
        view: setup.view,
        viewed: 0,
        halt_after: setup.halt_after,
        finish: None,
        shared: shared.clone(),
    };
    let stop_watching = Arc::new(Notify::new());
    let watching = tokio::spawn(keep_watchdog(setup.watchdog, shared.clone(), guarded, stop_watching.clone()));
    let mut control = setup.control;
    driver.happened(vec![Event::Started(Box::new(setup.started)), Event::Planned]).await;
    while driver.finish.is_none() {
        let batch = tokio::select! {
            biased;
            Some(wish) = control.recv() => vec![match wish {
                Control::Stop(by) => Event::StopRequested { by },
                Control::Continue(by) => Event::ContinueRequested { by },
                Control::Reverted { injection, by, how } => Event::Reverted { injection, by, how },
            }],
            Some(event) = inbox.recv() => {
                let mut batch = vec![event];
                while let Ok(event) = inbox.try_recv() {
                    batch.push(event);
                }
                batch
            }
            timer = driver.timers.next(&shared) => vec![Event::Elapsed { timer }],
        };
        driver.happened(batch).await;
    }
    let outcome = driver.end().await;
    // Nothing is outstanding: the watchdog may go. If something is, it stays, and tries again when this process is gone.
    if shared.ledger.close().is_ok() {
        stop_watching.notify_one();
        if let Ok(Some(watchdog)) = watching.await {
            watchdog.stop().await;
        }
    }
    Ok(outcome)
}

/// Starts the watchdog, says when it watches, and replaces it if it dies.
async fn keep_watchdog(
    start: Option<StartWatchdog>,
    shared: Arc<Shared>,
    guarded: watch::Sender<bool>,
    stop: Arc<Notify>,
) -> Option<Watchdog> {
    let Some(start) = start else {
        guarded.send_replace(true);
        stop.notified().await;
        return None;
    };
    let mut reason = String::new();
    for _ in 0..3 {
        let mut watchdog = match start() {
            Ok(watchdog) => watchdog,
            Err(error) => {
                reason = error;
                continue;
            }
        };
        if let Err(error) = watchdog.ready().await {
            reason = error.to_string();
            continue;
        }
        shared.ledger.attach(watchdog.poker());
        watchdog.poke();
        guarded.send_replace(true);
        tokio::select! {
            status = watchdog.lost() => reason = status,
            () = stop.notified() => return Some(watchdog),
        }
        guarded.send_replace(false);
        shared.tell(Event::Noted { text: format!("the watchdog ended ({reason}); starting another") });
    }
    shared.tell(Event::SafetyLost { reason: format!("the watchdog cannot be kept running: {reason}") });
    None
}

impl Driver {
    /// Writes down what happened, then does what follows from it.
    async fn happened(&mut self, events: Vec<Event>) {
        let at = self.shared.now().max(self.state.now);
        let mut records = Vec::with_capacity(events.len());
        let mut commands = Vec::new();
        for event in events {
            commands.extend(self.state.step(at, &event));
            records.push(Record { seq: self.records, at, event });
            self.records += 1;
        }
        // What is about to be touched must be in the journal for good; the rest may wait for the next sync.
        let sync = commands.iter().any(|c| matches!(c, Command::Inject { .. }));
        self.write(&records, sync);
        for command in commands {
            self.execute(command).await;
        }
        self.show(at);
    }

    fn write(&mut self, records: &[Record], sync: bool) {
        if self.halt_after.is_some_and(|limit| self.records > limit) {
            let whole = records.iter().take_while(|r| self.halt_after.is_some_and(|limit| r.seq < limit)).count();
            let _ = self.journal.append(&self.shared.run, &records[..whole], true);
            let _ = rustix_kill_self();
        }
        if self.journal_lost {
            return;
        }
        if let Err(error) = self.journal.append(&self.shared.run, records, sync) {
            // The undo ledger has its own space: everything can still be put back, but nothing more may be begun.
            self.journal_lost = true;
            self.shared.tell(Event::SafetyLost { reason: error.to_string() });
        }
    }

    fn show(&mut self, at: Micros) {
        let Some(view) = &self.view else { return };
        let changed = self.state.phase_began() == at || self.state.verdict.is_some();
        if changed || at.saturating_sub(self.viewed) >= VIEW_EVERY {
            self.viewed = at;
            let _ = view.send(Arc::new(self.state.clone()));
        }
    }

    async fn execute(&mut self, command: Command) {
        match command {
            Command::StartProbes => self.start_probes(),
            Command::Ask { probe } => self.probes.ask(probe),
            Command::SetTimer { timer, at } => self.timers.set(timer, at),
            Command::Select { node, percent } => {
                let round = self.state.nodes.get(node).map_or(0, |n| n.round);
                let in_force = self.state.in_force().count();
                let taken = self.state.injections.values().filter(|i| i.node == node && !i.settled()).map(|i| i.target.clone()).collect();
                tokio::spawn(select::select(self.shared.clone(), select::Request { node, round, percent, in_force, taken }));
            }
            Command::Inject { injection, deadline, .. } => {
                if !self.rollback_armed {
                    self.rollback_armed = true;
                    self.arm_rollback().await;
                }
                inject::inject(&self.shared, injection, deadline);
            }
            Command::Compare { node, target } => self.probes.compare(node, &target),
            Command::Cancel { injection } => inject::cancel(&self.shared, injection),
            Command::Verify { injection } => inject::verify(&self.shared, injection),
            Command::Revert { injection } => inject::revert(&self.shared, injection),
            Command::Rollback { action } => inject::rollback(&self.shared, action),
            Command::Finish { verdict, reason } => self.finish = Some((verdict, reason)),
        }
    }

    fn start_probes(&mut self) {
        let spec = &self.shared.program.experiment.spec;
        if !spec.traffic.is_empty()
            && let Err(error) = self.traffic.start(&spec.traffic, self.shared.seed)
        {
            return self.shared.tell(Event::SafetyLost { reason: error.to_string() });
        }
        self.probes.start();
    }

    /// Rollback actions are armed before the first fault, so that they run after a crash too, and last of all.
    async fn arm_rollback(&mut self) {
        let program = self.shared.program.clone();
        let actions = program.experiment.spec.rollback.as_ref().map(|r| r.actions.as_slice()).unwrap_or_default();
        if actions.is_empty() {
            return;
        }
        inject::wait_guarded(&self.shared).await;
        for (index, action) in actions.iter().enumerate().rev() {
            if let Err(reason) = inject::arm_rollback(&self.shared, index, action, self.rollback) {
                self.shared.tell(Event::SafetyLost { reason });
            }
        }
    }

    /// Stops load and probes, and writes the end down for good.
    async fn end(mut self) -> Outcome {
        self.probes.stop();
        let (verdict, reason) = self.finish.take().unwrap_or((Verdict::Failed, "the run ended without a verdict".into()));
        let mut last = Vec::new();
        let summaries = self.traffic.stop().await;
        if !summaries.is_empty() {
            last.push(Event::TrafficEnded { summaries });
        }
        last.push(Event::Ended { verdict, reason: reason.clone() });
        let at = self.shared.now().max(self.state.now);
        let mut records = Vec::new();
        for event in last {
            self.state.step(at, &event);
            records.push(Record { seq: self.records, at, event });
            self.records += 1;
        }
        self.write(&records, true);
        let state = Arc::new(self.state);
        if let Some(view) = &self.view {
            let _ = view.send(state.clone());
        }
        debug_assert_eq!(state.phase, Phase::Verdict);
        Outcome { verdict, reason, state }
    }
}

/// Dies at once, as by `kill -9` from outside. Only for tests of crash safety (`--halt-after-event`).
fn rustix_kill_self() -> std::io::Result<()> {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    Ok(())
}
