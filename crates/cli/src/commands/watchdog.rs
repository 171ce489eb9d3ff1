//! `squall watchdog`: started by each run, and by nobody else.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::context::Context;
use crate::registry::registry;
use squall_engine::RegistryUndoer;

/// Watch over a run and put everything back when it is gone or late; every run starts one by itself
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  squall watchdog --run-dir ~/.local/state/squall/runs/r1hf7yat00001 < /dev/null")]
pub struct Args {
    /// The run's directory, which holds its undo ledger
    #[arg(long, value_name = "DIR")]
    run_dir: PathBuf,
}

/// Watches until the run is over.
pub fn run(args: Args, _: &Context) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(squall_undo::watch(&args.run_dir, &RegistryUndoer(registry())))?;
    Ok(ExitCode::SUCCESS)
}
