//! `custom.command`: any command that ends as a fault. One that runs for as long as the fault lasts is `custom.program`.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, Undone,
    VerifyError,
};
use squall_model::Time;
use squall_undo::Armed;

use super::marked::end_marked;
use super::program::{Program, default_timeout};

/// Runs a command as a fault.
#[derive(Debug)]
pub struct Command;

/// The commands that break, look and put back.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandArgs {
    /// Breaks something; has to end with exit code 0.
    pub inject: Program,
    /// Looks whether it is broken: exit code 0 means in force. Without it, the success of `inject` is all the evidence.
    #[serde(default)]
    pub verify: Option<Program>,
    /// Puts it back; has to end with exit code 0. It may run more than once, and although `inject` has not run, so it must
    /// succeed when there is nothing to put back.
    #[serde(default)]
    pub undo: Option<Program>,
}

/// The command that puts it back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandUndo {
    verify: Option<Program>,
    undo: Option<Program>,
    /// None for a rollback action, which injects nothing.
    injected: Option<Injected>,
}

/// How to tell whether `inject` has ended by itself. If it was cut off together with Squall, then what it had started goes on,
/// and nobody wants it any more; what it leaves running when it ends is meant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Injected {
    /// In the environment of `inject` and of what it starts.
    marker: String,
    /// There once `inject` has ended.
    file: PathBuf,
}

impl Injected {
    /// Ends what is left of an `inject` that was cut off, and waits until it is gone.
    async fn end_if_cut_off(&self, armed: &Armed) -> Result<usize, String> {
        if self.file.exists() {
            return Ok(0);
        }
        end_marked(&self.marker, Duration::ZERO, armed).await
    }
}

/// The undo of a rollback action.
pub(super) fn undo_of(words: &[String], timeout: Option<Time>) -> Result<serde_json::Value, String> {
    let program = Program {
        run: words.to_vec(),
        env: std::collections::BTreeMap::new(),
        cwd: None,
        timeout: timeout.unwrap_or_else(default_timeout),
    };
    serde_json::to_value(CommandUndo { verify: None, undo: Some(program.settled()), injected: None }).map_err(|e| e.to_string())
}

impl Fault for Command {
    type Args = CommandArgs;
    type Undo = CommandUndo;

    const META: Meta = Meta {
        name: "custom.command",
        family: "custom",
        summary: "Runs any command as a fault, with the command that puts it back",
        example: "\
fault: custom.command
with:
  inject: { run: [touch, /tmp/maintenance] }
  verify: { run: [test, -e, /tmp/maintenance] }
  undo: { run: [rm, -f, /tmp/maintenance] }
for: 30s
",
        targets: &["host"],
        needs: &[],
        undone: Undone::Ledger,
        lasting: false,
    };

    fn check(&self, args: &CommandArgs) -> Vec<ArgError> {
        let mut errors = args.inject.check("inject");
        errors.extend(args.verify.iter().flat_map(|p| p.check("verify")));
        errors.extend(args.undo.iter().flat_map(|p| p.check("undo")));
        errors
    }

    fn plan(&self, args: &CommandArgs, _: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let undo = args.undo.as_ref().map_or_else(|| "not at all: there is no `undo`".to_owned(), |u| format!("runs `{}`", u.shown()));
        let change =
            PlannedChange { what: "whatever the command touches".into(), mechanism: format!("runs `{}`", args.inject.shown()), undo };
        Ok(Plan { changes: vec![change], claims: Vec::new(), irreversible: args.undo.is_none() })
    }

    async fn inject(&self, args: &CommandArgs, _: &Target, cx: &Cx<'_, CommandUndo>) -> Result<(), InjectError> {
        let injected = Injected { marker: cx.marker.to_owned(), file: cx.directory.join(format!("{}.injected", cx.injection)) };
        let file = injected.file.clone();
        let (verify, undo) = (args.verify.as_ref().map(Program::settled), args.undo.as_ref().map(Program::settled));
        let _armed = cx.arm(&CommandUndo { verify, undo, injected: Some(injected) })?;
        let ran = args.inject.execute_marked(cx.marker).await.map_err(InjectError::Failed)?;
        std::fs::write(&file, "").map_err(|e| InjectError::Failed(format!("{} cannot be written: {e}", file.display())))?;
        if ran.success { Ok(()) } else { Err(InjectError::Failed(format!("`{}`: {}", args.inject.shown(), ran.shown()))) }
    }

    async fn verify(&self, undo: &CommandUndo) -> Result<Effect, VerifyError> {
        let Some(verify) = &undo.verify else {
            return Ok(Effect { in_force: true, evidence: "`inject` succeeded; there is no `verify` to look closer".into() });
        };
        let ran = verify.execute().await.map_err(VerifyError)?;
        Ok(Effect { in_force: ran.success, evidence: format!("`{}`: {}", verify.shown(), ran.shown()) })
    }

    async fn revert(&self, undo: &CommandUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let ended = match &undo.injected {
            Some(injected) => injected.end_if_cut_off(armed).await.map_err(RevertError)?,
            None => 0,
        };
        let also = if ended == 0 { String::new() } else { format!("killed {ended} processes of an `inject` that was cut off; ") };
        let Some(undo) = &undo.undo else {
            return Ok(Reverted { how: also + "there is nothing to undo it with, as the step accepts" });
        };
        let ran = undo.execute().await.map_err(RevertError)?;
        if ran.success {
            Ok(Reverted { how: format!("{also}ran `{}`", undo.shown()) })
        } else {
            Err(RevertError(format!("{also}`{}`: {}", undo.shown(), ran.shown())))
        }
    }
}
