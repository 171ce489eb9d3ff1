//! `process.crashLoop`: ends a process again and again, each time that it has come back.

use std::collections::HashMap;
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
use squall_sys::process::{ProcessFacts, ProcessId};
use squall_undo::{Armed, boottime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::back::{Back, Comeback, default_within};
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

/// How a loop is told to stop, and its task.
type Loops = HashMap<String, (Arc<Notify>, JoinHandle<()>)>;

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
        let before = blocking(ProcessFacts::all).await.map_err(InjectError::Failed)?.map_err(|e| InjectError::Failed(e.to_string()))?;
        let peers = before.iter().filter(|p| comeback.snapshot.same(p) && p.id != process.id).map(|p| p.id).collect();
        let armed = cx.arm(&CrashLoopUndo { comeback: comeback.clone() })?;
        match process.id.signal(&armed, Signal::KILL) {
            Ok(true) => {}
            Ok(false) => return Err(InjectError::TargetGone(target.label.clone())),
            Err(error) => return Err(InjectError::Failed(format!("{}: {error}", target.label))),
        }
        let stop = Arc::new(Notify::new());
        let crashes = Crashes { comeback, every: args.every.std(), deadline: cx.deadline, peers, armed };
        let task = tokio::spawn(crashes.go_on(stop.clone()));
        with_loops(|loops| loops.insert(cx.marker.to_owned(), (stop, task)));
        Ok(())
    }

    async fn verify(&self, undo: &CrashLoopUndo) -> Result<Effect, VerifyError> {
        let gone = undo.comeback.wait_gone(Duration::from_secs(2)).await.map_err(VerifyError)?;
        let on = with_loops(|loops| loops.get(&undo.comeback.marker).is_some_and(|(_, task)| !task.is_finished()));
        let evidence = match (gone, on) {
            (true, true) => format!("{} has ended, and the loop goes on", undo.comeback.label),
            (true, false) => format!("{} has ended, but the loop does not go on", undo.comeback.label),
            (false, _) => format!("{} still runs", undo.comeback.label),
        };
        Ok(Effect { in_force: gone && on, evidence })
    }

    async fn revert(&self, undo: &CrashLoopUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        if let Some((stop, task)) = with_loops(|loops| loops.remove(&undo.comeback.marker)) {
            stop.notify_one();
            // It ends at its next look, and touches nothing after that.
            let _ = task.await;
        }
        undo.comeback.ensure(armed).await
    }
}

struct Crashes {
    comeback: Comeback,
    every: Duration,
    deadline: Option<Duration>,
    /// Processes of the same kind that are not this one's successors.
    peers: Vec<ProcessId>,
    armed: Armed,
}

impl Crashes {
    async fn go_on(self, stop: Arc<Notify>) {
        let mut seen: Option<(ProcessId, Duration)> = None;
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
            let Some(now) = self.successor().await else { continue };
            match seen {
                Some((id, since)) if id == now => {
                    if boottime() >= since + self.every {
                        let _ = now.signal(&self.armed, Signal::KILL);
                        seen = None;
                    }
                }
                _ => seen = Some((now, boottime())),
            }
        }
    }

    /// The process that stands for the target now. With `relaunch` it is started if there is none.
    async fn successor(&self) -> Option<ProcessId> {
        if self.comeback.back == Back::Relaunch {
            return self.comeback.snapshot.relaunch(&self.armed, &self.comeback.marker).ok();
        }
        let (snapshot, peers) = (self.comeback.snapshot.clone(), self.peers.clone());
        let all = blocking(ProcessFacts::all).await.ok()?.ok()?;
        all.iter().find(|p| snapshot.same(p) && !peers.contains(&p.id)).map(|p| p.id)
    }
}
