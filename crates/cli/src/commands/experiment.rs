//! `squall experiment`

use std::process::ExitCode;

use clap::Subcommand;
use squall_api::experiments::Experiment;

use crate::context::{Context, Output};
use crate::remote::{Server, block_on, failed};
use crate::saved::{self, Apply, Listing, Named, Saved, Show as Whole, minute};

const EXPERIMENTS: Saved = Saved { path: "experiments", kind: "Experiment", field: "manifest", what: "experiment" };

/// Look after the experiments that a server has saved, and what they were before
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall experiment save slow-payments.yaml
  squall experiment versions slow-payments
  squall experiment show slow-payments --at 3 > before.yaml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List saved experiments
    List(Listing),
    /// Save experiments from files
    Save(Apply),
    /// Print a saved experiment, as it is or as it was
    Show(Show),
    /// List the versions of a saved experiment, the newest first
    Versions(Whole),
    /// Remove a saved experiment with its versions; its runs stay
    Rm(Named),
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    server: Server,
    /// Its name
    name: String,
    /// As it was at this version
    #[arg(long, value_name = "VERSION")]
    at: Option<u64>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => {
            let client = args.server.client()?;
            let experiments = block_on(saved::all::<Experiment>(&client, "experiments"))?;
            let row = |one: &Experiment| vec![one.name.clone(), minute(one.updated), format!("by {}", one.by)];
            saved::list(cx, args.output, &experiments, "no experiments; `squall experiment save FILE` saves one", row)?;
        }
        Command::Save(args) => EXPERIMENTS.apply(&args, cx)?,
        Command::Show(args) => show(&args, cx)?,
        Command::Versions(args) => {
            let client = args.server.client()?;
            let path = format!("{}/versions", EXPERIMENTS.at(&args.name));
            let versions = block_on(saved::all::<Experiment>(&client, &path))?;
            let row = |one: &Experiment| vec![one.version.to_string(), minute(one.updated), format!("by {}", one.by)];
            saved::list(cx, args.output, &versions, "no versions", row)?;
        }
        Command::Rm(args) => EXPERIMENTS.remove(&args, cx)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Show, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let path = match args.at {
        Some(version) => format!("{}/versions/{version}", EXPERIMENTS.at(&args.name)),
        None => EXPERIMENTS.at(&args.name),
    };
    let experiment: Experiment = block_on(async { client.get(&path).await.map_err(failed) })?;
    match args.output {
        Output::Text => cx.result(experiment.manifest.trim_end()),
        Output::Json => cx.json(&experiment),
    }
}
