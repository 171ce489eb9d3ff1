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

use super::{facts, pause_between_looks};

/// Stops a process.
#[derive(Debug)]
pub struct Pause;

/// What is stopped with it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseArgs {
    /// Its children and their children too, as they are at that moment.
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
        let mut processes = vec![process.id];
        if args.tree {
            let all = ProcessFacts::all().map_err(|e| InjectError::Failed(e.to_string()))?;
            processes.extend(descendants(&all, process.id.pid));
        }
        // What somebody else has stopped is not ours to continue.
        processes.retain(|p| p.state() != Some('T'));
        if processes.is_empty() {
            return Err(InjectError::Failed(format!("{} is stopped already", target.label)));
        }
        let armed = cx.arm(&PauseUndo { processes: processes.clone(), label: target.label.clone() })?;
        for (index, id) in processes.iter().enumerate() {
            let sent = id.signal(&armed, Signal::STOP);
            match sent {
                // A descendant that has ended meanwhile needs no stop.
                Ok(false) if index > 0 => {}
                Ok(true) => {}
                Ok(false) => return Err(InjectError::TargetGone(target.label.clone())),
                Err(error) => return Err(InjectError::Failed(format!("process {} cannot be stopped: {error}", id.pid))),
            }
        }
        Ok(())
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
