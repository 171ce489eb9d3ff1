//! `process.pause`: stops a process and continues it.

use rustix::process::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    Claim, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, Undone,
    VerifyError,
};
use squall_sys::process::{ProcessFacts, ProcessId, descendants};
use squall_undo::{Armed, boottime};

use super::{blocking, facts, pause_between_looks};

/// Stops a process.
#[derive(Debug)]
pub struct Pause;

/// What is stopped with it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseArgs {
    /// Its children and their children too. What was stopped before stays so afterwards.
    #[serde(default)]
    pub tree: bool,
}

/// Which processes to continue. Those that were stopped before are not among them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseUndo {
    processes: Vec<ProcessId>,
    label: String,
}

/// The kernel stops each thread when it next comes by; one that waits for a disk may take a while.
const STOPS_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// False if it is gone.
fn stop(id: ProcessId, armed: &Armed) -> Result<bool, InjectError> {
    id.signal(armed, Signal::STOP).map_err(|error| InjectError::Failed(format!("process {} cannot be stopped: {error}", id.pid)))
}

/// Stops whatever the first process of the undo has started. Those that stand still start no more, so this comes to an end.
async fn stop_descendants(undo: &mut PauseUndo, cx: &Cx<'_, PauseUndo>) -> Result<(), InjectError> {
    let root = undo.processes.first().map_or(0, |root| root.pid);
    loop {
        let all = blocking(ProcessFacts::all).await.map_err(InjectError::Failed)?.map_err(|e| InjectError::Failed(e.to_string()))?;
        // What somebody else has stopped is not ours to continue.
        let new = |id: &ProcessId| !undo.processes.contains(id) && id.state().is_some_and(|state| state != 'T');
        let more: Vec<ProcessId> = descendants(&all, root).into_iter().filter(new).collect();
        if more.is_empty() {
            return Ok(());
        }
        undo.processes.extend(&more);
        let armed = cx.arm(undo)?;
        for id in more {
            // One that has ended meanwhile needs no stop.
            stop(id, &armed)?;
        }
    }
}

impl Fault for Pause {
    type Args = PauseArgs;
    type Undo = PauseUndo;

    const META: Meta = Meta {
        name: "process.pause",
        family: "process",
        summary: "Stops a process (SIGSTOP): it keeps its connections and answers nothing",
        example: "\
fault: process.pause
target: { process: { name: payments } }
for: 30s
",
        targets: &["process"],
        needs: &["pidfd"],
        undone: Undone::Ledger,
        lasting: true,
    };

    fn plan(&self, args: &PauseArgs, target: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let process = facts(target)?;
        let whole = if args.tree { " and its descendants" } else { "" };
        let change = PlannedChange {
            what: format!("process {}{whole}", process.label()),
            mechanism: "SIGSTOP through a pidfd".into(),
            undo: "SIGCONT, by the run, the watchdog or `squall recover`".into(),
        };
        Ok(Plan { changes: vec![change], claims: vec![Claim(target.id.clone())], irreversible: false })
    }

    async fn inject(&self, args: &PauseArgs, target: &Target, cx: &Cx<'_, PauseUndo>) -> Result<(), InjectError> {
        let process = facts(target).map_err(|e| InjectError::Failed(e.message))?;
        let Some(state) = process.id.state() else { return Err(InjectError::TargetGone(target.label.clone())) };
        if state == 'T' {
            return Err(InjectError::Failed(format!("{} is stopped already", target.label)));
        }
        let mut undo = PauseUndo { processes: vec![process.id], label: target.label.clone() };
        let armed = cx.arm(&undo)?;
        if !stop(process.id, &armed)? {
            return Err(InjectError::TargetGone(target.label.clone()));
        }
        if args.tree { stop_descendants(&mut undo, cx).await } else { Ok(()) }
    }

    async fn verify(&self, undo: &PauseUndo) -> Result<Effect, VerifyError> {
        let end = boottime() + STOPS_WITHIN;
        loop {
            let running = undo.processes.iter().find(|p| !p.thread_states().iter().all(|state| *state == 'T'));
            let gone = undo.processes.first().is_none_or(|p| p.state().is_none());
            match running {
                _ if gone => return Ok(Effect { in_force: false, evidence: format!("{} has ended", undo.label) }),
                None => return Ok(Effect { in_force: true, evidence: format!("all threads of {} are in state T (stopped)", undo.label) }),
                Some(process) if boottime() >= end => {
                    let states: String = process.thread_states().into_iter().collect();
                    return Ok(Effect { in_force: false, evidence: format!("threads of process {} are in states {states}", process.pid) });
                }
                Some(_) => pause_between_looks().await,
            }
        }
    }

    async fn revert(&self, undo: &PauseUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let mut continued = Vec::new();
        // Children first: the parent finds them as they were when it goes on.
        for process in undo.processes.iter().rev() {
            match process.signal(armed, Signal::CONT) {
                Ok(true) => continued.push(process.pid.to_string()),
                Ok(false) => {}
                Err(error) => return Err(RevertError(format!("process {} cannot be continued: {error}", process.pid))),
            }
        }
        if continued.is_empty() {
            return Ok(Reverted { how: format!("{} is gone, nothing to continue", undo.label) });
        }
        Ok(Reverted { how: format!("sent SIGCONT to process {}", continued.join(", ")) })
    }
}
