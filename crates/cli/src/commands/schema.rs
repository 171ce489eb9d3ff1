//! `squall schema`

use std::process::ExitCode;

use clap::ValueEnum;
use squall_engine::Registry;

use crate::context::Context;
use crate::registry::registry;

/// Print the JSON Schema of manifests, for editors and other programs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall schema > experiment.schema.json
  squall schema policy > policy.schema.json
  squall schema schedule > schedule.schema.json

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
    /// When an experiment runs by itself, on a server
    Schedule,
    /// What a Chaos Monkey of a server does, to whom, and how often
    Monkey,
    /// Where notices of a server go, which ones, and in which words
    Channel,
    /// The plan of a game day
    Gameday,
}

impl Kind {
    fn schema(self, registry: &Registry) -> serde_json::Value {
        match self {
            Self::Experiment => squall_engine::experiment_schema(registry),
            Self::Policy => squall_engine::policy_schema(),
            Self::Schedule => squall_engine::document_schema::<squall_schedule::Schedule>("schedule", "Squall schedule", registry),
            Self::Monkey => squall_engine::document_schema::<squall_schedule::Monkey>("monkey", "Squall monkey", registry),
            Self::Channel => squall_engine::document_schema::<squall_notify::ChannelDocument>("channel", "Squall channel", registry),
            Self::Gameday => squall_engine::document_schema::<squall_gameday::PlanDocument>("gameday", "Squall game day", registry),
        }
    }
}

/// The schema of every kind of manifest, with its name.
pub fn all(registry: &Registry) -> Vec<(String, serde_json::Value)> {
    let named = |kind: &Kind| kind.to_possible_value().map(|name| (name.get_name().to_owned(), kind.schema(registry)));
    Kind::value_variants().iter().filter_map(named).collect()
}

/// Prints the schema.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    cx.json(&args.kind.schema(&registry()))?;
    Ok(ExitCode::SUCCESS)
}
