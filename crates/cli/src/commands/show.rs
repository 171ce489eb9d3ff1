//! `squall show`

use std::process::ExitCode;
use std::sync::Arc;

use squall_engine::{Evidence, Program};
use squall_model::RunId;
use squall_store::{RunStore, Store};

use crate::context::{CliError, Context, Output};
use crate::registry::registry;

/// Show one run: its verdict, the evidence, and what happened
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  squall show latest\n  squall show r1hf7 --events")]
pub struct Args {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// Every event of the journal too
    #[arg(long)]
    events: bool,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Shows it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let store = Store::open(&cx.state_dir()?.path().join("squall.db"))?;
    let run = store.resolve(&args.run)?;
    let mut value = summary(cx, &run)?;
    if args.events {
        value["events"] = serde_json::to_value(store.records(&run)?)?;
    }
    let _ = args.output;
    cx.json(&value)?;
    Ok(ExitCode::SUCCESS)
}

/// A run as one JSON document.
pub fn summary(cx: &Context, run: &RunId) -> anyhow::Result<serde_json::Value> {
    let store = Store::open(&cx.state_dir()?.path().join("squall.db"))?;
    let records = store.records(run)?;
    let Some(squall_model::Event::Started(started)) = records.first().map(|r| &r.event) else {
        return Err(CliError::failed("the run has no beginning", None).into());
    };
    let (experiment, _) =
        squall_model::parse_experiment(&started.manifest).map_err(|_| CliError::failed("its manifest cannot be read", None))?;
    let program = Arc::new(Program::compile(&experiment, &registry())?);
    let evidence = Evidence::gather(&program, &records);
    Ok(serde_json::json!({
        "run": run, "verdict": evidence.state.verdict.as_ref().map(|v| v.0), "reason": evidence.state.verdict.as_ref().map(|v| v.1.clone()),
        "injections": evidence.state.injections.values().collect::<Vec<_>>(),
        "probes": evidence.probes,
    }))
}
