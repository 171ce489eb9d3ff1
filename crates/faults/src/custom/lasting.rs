//! `custom.program`: any program that runs for as long as the fault lasts.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, Undone,
    VerifyError,
};
use squall_model::Time;
use squall_sys::process::ProcessId;
use squall_undo::Armed;

use super::marked::{end_marked, marked};
use super::program::{Program, default_timeout, last_lines};
use crate::process::blocking;

/// Runs a program for as long as the fault lasts.
#[derive(Debug)]
pub struct Lasting;

/// The program, and how it is ended.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastingArgs {
    /// The program and its arguments: `[stress-ng, --iomix, "1"]`. For a shell write `[sh, -c, "…"]`.
    pub run: Vec<String>,
    /// Environment variables, besides Squall's own. `SQUALL_INJECTION` is set to the injection's mark, by which the program and
    /// what it starts are found again: a program that clears its environment must end its children itself.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The directory to run in; by default the one in which Squall was started.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// After SIGTERM it has this long to end, with all that it has started; then they get SIGKILL.
    #[serde(default = "default_grace")]
    pub grace: Time,
    /// Looks whether it has its effect: exit code 0 means in force. Without it, that it runs is all the evidence.
    #[serde(default)]
    pub verify: Option<Program>,
}

const fn default_grace() -> Time {
    Time::from_secs(1)
}

impl LastingArgs {
    fn program(&self) -> Program {
        Program { run: self.run.clone(), env: self.env.clone(), cwd: self.cwd.clone(), timeout: default_timeout() }
    }
}

/// By what it is found again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastingUndo {
    marker: String,
    grace: Time,
    verify: Option<Program>,
    /// For people.
    shown: String,
}

/// One that ends within this time has not been started for long.
const LIVES_FOR: Duration = Duration::from_millis(50);

impl Fault for Lasting {
    type Args = LastingArgs;
    type Undo = LastingUndo;

    const META: Meta = Meta {
        name: "custom.program",
        family: "custom",
        summary: "Runs any program for as long as the fault lasts, and ends it with all that it has started",
        example: "\
fault: custom.program
with: { run: [sh, -c, \"while sleep 0.1; do sync; done\"] }
for: 30s
",
        targets: &["host"],
        needs: &["pidfd"],
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &LastingArgs) -> Vec<ArgError> {
        let mut errors = args.program().check_here();
        errors.extend(args.verify.iter().flat_map(|program| program.check("verify")));
        errors
    }

    fn plan(&self, args: &LastingArgs, _: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let change = PlannedChange {
            what: "whatever the program touches".into(),
            mechanism: format!("runs `{}` as a child that dies with Squall", args.program().shown()),
            undo: format!("SIGTERM to it and to all that it has started, SIGKILL after {}", args.grace),
        };
        Ok(Plan { changes: vec![change], claims: Vec::new(), irreversible: false })
    }

    async fn inject(&self, args: &LastingArgs, _: &Target, cx: &Cx<'_, LastingUndo>) -> Result<(), InjectError> {
        let program = args.program();
        let (shown, verify) = (program.shown(), args.verify.as_ref().map(Program::settled));
        let _armed = cx.arm(&LastingUndo { marker: cx.marker.to_owned(), grace: args.grace, verify, shown: shown.clone() })?;
        let failed = |why: String| InjectError::Failed(format!("`{shown}` {why}"));
        let output = cx.directory.join(format!("{}.output", cx.injection));
        let command = with_output(program.command(Some(cx.marker)), &output).map_err(|e| failed(format!("cannot be started: {e}")))?;
        let started = blocking(move || start(command)).await.map_err(&failed)?;
        let pid = started.map_err(|e| failed(format!("could not be started: {e}")))?;
        let ended = match ProcessId::of(pid) {
            Some(process) => blocking(move || process.wait_gone(LIVES_FOR)).await.map_err(&failed)?.map_err(|e| failed(e.to_string()))?,
            None => true,
        };
        if ended {
            let said = last_lines(&String::from_utf8_lossy(&std::fs::read(&output).unwrap_or_default()));
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            return Err(failed(format!("ended at once{said}; a command that ends is `custom.command`")));
        }
        Ok(())
    }

    async fn verify(&self, undo: &LastingUndo) -> Result<Effect, VerifyError> {
        let running = marked(&undo.marker).await.map_err(VerifyError)?;
        if running.is_empty() {
            return Ok(Effect { in_force: false, evidence: format!("`{}` does not run", undo.shown) });
        }
        let pids: Vec<String> = running.iter().map(|process| process.pid.to_string()).collect();
        let runs = format!("`{}` runs (process {})", undo.shown, pids.join(", "));
        let Some(verify) = &undo.verify else { return Ok(Effect { in_force: true, evidence: runs }) };
        let ran = verify.execute().await.map_err(VerifyError)?;
        Ok(Effect { in_force: ran.success, evidence: format!("{runs}; `{}`: {}", verify.shown(), ran.shown()) })
    }

    async fn revert(&self, undo: &LastingUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let how = match end_marked(&undo.marker, undo.grace.std(), armed).await.map_err(RevertError)? {
            0 => format!("`{}` does not run, nothing to do", undo.shown),
            1 => format!("ended `{}`", undo.shown),
            count => format!("ended `{}` and what it had started, {count} processes", undo.shown),
        };
        Ok(Reverted { how })
    }
}

fn with_output(command: Result<Command, String>, path: &Path) -> Result<Command, String> {
    let mut command = command?;
    let output = File::create(path).and_then(|file| Ok((file.try_clone()?, file)));
    let (output, errors) = output.map_err(|e| format!("{}: {e}", path.display()))?;
    command.stdout(output).stderr(errors);
    Ok(command)
}

/// Starts a command on a thread of its own, which lives as long as the command does: it dies with that thread.
fn start(mut command: Command) -> std::io::Result<u32> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("custom-program".into()).stack_size(128 * 1024).spawn(move || match command.spawn() {
        Ok(mut child) => {
            // Whoever asked waits below; and a child that cannot be waited for has been reaped.
            let _ = tell.send(Ok(child.id()));
            let _ = child.wait();
        }
        Err(error) => {
            let _ = tell.send(Err(error));
        }
    })?;
    told.recv().map_err(|_| std::io::Error::other("the thread that starts it is gone"))?
}
