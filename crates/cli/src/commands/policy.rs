//! `squall policy`

use std::process::ExitCode;

use clap::Subcommand;
use squall_api::policies::Policy;

use crate::context::Context;
use crate::remote::block_on;
use crate::saved::{self, Apply, Listing, Named, Saved, Show, minute};

const POLICIES: Saved = Saved { path: "policies", kind: "Policy", field: "policy", what: "policy" };

/// Look after a server's policies: limits that no run of it may pass
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall policy apply production.yaml
  squall policy list
  squall policy show production

A host's own policy file is not a server's: no server can widen it.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List policies
    List(Listing),
    /// Save policies from files
    Apply(Apply),
    /// Print a policy
    Show(Show),
    /// Remove a policy
    Rm(Named),
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => {
            let client = args.server.client()?;
            let policies = block_on(saved::all::<Policy>(&client, "policies"))?;
            let row = |one: &Policy| vec![one.name.clone(), minute(one.updated), format!("by {}", one.by)];
            saved::list(cx, args.output, &policies, "no policies: runs are limited by those of their hosts alone", row)?;
        }
        Command::Apply(args) => POLICIES.apply(&args, cx)?,
        Command::Show(args) => POLICIES.show(&args, cx)?,
        Command::Rm(args) => POLICIES.remove(&args, cx)?,
    }
    Ok(ExitCode::SUCCESS)
}
