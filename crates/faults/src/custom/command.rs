//! `custom.command`: any command as a fault.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, Undone,
    VerifyError,
};
use squall_model::Time;
use squall_undo::Armed;

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
}

/// The undo of a rollback action.
pub(super) fn undo_of(words: &[String], timeout: Option<Time>) -> Result<serde_json::Value, String> {
    let program = Program {
        run: words.to_vec(),
        env: std::collections::BTreeMap::new(),
        cwd: None,
        timeout: timeout.unwrap_or_else(default_timeout),
    };
    serde_json::to_value(CommandUndo { verify: None, undo: Some(program.settled()) }).map_err(|e| e.to_string())
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
        let _armed =
            cx.arm(&CommandUndo { verify: args.verify.as_ref().map(Program::settled), undo: args.undo.as_ref().map(Program::settled) })?;
        let ran = args.inject.execute().await.map_err(InjectError::Failed)?;
        if ran.success { Ok(()) } else { Err(InjectError::Failed(format!("`{}`: {}", args.inject.shown(), ran.shown()))) }
    }

    async fn verify(&self, undo: &CommandUndo) -> Result<Effect, VerifyError> {
        let Some(verify) = &undo.verify else {
            return Ok(Effect { in_force: true, evidence: "`inject` succeeded; there is no `verify` to look closer".into() });
        };
        let ran = verify.execute().await.map_err(VerifyError)?;
        Ok(Effect { in_force: ran.success, evidence: format!("`{}`: {}", verify.shown(), ran.shown()) })
    }

    async fn revert(&self, undo: &CommandUndo, _: &Armed) -> Result<Reverted, RevertError> {
        let Some(undo) = &undo.undo else {
            return Ok(Reverted { how: "there is nothing to undo it with, as the step accepts".into() });
        };
        let ran = undo.execute().await.map_err(RevertError)?;
        if ran.success {
            Ok(Reverted { how: format!("ran `{}`", undo.shown()) })
        } else {
            Err(RevertError(format!("`{}`: {}", undo.shown(), ran.shown())))
        }
    }
}
