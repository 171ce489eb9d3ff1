//! `process.crashLoop`: ends a process again and again, each time that it has come back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Claim, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target,
    Undone, VerifyError,
};
use squall_model::Time;
use squall_sys::process::ProcessId;
use squall_undo::{Armed, boottime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::back::{Back, Comeback, DIES_WITHIN, default_within, wait_gone};
use super::{blocking, facts, pause_between_looks};

/// Keeps a process crashing.
#[derive(Debug)]
pub struct CrashLoop;

/// How long it lives each time, and who starts it again.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CrashLoopArgs {
    /// How long it lives each time that it has come back.
    #[serde(default = "default_every")]
    pub every: Time,
    /// Who starts it again each time: `supervisor` (the default) or `relaunch`.
    #[serde(default)]
    pub back: Back,
    /// How long a supervisor may take to bring it back in the end.
    #[serde(default = "default_within")]
    pub within: Time,
}

const fn default_every() -> Time {
    Time::from_secs(1)
}

/// What has it back in the end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CrashLoopUndo {
    comeback: Comeback,
}

/// The loops of this process, by marker. A loop lives and dies with Squall's process: it needs no undo of its own.
static LOOPS: Mutex<Option<Loops>> = Mutex::new(None);

type Loops = HashMap<String, Loop>;

/// A loop that goes on.
struct Loop {
    stop: Arc<Notify>,
    /// How often the process was ended.
    crashes: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

fn with_loops<T>(work: impl FnOnce(&mut Loops) -> T) -> T {
    work(LOOPS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

impl Fault for CrashLoop {
    type Args = CrashLoopArgs;
    type Undo = CrashLoopUndo;

    const META: Meta = Meta {
        name: "process.crashLoop",
        family: "process",
        summary: "Kills a process each time that it has come back",
        example: "\
fault: process.crashLoop
target: { process: { name: payments } }
with: { every: 2s, back: supervisor }
for: 30s
",
        targets: &["process"],
        needs: &["pidfd"],
        undone: Undone::Depends,
        lasting: true,
    };

    fn check(&self, args: &CrashLoopArgs) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.back == Back::None {
            let hint = "write `supervisor` or `relaunch`, or use `process.kill`";
            errors.push(ArgError::field("back", "what does not come back cannot crash again", Some(hint.to_owned())));
        }
        if args.every.std() < Duration::from_millis(10) {
            errors.push(ArgError::field("every", "a life of less than 10ms is no life", Some("write `every: 1s`".to_owned())));
        }
        errors
    }

    fn plan(&self, args: &CrashLoopArgs, target: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let process = facts(target)?;
        let who = if args.back == Back::Supervisor { "its supervisor" } else { "Squall" };
        let change = PlannedChange {
            what: format!("process {} and each that takes its place", process.label()),
            mechanism: format!("SIGKILL through a pidfd, {} after each start by {who}", args.every),
            undo: format!("no more kills, and {who} starts it once more"),
        };
        Ok(Plan { changes: vec![change], claims: vec![Claim(target.id.clone())], irreversible: false })
    }

    async fn inject(&self, args: &CrashLoopArgs, target: &Target, cx: &Cx<'_, CrashLoopUndo>) -> Result<(), InjectError> {
        let process = facts(target).map_err(|e| InjectError::Failed(e.message))?;
        let comeback = Comeback::capture(&process, args.back, args.within, cx.marker).await?;
        let likeness = comeback.likeness.clone();
        let running = blocking(move || likeness.running()).await.map_err(InjectError::Failed)?;
        let peers = running.map_err(|e| InjectError::Failed(e.to_string()))?.into_iter().filter(|id| *id != process.id).collect();
        let armed = cx.arm(&CrashLoopUndo { comeback: comeback.clone() })?;
        match process.id.signal(&armed, Signal::KILL) {
            Ok(true) => {}
            Ok(false) => return Err(InjectError::TargetGone(target.label.clone())),
            Err(error) => return Err(InjectError::Failed(format!("{}: {error}", target.label))),
        }
        let (stop, crashes) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(1)));
        let every = args.every.std();
        let crasher = Crasher { comeback, every, deadline: cx.deadline, peers, armed: Arc::new(armed), crashes: crashes.clone() };
        let task = tokio::spawn(crasher.go_on(process.id, stop.clone()));
        with_loops(|loops| loops.insert(cx.marker.to_owned(), Loop { stop, crashes, task }));
        Ok(())
    }

    async fn verify(&self, undo: &CrashLoopUndo) -> Result<Effect, VerifyError> {
        let (comeback, label) = (&undo.comeback, &undo.comeback.label);
        let gone = comeback.wait_gone(DIES_WITHIN).await.map_err(VerifyError)?;
        let crashes = with_loops(|loops| {
            let on = loops.get(&comeback.marker).filter(|l| !l.task.is_finished())?;
            Some(on.crashes.load(Ordering::Relaxed))
        });
        let (in_force, evidence) = match (gone, crashes) {
            (true, Some(crashes)) => (true, format!("{label} was ended, {crashes} times by now, and the loop goes on")),
            (true, None) => (false, format!("{label} has ended, but the loop does not go on")),
            (false, _) => (false, format!("{label} still runs")),
        };
        Ok(Effect { in_force, evidence })
    }

    async fn revert(&self, undo: &CrashLoopUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let mut after = String::new();
        if let Some(Loop { stop, crashes, task }) = with_loops(|loops| loops.remove(&undo.comeback.marker)) {
            stop.notify_one();
            // It ends at its next look, and touches nothing after that.
            let _ = task.await;
            after = format!(" after it was ended {} times", crashes.load(Ordering::Relaxed));
        }
        let Reverted { how } = undo.comeback.ensure(armed, undo.comeback.ends_within(Signal::KILL)).await?;
        Ok(Reverted { how: how + &after })
    }
}

struct Crasher {
    comeback: Comeback,
    every: Duration,
    deadline: Option<Duration>,
    /// Processes of the same kind that are not this one's successors.
    peers: Vec<ProcessId>,
    armed: Arc<Armed>,
    crashes: Arc<AtomicU32>,
}

impl Crasher {
    async fn go_on(self, first: ProcessId, stop: Arc<Notify>) {
        // Until it is gone it must not be taken for its own successor.
        let _ = wait_gone(first, DIES_WITHIN).await;
        let mut now: Option<(ProcessId, Duration)> = None;
        loop {
            tokio::select! {
                biased;
                () = stop.notified() => return,
                () = pause_between_looks() => {}
            }
            // Also when this process was stopped for a while: past the time box nobody expects a kill any more.
            if self.deadline.is_some_and(|at| boottime() >= at) {
                return;
            }
            match now.filter(|(id, _)| id.state().is_some()) {
                Some((id, since)) if boottime() >= since + self.every => self.crash(id).await,
                Some(_) => {}
                None => now = self.successor().await.map(|id| (id, boottime())),
            }
        }
    }

    async fn crash(&self, id: ProcessId) {
        if matches!(id.signal(&self.armed, Signal::KILL), Ok(true)) {
            self.crashes.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever reverts after this loop must not find it dying and take it for running.
        let _ = wait_gone(id, DIES_WITHIN).await;
    }

    /// The process that stands for the target now. With `relaunch` it is started if there is none.
    async fn successor(&self) -> Option<ProcessId> {
        if let Some(snapshot) = self.comeback.snapshot.clone() {
            let (armed, marker) = (self.armed.clone(), self.comeback.marker.clone());
            // One that cannot be started now is tried again at the next look; the revert tells of it if it stays so.
            return blocking(move || snapshot.relaunch(&armed, &marker)).await.ok()?.ok()?;
        }
        let likeness = self.comeback.likeness.clone();
        let running = blocking(move || likeness.running()).await.ok()?.ok()?;
        running.into_iter().find(|id| !self.peers.contains(id))
    }
}
