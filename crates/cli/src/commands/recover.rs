//! `squall recover`

use std::process::ExitCode;

use serde::Serialize;
use squall_engine::RegistryUndoer;
use squall_model::RunId;
use squall_undo::RecoveredRun;

use crate::context::{Context, Output, Style, exit};
use crate::registry::registry;

/// Put back what dead runs left behind
///
/// Every run is started with a watchdog that does this at once. `recover` is for the case that both are gone: after a restart
/// of the host, or when somebody killed both. Runs that are alive are left alone. It may be repeated at any time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall recover --dry-run    what is left, without touching it
  squall recover              put it back

Exit codes: 0 nothing remains, 6 something could not be put back")]
pub struct Args {
    /// Only say what is left
    #[arg(long)]
    dry_run: bool,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Something that a dead run left behind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Left {
    run: RunId,
    what: String,
}

/// Recovers.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    if args.dry_run { look(&args, cx) } else { recover(&args, cx) }
}

fn look(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let state = cx.state_dir()?;
    let mut left = Vec::new();
    for (run, read) in squall_undo::recoverable(&state)? {
        match read {
            Ok(view) => left.extend(view.open().map(|entry| {
                let what = format!("{} on {}, injection {}", entry.armed.fault, entry.armed.target, entry.armed.injection);
                Left { run: run.clone(), what }
            })),
            Err(error) => left.push(Left { run, what: error.to_string() }),
        }
    }
    for (run, orphan) in squall_undo::orphans(&state)? {
        left.push(Left { run, what: format!("process {} ({})", orphan.pid, orphan.marker) });
    }
    if args.output == Output::Json {
        cx.json(&left)?;
    } else if left.is_empty() {
        cx.say("nothing is left of any run that is gone")?;
    } else {
        for one in &left {
            cx.result(format!("{}  {}", cx.style(Style::Cyan, one.run.as_str()), one.what))?;
        }
        cx.note("nothing was touched; `squall recover` puts it back");
    }
    Ok(ExitCode::SUCCESS)
}

fn recover(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let state = cx.state_dir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let recovered = runtime.block_on(squall_undo::recover(&state, &RegistryUndoer(registry())))?;
    if args.output == Output::Json {
        cx.json(&recovered)?;
    } else {
        for one in recovered.iter().filter(|one| one.touched()) {
            let style = if one.clean() { Style::Green } else { Style::Red };
            cx.result(format!("{}  {}", cx.style(style, one.run.as_str()), one.summary()))?;
        }
        if !recovered.iter().any(RecoveredRun::touched) {
            cx.say("nothing is left of any run that is gone")?;
        }
    }
    Ok(if recovered.iter().all(RecoveredRun::clean) { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}
