//! `squall stressor`: the child that carries a load on CPU or memory. Started by faults, never by people.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::context::Context;

/// Carry a load for a fault (internal)
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// As `squall_faults::stressor::Order` writes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    order: Vec<OsString>,
}

/// Runs it to its end.
pub fn run(args: Args, _cx: &Context) -> anyhow::Result<ExitCode> {
    Ok(squall_faults::stressor::run(args.order))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn the_order_reaches_the_stressor_as_it_was_written() {
        let words = ["--marker", "squall-r-1", "--parent", "7", "--deadline", "9", "--job", "{}"];
        let cli = Cli::try_parse_from(["squall", "stressor"].into_iter().chain(words)).expect("parses");
        let Command::Stressor(args) = cli.command else { panic!("another command") };
        assert_eq!(args.order, words);
    }
}
