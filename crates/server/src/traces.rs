//! One trace of OpenTelemetry for each run that ends on this server.

use squall_telemetry::Collector;

use crate::App;
use crate::runs::Ended;

/// Sends the trace of each run to the collector, when it is over. Runs until it is dropped.
pub async fn export_traces(app: App, collector: Collector) {
    let mut ends = app.runs.ends();
    while let Some(Ended { run, .. }) = ends.next("a trace").await {
        let (app, collector) = (app.clone(), collector.clone());
        // In a task of its own: a collector that is slow does not hold up the next.
        tokio::spawn(async move {
            let Ok((program, records)) = app.runs.evidence(&run).await else { return };
            let Some(report) = squall_report::build(&program, app.runs.registry(), &records) else { return };
            if let Err(error) = collector.send(&report).await {
                tracing::warn!(%run, %error, "the run has no trace");
            }
        });
    }
}
