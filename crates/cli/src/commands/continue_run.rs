//! `squall continue`

use std::process::ExitCode;

use crate::context::{CliError, Context};

/// Let a suspended run go on
#[derive(Debug, clap::Args)]
#[command(name = "continue", after_help = "Example:\n  squall continue r0123456789ab")]
pub struct Args {
    /// The run; the only one that is under way, if left out
    run: Option<String>,
}

/// Leaves word for the run, which looks for it ten times a second.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let state = cx.state_dir()?;
    let runs = super::stop::going(&state, true)?;
    let found: Vec<_> = runs.iter().filter(|run| args.run.as_deref().is_none_or(|wanted| run.as_str().starts_with(wanted))).collect();
    let [run] = found.as_slice() else {
        let names: Vec<&str> = runs.iter().map(squall_model::RunId::as_str).collect();
        let message = if found.is_empty() { "no such run is under way" } else { "several runs are under way" };
        let hint = if names.is_empty() { "none is under way now".to_owned() } else { format!("under way: {}", names.join(", ")) };
        return Err(CliError::usage(message, Some(hint)).into());
    };
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".into());
    // Written beside and renamed, so that the run never reads half of it.
    let (part, whole) = (state.run_dir(run).join("continue.part"), state.run_dir(run).join("continue"));
    std::fs::write(&part, format!("`squall continue` by {user}"))?;
    std::fs::rename(&part, &whole)?;
    cx.say(format!("told {run} to go on"))?;
    Ok(ExitCode::SUCCESS)
}
