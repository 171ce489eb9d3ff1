//! Runs of this server.

use std::time::Duration;

use squall_api::Problem;
use squall_engine::BoxFuture;
use squall_model::RunId;
use squall_schedule::Candidate;
use squall_store::Fence;

use super::{Began, Launcher, Pending};
use crate::ApiError;
use crate::fleet::Fleet;
use crate::runs::{Runs, Wish};

/// How long the first event of a run is waited for.
const FIRST_EVENT: Duration = Duration::from_secs(10);

/// Starts runs of this server.
pub struct RunsLauncher {
    runs: Runs,
    fleet: Fleet,
}

impl RunsLauncher {
    /// Over the server's runs and hosts.
    pub fn new(runs: Runs, fleet: Fleet) -> Self {
        Self { runs, fleet }
    }
}

impl Launcher for RunsLauncher {
    fn new_run(&self) -> RunId {
        self.runs.new_id()
    }

    fn start<'a>(&'a self, run: &'a RunId, fence: Fence, wanted: &'a Pending) -> BoxFuture<'a, Result<Began, ApiError>> {
        Box::pin(async move {
            if !self.fleet.has_settled() {
                // Hosts that are missing now may be on their way.
                return Err(Problem::unavailable("this server has just started, and not all hosts are linked again").into());
            }
            let request = self.runs.read(&wanted.new, wanted.by.as_str(), wanted.cause.clone()).await?;
            self.runs.start_as(run, fence, request).await?;
            let Some(mut written) = self.runs.written(run) else { return Ok(Began::NotYet) };
            let first = tokio::time::timeout(FIRST_EVENT, written.wait_for(|n| *n > 0)).await;
            Ok(if matches!(first, Ok(Ok(_))) { Began::Yes } else { Began::NotYet })
        })
    }

    fn stop<'a>(&'a self, run: &'a RunId, by: &'a str) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.runs.ask(run, Wish::Stop, by))
    }

    fn hosts(&self) -> Option<Vec<Candidate>> {
        if !self.fleet.has_settled() {
            return None;
        }
        let candidate = |host: std::sync::Arc<crate::fleet::LiveHost>| Candidate { id: host.name.clone(), labels: host.labels.clone() };
        Some(self.fleet.connected().into_iter().map(candidate).collect())
    }
}
