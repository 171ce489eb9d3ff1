//! Traces of runs, for whoever has a collector of OpenTelemetry.

use squall_model::RunId;
use squall_telemetry::Collector;

use crate::context::{CliError, Context};
use crate::past::Past;

/// The collector that the environment names. One that cannot be used is an error before anything is begun.
pub fn collector() -> anyhow::Result<Option<Collector>> {
    let hint = "write it like `http://127.0.0.1:4318`, or unset it".to_owned();
    Ok(Collector::from_env().map_err(|error| CliError::usage(error.to_string(), hint))?)
}

/// Sends the trace of a run that is over. One that is not taken is said, and changes nothing.
pub fn send(collector: &Collector, run: &RunId, cx: &Context) -> anyhow::Result<()> {
    let (report, _) = Past::open(cx)?.report(run)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(collector.send(&report)) {
        Ok(()) => cx.note(format!("trace: {}", squall_telemetry::trace_id(run))),
        Err(error) => cx.note(error.to_string()),
    }
    Ok(())
}
