//! `process.restart`: ends a process as an operator would, and has it back at once.

use rustix::process::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Claim, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target,
    Undone, VerifyError,
};
use squall_model::Time;
use squall_undo::Armed;

use super::back::{Back, Comeback, DIES_WITHIN, default_within};
use super::facts;

/// Restarts a process.
#[derive(Debug)]
pub struct Restart;

/// How long it has to end by itself, and who starts it again.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartArgs {
    /// After SIGTERM it has this long to end by itself; then it gets SIGKILL.
    #[serde(default = "default_grace")]
    pub grace: Time,
    /// Who starts it again: `relaunch` (the default: Squall does) or `supervisor`.
    #[serde(default = "relaunch")]
    pub back: Back,
    /// How long a supervisor may take.
    #[serde(default = "default_within")]
    pub within: Time,
}

const fn default_grace() -> Time {
    Time::from_secs(10)
}

const fn relaunch() -> Back {
    Back::Relaunch
}

/// What is needed to have it running, whatever was reached.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartUndo {
    comeback: Comeback,
    /// How long it has to end after SIGTERM.
    grace: Time,
}

impl Fault for Restart {
    type Args = RestartArgs;
    type Undo = RestartUndo;

    const META: Meta = Meta {
        name: "process.restart",
        family: "process",
        summary: "Ends a process with SIGTERM (SIGKILL after a grace) and has it started again at once",
        example: "\
fault: process.restart
target: { process: { name: payments } }
with: { grace: 5s, back: relaunch }
",
        targets: &["process"],
        needs: &["pidfd"],
        undone: Undone::Ledger,
        lasting: false,
    };

    fn check(&self, args: &RestartArgs) -> Vec<ArgError> {
        if args.back == Back::None {
            let hint = "write `relaunch` or `supervisor`, or use `process.kill`";
            return vec![ArgError::field("back", "a restart without a start is a kill", Some(hint.to_owned()))];
        }
        Vec::new()
    }

    fn plan(&self, args: &RestartArgs, target: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let process = facts(target)?;
        let who = if args.back == Back::Supervisor {
            "its supervisor starts it again; Squall checks"
        } else {
            "Squall starts it again with what it had"
        };
        let change = PlannedChange {
            what: format!("process {}", process.label()),
            mechanism: format!("SIGTERM through a pidfd, SIGKILL after {}, then {who}", args.grace),
            undo: "if it does not run after all, it is brought back the same way".into(),
        };
        Ok(Plan { changes: vec![change], claims: vec![Claim(target.id.clone())], irreversible: false })
    }

    async fn inject(&self, args: &RestartArgs, target: &Target, cx: &Cx<'_, RestartUndo>) -> Result<(), InjectError> {
        let process = facts(target).map_err(|e| InjectError::Failed(e.message))?;
        let comeback = Comeback::capture(&process, args.back, args.within, cx.marker).await?;
        let armed = cx.arm(&RestartUndo { comeback: comeback.clone(), grace: args.grace })?;
        let send = |signal| process.id.signal(&armed, signal).map_err(|e| InjectError::Failed(format!("{}: {e}", target.label)));
        if !send(Signal::TERM)? {
            return Err(InjectError::TargetGone(target.label.clone()));
        }
        if !comeback.wait_gone(args.grace.std()).await.map_err(InjectError::Failed)? {
            send(Signal::KILL)?;
            if !comeback.wait_gone(DIES_WITHIN).await.map_err(InjectError::Failed)? {
                return Err(InjectError::Failed(format!("{} does not end, not even by SIGKILL", target.label)));
            }
        }
        comeback.ensure(&armed, DIES_WITHIN).await.map(drop).map_err(|e| InjectError::Failed(e.0))
    }

    async fn verify(&self, undo: &RestartUndo) -> Result<Effect, VerifyError> {
        let comeback = &undo.comeback;
        let seen = |in_force, evidence| Ok(Effect { in_force, evidence });
        if comeback.process.state().is_some() {
            return seen(false, format!("{} still runs", comeback.label));
        }
        if let Some(new) = comeback.relaunched() {
            return seen(true, format!("{} has ended, and process {} runs in its place", comeback.label, new.pid));
        }
        let running = comeback.running().await.map_err(VerifyError)?;
        if running >= comeback.peers {
            return seen(true, format!("{} has ended, and another of its kind was started", comeback.label));
        }
        seen(false, format!("{} has ended and nothing runs in its place", comeback.label))
    }

    async fn revert(&self, undo: &RestartUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        // Cut off between SIGTERM and its end, it may still be about to end.
        let caught = undo.comeback.process.dispositions().is_some_and(|d| d.catches(Signal::TERM));
        undo.comeback.ensure(armed, if caught { undo.grace.std() } else { undo.comeback.ends_within(Signal::TERM) }).await
    }
}
