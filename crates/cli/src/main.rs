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
mod log;
mod past;
mod policy;
mod registry;
mod remote;
mod runner;
mod saved;
mod telemetry;
mod toxiproxy;

use std::process::ExitCode;

fn main() -> ExitCode {
    // What this program was given for itself (a lock, a pipe that somebody waits for) is not for the watchdog and the other
    // processes that outlive it. An older kernel than Linux 5.11 cannot, and nothing else is worse for it.
    let _ = squall_sys::descriptors::keep_from_children();
    toxiproxy::called_as_one().unwrap_or_else(cli::main)
}
