//! `squall schema`

use std::process::ExitCode;

use clap::ValueEnum;

use crate::context::Context;
use crate::registry::registry;

/// Print the JSON Schema of manifests, for editors and other programs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall schema > experiment.schema.json
  squall schema policy > policy.schema.json

Then say in the first line of a manifest, for editors with the YAML language server:
  # yaml-language-server: $schema=experiment.schema.json")]
pub struct Args {
    /// Which manifest
    #[arg(value_name = "KIND", default_value = "experiment")]
    kind: Kind,
}

/// The kinds of manifest.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// What `squall run` reads
    Experiment,
    /// The limits of a host
    Policy,
}

/// Prints the schema.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.kind {
        Kind::Experiment => cx.json(&squall_engine::experiment_schema(&registry()))?,
        Kind::Policy => cx.json(&squall_engine::policy_schema())?,
    }
    Ok(ExitCode::SUCCESS)
}
