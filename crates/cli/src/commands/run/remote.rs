//! A run that a server drives, shown here as if it ran here.

use std::process::ExitCode;
use std::sync::Arc;

use squall_api::client::Client;
use squall_api::runs::{NewRun, Run, Stop};
use squall_engine::{Control, State};
use squall_model::{Event, Record};
use tokio::sync::{mpsc, watch};

use super::Args;
use crate::context::{CliError, Context, Output, Style, exit};
use crate::live;
use crate::remote::{Server, failed};
use crate::runner::Prepared;

/// Has the server run it, and follows it to its end. Ctrl-C stops the run there.
pub fn run(args: &Args, url: &str, prepared: &Prepared, mode: live::Mode, cx: &Context) -> anyhow::Result<ExitCode> {
    let client = Server { server: Some(url.to_owned()), ..Server::default() }.client()?;
    let new = NewRun { manifest: Some(prepared.text.clone()), seed: args.seed, from: args.from.clone(), ..NewRun::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let run = local.block_on(&runtime, follow(&client, &new, prepared, mode, cx))?;
    runtime.shutdown_background();
    if args.output == Output::Json {
        cx.json(&run)?;
    }
    let Some(verdict) = run.verdict else {
        return Err(CliError::failed(
            format!("run {} goes on without being watched", run.run),
            Some(format!("{url}/api/v1/runs/{}", run.run)),
        )
        .into());
    };
    if args.output == Output::Text {
        let style = match verdict.exit_code() {
            0 => Style::Green,
            1 | exit::FAILED => Style::Red,
            _ => Style::Yellow,
        };
        cx.result(format!("{}: {}", cx.style(style, verdict.name()), run.reason.as_deref().unwrap_or_default()))?;
        cx.note(format!("report: {}/api/v1/runs/{}/report", url.trim_end_matches('/'), run.run));
    }
    Ok(ExitCode::from(verdict.exit_code()))
}

async fn follow(client: &Client, new: &NewRun, prepared: &Prepared, mode: live::Mode, cx: &Context) -> anyhow::Result<Run> {
    let started: Run = client.post("runs", new).await.map_err(failed)?;
    cx.note(format!("run {} on {}", started.run, client.server()));
    let mut state = State::new(prepared.program.clone());
    let (view, states) = watch::channel(Arc::new(state.clone()));
    let (control, wishes) = mpsc::unbounded_channel();
    let (leave, mut left) = mpsc::unbounded_channel();
    tokio::task::spawn_local(super::interrupts(control.clone(), leave.clone()));
    tokio::task::spawn_local(pass_on(client.clone(), started.run.to_string(), wishes));
    let showing = tokio::task::spawn_local(live::show(mode, cx.colour, started.run.clone(), states, control, leave));
    let mut next = 0_u64;
    while state.verdict.is_none() {
        let after = next.checked_sub(1).map(|last| last.to_string());
        let mut events = client.events(&format!("runs/{}/events", started.run), after.as_deref()).await.map_err(failed)?;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                Some(()) = left.recv() => return client.get(&format!("runs/{}", started.run)).await.map_err(failed),
            };
            // A stream that breaks is opened anew where it broke; a server that is gone ends the attempt there.
            let Ok(Some(event)) = event else { break };
            let record: Record = serde_json::from_str(&event.data)?;
            state.step(record.at, &record.event);
            next = record.seq + 1;
            let ended = matches!(record.event, Event::Ended { .. });
            let _ = view.send(Arc::new(state.clone()));
            if ended {
                break;
            }
        }
    }
    drop(view);
    let _ = showing.await;
    client.get(&format!("runs/{}", started.run)).await.map_err(failed)
}

/// Tells the server what the person here wants.
async fn pass_on(client: Client, run: String, mut wishes: mpsc::UnboundedReceiver<Control>) {
    while let Some(wish) = wishes.recv().await {
        let told = match wish {
            Control::Stop(by) => client.post::<Run>(&format!("runs/{run}/stop"), &Stop { reason: Some(by) }).await,
            Control::Continue(_) => client.post::<Run>(&format!("runs/{run}/continue"), &serde_json::json!({})).await,
            Control::Reverted { .. } => continue,
        };
        // What the server did not hear, its journal does not tell: the view shows that the run goes on.
        drop(told);
    }
}
