//! Runs of other processes on this host: `squall run` beside the agent. The red button is for them, too.

use std::time::Duration;

use rustix::process::Signal;
use squall_engine::Clock;
use squall_model::{RevertedBy, RunId};
use squall_undo::{Ledger, ProcessIdentity, StateDir, Undoer, engine_alive, revert_outstanding};

/// How long another process may take to put everything back by itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long its watchdog may take once it is dead.
const WATCHDOG_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Stops the runs of every other process that shares the state directory: asks it, then kills it, then reverts in its place.
pub(super) async fn stop(state: &StateDir, undoer: &dyn Undoer, clock: &dyn Clock, by: &str) -> (Vec<String>, Vec<String>) {
    let own = ProcessIdentity::own().ok();
    let going: Vec<(RunId, ProcessIdentity)> = state
        .runs()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|run| {
            let view = Ledger::read(&state.ledger(&run)).ok()?;
            let engine = view.header.as_ref().map(|header| header.engine.clone())?;
            let going = view.closed.is_none() && Some(&engine) != own.as_ref() && engine_alive(&view).unwrap_or(false);
            going.then_some((run, engine))
        })
        .collect();
    for (run, engine) in &going {
        // It looks for who asks when the signal comes.
        let _ = std::fs::write(state.run_dir(run).join("stop"), by);
        let _ = engine.signal(Signal::TERM);
    }
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (run, engine) in going {
        match stopped(state, &run, &engine, undoer, clock).await {
            Ok(how) => done.push(format!("run {run} of another process: {how}")),
            Err(error) => failed.push(format!("run {run} of another process: {error}")),
        }
    }
    (done, failed)
}

async fn stopped(
    state: &StateDir,
    run: &RunId,
    engine: &ProcessIdentity,
    undoer: &dyn Undoer,
    clock: &dyn Clock,
) -> Result<String, String> {
    if closed(state, run, clock, PATIENCE).await {
        return Ok("stopped, and everything is put back".into());
    }
    // Only dead it cannot break anything more.
    engine.signal(Signal::KILL).map_err(|error| error.to_string())?;
    if closed(state, run, clock, WATCHDOG_PATIENCE).await {
        return Ok("killed; its watchdog has put everything back".into());
    }
    let outcomes = revert_outstanding(&state.run_dir(run), undoer, RevertedBy::Agent).await.map_err(|error| error.to_string())?;
    let failed: Vec<String> = outcomes.iter().filter_map(|one| Some(format!("{}: {}", one.fault, one.result.as_ref().err()?))).collect();
    if failed.is_empty() { Ok("killed; everything is put back".into()) } else { Err(failed.join("; ")) }
}

async fn closed(state: &StateDir, run: &RunId, clock: &dyn Clock, patience: Duration) -> bool {
    let until = clock.now() + patience;
    loop {
        if Ledger::read(&state.ledger(run)).is_ok_and(|view| view.closed.is_some()) {
            return true;
        }
        if clock.now() >= until {
            return false;
        }
        clock.sleep_until(clock.now() + LOOK_EVERY).await;
    }
}
