//! `squall stop`

mod remote;

use std::process::ExitCode;
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use squall_engine::RegistryUndoer;
use squall_model::{RevertedBy, RunId, Time};
use squall_undo::{Ledger, LedgerView, StateDir, boottime, engine_alive, revert_outstanding};

use crate::context::{CliError, Context, Output, Style, exit};
use crate::registry::registry;

/// Stop runs from another terminal; everything is put back
///
/// The run is asked to stop, and reverts what it did. One that does not answer within the patience (it hangs, or was
/// stopped) is killed; its watchdog then puts everything back, or this command does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall stop                  the run, if there is just one
  squall stop r1hf7yat00001    this run
  squall stop --server URL     everything on every host of a server
  squall stop --all --block    every run, and none can start until `squall stop --unblock`

Exit codes: 0 stopped and everything put back, 6 something could not be put back")]
pub struct Args {
    /// The run; may be left out where only one is going
    #[arg(conflicts_with = "all")]
    run: Option<RunId>,
    /// Every run of this state directory
    #[arg(long)]
    all: bool,
    /// Leave a stop file behind, so that no run can break anything until it is removed
    #[arg(long, requires = "all")]
    block: bool,
    /// Remove the stop file
    #[arg(long, conflicts_with_all = ["run", "all", "block"])]
    unblock: bool,
    /// Stop at a server: everything on all its hosts, or the run that is named
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// How long a run may take to put everything back by itself
    #[arg(long, value_name = "TIME", default_value = "10s")]
    patience: Time,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// How a run was stopped.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stopped {
    run: RunId,
    /// Everything is put back.
    clean: bool,
    /// In words.
    how: String,
}

/// How often the ledger of a run that is stopping is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a person is told that it still goes on.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long the watchdog of a run that was killed may take before this command reverts beside it.
const WATCHDOG_PATIENCE: Duration = Duration::from_secs(2);

/// Stops.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    if let Some(url) = &args.server {
        return remote::stop(url, args.run.as_ref(), args.block, args.unblock, args.output, cx);
    }
    let state = cx.state_dir()?;
    if args.unblock {
        return unblock(&state, cx);
    }
    let by = format!("squall stop by {}", who());
    if args.block {
        // The file first: it also stops a run that starts just now.
        let path = state.stop_file();
        std::fs::write(&path, format!("{by}\n"))
            .map_err(|e| CliError::failed(format!("{} cannot be written: {e}", path.display()), None))?;
    }
    let runs = match &args.run {
        Some(run) => vec![run.clone()],
        None => going(&state, args.all)?,
    };
    for run in &runs {
        ask(&state, run, &by)?;
    }
    let mut stopped = Vec::with_capacity(runs.len());
    for run in runs {
        let one = wait(&state, run, args.patience.std(), cx)?;
        if args.output == Output::Text {
            let style = if one.clean { Style::Green } else { Style::Red };
            cx.result(format!("{}  {}", cx.style(style, one.run.as_str()), one.how))?;
        }
        stopped.push(one);
    }
    if args.output == Output::Json {
        cx.json(&stopped)?;
    } else if stopped.is_empty() {
        cx.say("no run is going")?;
    }
    if args.block {
        cx.note("no run can start now; `squall stop --unblock` allows it again");
    }
    Ok(if stopped.iter().all(|one| one.clean) { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn unblock(state: &StateDir, cx: &Context) -> anyhow::Result<ExitCode> {
    let path = state.stop_file();
    match std::fs::remove_file(&path) {
        Ok(()) => cx.say("the stop file is removed; runs can start again")?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => cx.say("there was no stop file")?,
        Err(error) => return Err(CliError::failed(format!("{} cannot be removed: {error}", path.display()), None).into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Who runs this command, for the journal of the run that is stopped.
fn who() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// The runs that are not over, whose engine is alive: all of them, or the only one.
pub(super) fn going(state: &StateDir, all: bool) -> anyhow::Result<Vec<RunId>> {
    let mut runs = Vec::new();
    for run in state.runs()? {
        // What cannot be read is for `squall recover`, which says why.
        if let Ok(view) = Ledger::read(&state.ledger(&run))
            && view.closed.is_none()
            && engine_alive(&view)?
        {
            runs.push(run);
        }
    }
    if !all && runs.len() > 1 {
        let names = runs.iter().map(RunId::as_str).collect::<Vec<_>>().join(", ");
        return Err(CliError::usage(format!("several runs are going: {names}"), Some("name one, or give --all".to_owned())).into());
    }
    Ok(runs)
}

fn read(state: &StateDir, run: &RunId) -> Result<LedgerView, CliError> {
    let hint = "`squall history` lists the runs of this state directory".to_owned();
    Ledger::read(&state.ledger(run)).map_err(|e| CliError::failed(format!("run {run} cannot be looked at: {e}"), Some(hint)))
}

/// Leaves word who asks, and sends SIGTERM to the run's process and no other. An agent, which has other runs as well, looks for the word
/// by itself.
fn ask(state: &StateDir, run: &RunId, by: &str) -> anyhow::Result<()> {
    let view = read(state, run)?;
    if let (None, Some(header)) = (view.closed, &view.header) {
        std::fs::write(state.run_dir(run).join("stop"), by)?;
        if squall_agent::executor::is_of_a_server(&state.run_dir(run)) {
            return Ok(());
        }
        header.engine.signal(Signal::TERM).map_err(|e| CliError::failed(format!("run {run} cannot be asked to stop: {e}"), None))?;
    }
    Ok(())
}

/// Whether an agent has put everything back and removed what it had of the run, as it does once its server knows.
fn is_forgotten(state: &StateDir, run: &RunId) -> bool {
    !state.run_dir(run).exists()
}

fn wait(state: &StateDir, run: RunId, patience: Duration, cx: &Context) -> anyhow::Result<Stopped> {
    let view = match read(state, &run) {
        Err(_) if is_forgotten(state, &run) => {
            return Ok(Stopped { run, clean: true, how: "stopped, and everything is put back".into() });
        }
        read => read?,
    };
    if view.closed.is_some() {
        return Ok(Stopped { run, clean: true, how: "is over already; nothing is left of it".into() });
    }
    if closed_within(state, &run, patience, cx)? {
        return Ok(Stopped { run, clean: true, how: "stopped, and everything is put back".into() });
    }
    let mut how = "was gone".to_owned();
    if let Some(header) = &view.header
        && header.engine.signal(Signal::KILL)?
    {
        // Only dead it cannot break anything more.
        how = format!("did not stop within {}, and was killed", Time::from(patience));
    }
    if closed_within(state, &run, WATCHDOG_PATIENCE, cx)? {
        return Ok(Stopped { run, clean: true, how: how + "; its watchdog has put everything back" });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let undoer = RegistryUndoer(registry());
    let outcomes = runtime.block_on(revert_outstanding(&state.run_dir(&run), &undoer, RevertedBy::Stop))?;
    let failed: Vec<String> =
        outcomes.iter().filter_map(|o| Some(format!("{} on {}: {}", o.fault, o.target, o.result.as_ref().err()?))).collect();
    let clean = failed.is_empty();
    how += &if clean { "; everything is put back".to_owned() } else { format!("; not put back: {}", failed.join("; ")) };
    Ok(Stopped { run, clean, how })
}

/// Waits until nothing of the run is outstanding and nothing will come.
fn closed_within(state: &StateDir, run: &RunId, patience: Duration, cx: &Context) -> anyhow::Result<bool> {
    let start = boottime();
    let mut told = start;
    loop {
        let view = match read(state, run) {
            Err(_) if is_forgotten(state, run) => return Ok(true),
            read => read?,
        };
        if view.closed.is_some() {
            return Ok(true);
        }
        let now = boottime();
        if now - start >= patience || (!engine_alive(&view)? && now - start >= patience.min(WATCHDOG_PATIENCE)) {
            return Ok(false);
        }
        if now - told >= TELL_EVERY {
            told = now;
            cx.note(format!("waiting for run {run}: {} still to be put back", view.open().count()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
