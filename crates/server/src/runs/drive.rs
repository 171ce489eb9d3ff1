//! One run, from its start to its end.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use squall_api::link::Request;
use squall_engine::{Control, Gate, HostFacts, Outcome, Program, RegistryUndoer, Setup, State, drive};
use squall_model::{JOURNAL_VERSION, RunId, Started, Time, Verdict};
use squall_store::Fence;
use squall_undo::Ledger;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::journal::DatabaseJournal;
use super::remote::{Remote, RemoteUndoer};
use super::{Ended, Live, RUN_LEASE, RunRequest, Runs, compiled};
use crate::ApiError;
use crate::fleet::FleetEvent;

/// How long an agent may take to close a run.
const CLOSE: Duration = Duration::from_secs(30);

impl Runs {
    /// Starts the thread of a run, and the task that sees to its end.
    pub(super) fn drive(&self, run: &RunId, request: RunRequest, fence: Fence, gate: Arc<dyn Gate>) -> Result<(), ApiError> {
        let inner = &self.0;
        let mut remote = self.remote(run, &request);
        let program = Arc::new(compiled(&request.experiment, &inner.kinds.registry)?);
        remote.longest = Time::from(program.longest().std() + remote.longest.std());
        let remote = Arc::new(remote);
        let registry = Arc::new(remote.registry(&inner.kinds.registry));
        let ledger = Ledger::create(&inner.state, run).map_err(|e| squall_api::Problem::unavailable(format!("the undo ledger: {e}")))?;
        let (control, wishes) = mpsc::unbounded_channel();
        let (view, states) = watch::channel(Arc::new(State::new(program.clone())));
        let (written, followed) = watch::channel(0);
        let live = Live { control: control.clone(), view: states, written: followed, fence: fence.clone() };
        self.live().insert(run.clone(), live);
        let started = self.started(run, &request);
        let setup = Setup {
            gate,
            undoer: Arc::new(RemoteUndoer {
                fleet: inner.fleet.clone(),
                lease: request.lease.std(),
                local: RegistryUndoer(inner.kinds.registry.clone()),
            }),
            journal: Box::new(DatabaseJournal {
                db: inner.db.clone(),
                server: Handle::current(),
                fence: fence.clone(),
                extra: serde_json::json!({ "server": inner.server, "lease": request.lease, "cause": request.cause }),
                written,
                beginning: None,
            }),
            clock: inner.kinds.clock.clone(),
            traffic: (inner.kinds.traffic)(),
            rollback: inner.kinds.rollback,
            directory: inner.state.run_dir(run),
            host: HostFacts::default(),
            ledger: Arc::new(ledger),
            watchdog: None,
            view: Some(view),
            control: wishes,
            halt_after: None,
            program: program.clone(),
            registry,
            started,
        };
        let (ended, end) = oneshot::channel();
        let spawned = std::thread::Builder::new().name(run.to_string()).spawn(move || {
            // The receiver waits for as long as the server runs.
            let _ = ended.send(on_this_thread(setup));
        });
        if let Err(error) = spawned {
            self.live().remove(run);
            inner.fleet.leave(run);
            return Err(squall_api::Problem::unavailable(format!("no thread for the run: {error}")).into());
        }
        tokio::spawn(self.clone().see_to_the_end(run.clone(), program, remote, control, fence, end));
        Ok(())
    }

    fn started(&self, run: &RunId, request: &RunRequest) -> Started {
        Started {
            version: JOURNAL_VERSION,
            run: run.clone(),
            experiment: request.experiment.metadata.name.clone(),
            manifest: request.text.clone(),
            seed: request.seed,
            wall: self.0.wall.now().to_string(),
            host: self.0.server.clone(),
            user: request.by.clone(),
            squall: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Tells the run what agents did by themselves; after its end has them close it, and forgets it.
    async fn see_to_the_end(
        self,
        run: RunId,
        program: Arc<Program>,
        remote: Arc<Remote>,
        control: mpsc::UnboundedSender<Control>,
        fence: Fence,
        end: oneshot::Receiver<Result<Outcome, String>>,
    ) {
        let mut told = self.0.fleet.events();
        let mut end = end.fuse();
        let outcome = loop {
            tokio::select! {
                outcome = &mut end => break outcome,
                event = told.recv() => {
                    if let Ok(FleetEvent::Reverted { host, run: of, injection, by, how }) = event
                        && of == run
                    {
                        let _ = control.send(Control::Reverted { injection, by, how: format!("{host}: {how}") });
                    }
                }
            }
        };
        let hosts: Vec<String> = remote.touched.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        self.close(&run, hosts, CLOSE).await;
        self.0.fleet.leave(&run);
        self.live().remove(&run);
        if let Err(error) = std::fs::remove_dir_all(self.0.state.run_dir(&run)) {
            tracing::warn!(%run, %error, "the run's directory stays");
        }
        if let Err(error) = self.0.db.release(&fence).await {
            tracing::warn!(%run, %error, "the run's lease lapses by itself");
        }
        let (verdict, state) = match outcome {
            Ok(Ok(outcome)) => (outcome.verdict, Some(outcome.state)),
            Ok(Err(error)) => {
                tracing::error!(%run, error, "the run failed");
                (Verdict::Failed, None)
            }
            Err(_) => (Verdict::Failed, None),
        };
        self.over(run, program.experiment.metadata.name.clone(), verdict, state).await;
    }

    /// Has hosts close a run. One that cannot be reached closes it by itself, as no beat names it any more.
    pub(super) async fn close(&self, run: &RunId, hosts: impl IntoIterator<Item = String>, within: Duration) {
        let close = |host: String| async move {
            if let Err(error) = self.0.fleet.call(&host, Request::Close { run: run.clone() }, within).await {
                tracing::info!(%run, %host, %error, "not closed by the server");
            }
        };
        futures_util::future::join_all(hosts.into_iter().map(close)).await;
    }

    /// Says that a run is over. A state that nobody has is read from the journal.
    pub(super) async fn over(&self, run: RunId, experiment: String, verdict: Verdict, state: Option<Arc<State>>) {
        let state = match state {
            Some(state) => Some(state),
            None => match self.state(&run).await {
                Ok(state) => Some(Arc::new(state)),
                Err(error) => {
                    tracing::warn!(%run, error = %error.0, "what the run did cannot be read");
                    None
                }
            },
        };
        // Nobody may be listening.
        let _ = self.0.ends.send(Ended { run, experiment, verdict, state });
    }

    /// Renews the leases of this server's runs; one that was lost is stopped.
    pub(super) async fn renew(&self) {
        let fences: Vec<(RunId, Fence)> = self.live().iter().map(|(run, live)| (run.clone(), live.fence.clone())).collect();
        for (run, fence) in fences {
            if let Err(error) = self.0.db.renew(&fence, RUN_LEASE).await {
                tracing::warn!(%run, %error, "the run's lease was not renewed");
                if matches!(error, squall_store::LeaseError::Lost(_)) {
                    self.stop(&run, "another server, which has taken over");
                }
            }
        }
    }
}

fn on_this_thread(setup: Setup) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let driven = std::panic::AssertUnwindSafe(drive(setup)).catch_unwind();
    let outcome = runtime.block_on(driven);
    // What hangs in a probe must not keep the thread.
    runtime.shutdown_background();
    outcome.map_err(|_| "the engine failed".to_owned())?.map_err(|e| e.to_string())
}
