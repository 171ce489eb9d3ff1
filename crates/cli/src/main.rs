//! `squall`: break your systems on purpose, safely, and learn whether they hold.
//!
//! One file a subcommand, in `commands/`. Each has an `Args` (clap) and `run(args, &Context) -> anyhow::Result<ExitCode>`.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod context;
mod diagnostics;
mod library;
mod live;
mod past;
mod policy;
mod registry;
mod runner;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
