//! `squall finding verify`

use std::process::ExitCode;
use std::time::Duration;

use squall_api::client::Client;
use squall_api::findings::FindingView;
use squall_api::runs::{NewRun, Run};
use squall_engine::Clock as _;
use squall_gameday::FindingState;
use squall_model::Verdict;
use squall_sys::BootClock;

use super::{at, said};
use crate::context::{CliError, Context, Output, exit};
use crate::library;
use crate::remote::{Server, block_on, failed};

/// How long the server may take to see what a run says about a finding.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Which finding, and how its experiment is run.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
    /// Fill in a parameter of the experiment
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The host that probes are asked from [default: the server]
    #[arg(long, value_name = "HOST")]
    from: Option<String>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the experiment, and waits for what comes of it.
pub fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let set = library::parameters(&args.set)?.into_iter().collect();
    let client = args.server.client()?;
    block_on(async {
        let view: FindingView = client.get(&at(&args.id)).await.map_err(failed)?;
        if view.finding.state != FindingState::Fixed {
            let hint = format!("squall finding fix {} --reason …; then a run that holds verifies it", args.id);
            let state = view.finding.state.name();
            let message = format!("the finding is {state}, and only one that is said to be fixed can be verified");
            return Err(CliError { message, hint: Some(hint), code: exit::REFUSED }.into());
        }
        let new = NewRun { experiment: Some(view.finding.experiment), set, from: args.from.clone(), ..NewRun::default() };
        let started: Run = client.post("runs", &new).await.map_err(failed)?;
        cx.note(format!("run {} of `{}`", started.run, started.experiment));
        let ended = ended(&client, &started.run.to_string()).await?;
        let verdict = ended.verdict.unwrap_or(Verdict::Failed);
        cx.note(format!("{}: {}", verdict.name(), ended.reason.as_deref().unwrap_or_default()));
        let view = seen(&client, &args.id, &started.run.to_string(), verdict).await?;
        if args.output == Output::Json {
            cx.json(&view)?;
        } else {
            said(&view, cx)?;
        }
        Ok(ExitCode::from(verdict.exit_code()))
    })
}

/// Waits for the end of a run.
async fn ended(client: &Client, run: &str) -> anyhow::Result<Run> {
    let mut last: Option<String> = None;
    loop {
        let mut events = client.events(&format!("runs/{run}/events"), last.as_deref()).await.map_err(failed)?;
        // A stream that breaks is opened anew where it broke.
        while let Ok(Some(event)) = events.next().await {
            last = event.id;
        }
        let seen: Run = client.get(&format!("runs/{run}")).await.map_err(failed)?;
        if seen.verdict.is_some() {
            return Ok(seen);
        }
    }
}

/// The finding, as soon as it knows of the run, if the run says something about it.
async fn seen(client: &Client, id: &str, run: &str, verdict: Verdict) -> anyhow::Result<FindingView> {
    let clock = BootClock::new();
    let end = clock.now() + PATIENCE;
    loop {
        let view: FindingView = client.get(&at(id)).await.map_err(failed)?;
        let known = view.finding.runs.iter().any(|known| known.run == run);
        if known || !matches!(verdict, Verdict::Held | Verdict::Deviated) || clock.now() >= end {
            return Ok(view);
        }
        clock.sleep_until(clock.now() + LOOK_EVERY).await;
    }
}
