//! The red button of a server.

use std::process::ExitCode;

use squall_api::runs::{EmergencyStop, Run, Stop, Stopped};
use squall_model::RunId;

use super::who;
use crate::context::{Context, Output, exit};
use crate::remote::{Server, block_on, failed};

/// Stops one run there, or everything everywhere.
pub fn stop(url: &str, run: Option<&RunId>, block: bool, unblock: bool, output: Output, cx: &Context) -> anyhow::Result<ExitCode> {
    let client = Server { server: Some(url.to_owned()), ..Server::default() }.client()?;
    let reason = Some(format!("squall stop by {}", who()));
    if unblock {
        block_on(async { client.delete("stop").await.map_err(failed) })?;
        cx.say("the stop is lifted; runs can start again")?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(run) = run {
        let asked: Run = block_on(async { client.post(&format!("runs/{run}/stop"), &Stop { reason }).await.map_err(failed) })?;
        cx.result(format!("{}  asked to stop", asked.run))?;
        return Ok(ExitCode::SUCCESS);
    }
    let stopped: Stopped = block_on(async { client.post("stop", &EmergencyStop { reason, block }).await.map_err(failed) })?;
    if output == Output::Json {
        cx.json(&stopped)?;
    } else {
        tell(&stopped, cx)?;
    }
    let clean = stopped.hosts.iter().all(|host| host.failed.is_empty());
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn tell(stopped: &Stopped, cx: &Context) -> anyhow::Result<()> {
    for host in &stopped.hosts {
        for what in &host.reverted {
            cx.result(format!("{}  {what}", host.host))?;
        }
        for what in &host.failed {
            cx.result(format!("{}  not put back: {what}", host.host))?;
        }
    }
    for host in &stopped.unreached {
        cx.result(format!("{host}  not reached: it puts everything back when its leases end"))?;
    }
    cx.say(format!("{} runs stopped, {} hosts asked, {} ms", stopped.runs.len(), stopped.hosts.len(), stopped.took_ms))
}
