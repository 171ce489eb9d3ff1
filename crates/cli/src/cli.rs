//! The command line as a whole: global options, the list of subcommands, and what an error looks like.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::context::{Colour, Context, exit};

/// Break your systems on purpose, safely, and learn whether they hold.
///
/// Squall verifies a steady state, injects a real fault, watches, puts everything back, and gives a verdict with evidence.
/// Nothing is touched before its undo is durable, and nothing stays broken after Squall is gone.
#[derive(Debug, Parser)]
#[command(
    name = "squall",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Examples:
  squall demo                       watch two experiments on a small shop, in under a minute
  squall run examples/first.yaml    run your own
  squall plan examples/first.yaml   what would be touched, and how it is undone; changes nothing

Exit codes: 0 held, 1 deviated, 2 wrong usage or manifest, 3 unsteady, 4 aborted, 5 inconclusive, 6 failed, 7 refused"
)]
pub struct Cli {
    /// What every subcommand takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every subcommand.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Print only results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When to use colours: auto looks at the terminal and at `NO_COLOR`
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Colour,
    /// Where runs, their undo ledgers and the journal are kept
    #[arg(long, global = true, value_name = "DIR", env = "SQUALL_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
}

macro_rules! subcommands {
    ($($(#[$attribute:meta])* $variant:ident => $module:ident,)*) => {
        /// The subcommands, in the order of `--help`.
        #[derive(Debug, Subcommand)]
        pub enum Command {
            $($(#[$attribute])* $variant(commands::$module::Args),)*
        }

        fn dispatch(command: Command, cx: &Context) -> anyhow::Result<ExitCode> {
            match command {
                $(Command::$variant(args) => commands::$module::run(args, cx),)*
            }
        }
    };
}

// One line a subcommand: its variant and its file. The first line of the doc comment of its `Args` is its summary.
subcommands! {
    Demo => demo,
    Run => run,
    Plan => plan,
    Validate => validate,
    Explain => explain,
    Schema => schema,
    Library => library,
    CheckSlo => check_slo,
    History => history,
    Show => show,
    Report => report,
    Stop => stop,
    #[command(name = "continue")]
    Continue => continue_run,
    Recover => recover,
    Doctor => doctor,
    Proxy => proxy,
    Server => server,
    Agent => agent,
    Hosts => hosts,
    Login => login,
    Logout => logout,
    Whoami => whoami,
    User => user,
    Token => token,
    Approval => approval,
    Experiment => experiment,
    Schedule => schedule,
    Monkey => monkey,
    Policy => policy,
    Channel => channel,
    Gameday => gameday,
    Finding => finding,
    Audit => audit,
    Shop => shop,
    Completions => completions,
    #[command(hide = true)]
    Reference => reference,
    #[command(hide = true)]
    Stressor => stressor,
    #[command(hide = true)]
    Watchdog => watchdog,
}

/// Parses, dispatches, and turns errors into a message and an exit code.
pub fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // `--help` and `--version` come this way too; clap knows which stream and code each has.
            let code = u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(exit::USAGE);
        }
    };
    let cx = Context::new(&cli.global);
    match dispatch(cli.command, &cx) {
        Ok(code) => code,
        Err(error) => cx.report(&error),
    }
}
