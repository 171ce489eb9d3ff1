//! Runs whose server is gone. Their agents revert by themselves when the lease ends; here the journal learns of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use squall_api::link::DEFAULT_LEASE;
use squall_engine::{Program, State};
use squall_model::{Event, InjectionId, Record, RevertedBy, RunId, Verdict};
use squall_store::{Fence, Filter, LeaseError};
use tokio::task::JoinSet;

use super::remote::RemoteUndo;
use super::{KEEP_EVERY, ONCE, RUN_LEASE, Runs, STOP, lease_of, wishes};
use crate::ApiError;

/// Records that are read at a time.
const PAGE: usize = 1000;
/// Injections of one run that are put back at the same time.
const AT_ONCE: usize = 64;
/// How long a host may take to close a run.
const CLOSE: Duration = Duration::from_secs(10);

/// Abandoned runs that are being ended.
#[derive(Default)]
struct TakeOvers {
    runs: BTreeSet<RunId>,
    tasks: JoinSet<RunId>,
}

impl TakeOvers {
    /// Ready when one is over. Never, where there is none.
    async fn one_is_over(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(run)) => _ = self.runs.remove(&run),
            // One that failed altogether is not known by name: all that go on are still fenced by their leases.
            Some(Err(_)) if self.tasks.is_empty() => self.runs.clear(),
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }
}

impl Runs {
    /// Renews leases, takes over what is abandoned, and does what other servers were asked. Runs until it is dropped.
    pub async fn keep(self) {
        let mut changes = self.0.db.watch();
        let mut taken = TakeOvers::default();
        loop {
            self.renew().await;
            if let Err(error) = self.take_over_abandoned(&mut taken).await {
                tracing::warn!(error = %error.0, "abandoned runs could not be looked for");
            }
            self.look_at_wishes().await;
            let next = self.0.kinds.clock.now() + KEEP_EVERY;
            loop {
                tokio::select! {
                    () = self.0.kinds.clock.sleep_until(next) => break,
                    () = taken.one_is_over() => {}
                    change = changes.next() => match change {
                        Some(squall_store::Change::Document { kind, id }) if kind == STOP.0 => self.obey(&id).await,
                        Some(squall_store::Change::Document { kind, id }) if kind == wishes::WISH => self.look_at_wish(&id).await,
                        Some(squall_store::Change::Missed) => {
                            self.obey(STOP.1).await;
                            self.look_at_wishes().await;
                        }
                        Some(_) => {}
                        None => break self.0.kinds.clock.sleep_until(next).await,
                    }
                }
            }
        }
    }

    /// Another server, or this one, was told to stop everything.
    async fn obey(&self, id: &str) {
        let Ok(Some(stop)) = self.0.db.get(STOP.0, id).await else { return };
        let by = stop.body["by"].as_str().unwrap_or("somebody").to_owned();
        let runs: Vec<RunId> = self.live().keys().cloned().collect();
        for run in runs {
            // One that began after a stop that did not stay is not meant; it has its own right to be.
            let before = self.started_at(&run).await.is_none_or(|started| started <= stop.updated);
            if id != ONCE || before {
                self.stop(&run, &by);
            }
        }
    }

    async fn started_at(&self, run: &RunId) -> Option<Timestamp> {
        self.0.db.run(run).await.ok()?.summary.started.parse().ok()
    }

    /// Every run without an end whose lease nobody holds any more. Ending them may take as long as their hosts are away, and the leases of
    /// this server's own runs do not wait for that.
    async fn take_over_abandoned(&self, taken: &mut TakeOvers) -> Result<(), ApiError> {
        let filter = Filter { unfinished: true, ..Filter::default() };
        for run in self.0.db.runs(&filter, None).await? {
            // What `squall run` left in the same database is for `squall recover`.
            let lease = run.extra["lease"].as_str().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_LEASE);
            let (id, ours) = (run.summary.run, run.extra.get("server").is_some());
            if !ours || self.live().contains_key(&id) || taken.runs.contains(&id) {
                continue;
            }
            if let Some(fence) = self.0.db.acquire(&lease_of(&id), &self.0.server, RUN_LEASE).await? {
                taken.runs.insert(id.clone());
                taken.tasks.spawn(self.clone().take_over(id, fence, lease.std()));
            }
        }
        Ok(())
    }

    /// Ends a run while its lease is kept.
    async fn take_over(self, run: RunId, fence: Fence, lease: Duration) -> RunId {
        let clock = &self.0.kinds.clock;
        let kept = async {
            loop {
                clock.sleep_until(clock.now() + KEEP_EVERY).await;
                if let Err(error @ LeaseError::Lost(_)) = self.0.db.renew(&fence, RUN_LEASE).await {
                    return error.to_string();
                }
            }
        };
        tokio::select! {
            ended = self.end_abandoned(&run, &fence, lease) => {
                if let Err(error) = ended {
                    tracing::warn!(%run, error = %error.0, "an abandoned run is not ended yet");
                }
                if let Err(error) = self.0.db.release(&fence).await {
                    tracing::warn!(%run, %error, "the run's lease lapses by itself");
                }
            }
            error = kept => tracing::warn!(%run, error, "another server ends the run"),
        }
        run
    }

    /// Has put back what is in force, and writes the end.
    async fn end_abandoned(&self, run: &RunId, fence: &Fence, lease: Duration) -> Result<(), ApiError> {
        let records = self.records(run).await?;
        let Some(Event::Started(started)) = records.first().map(|record| &record.event) else { return Ok(()) };
        if records.iter().any(|record| matches!(record.event, Event::Ended { .. })) {
            // Its server has ended it just before its lease was free.
            return Ok(());
        }
        let at = records.last().map_or(0, |last| last.at);
        let mut writer = Writer { runs: self, run, fence, seq: records.len() as u64, at };
        let text = format!("server {} took over, as {} was gone", self.0.server, started.host);
        tracing::warn!(%run, "{text}");
        writer.write(Event::Noted { text: text.clone() }).await?;
        let revert = |(injection, host): (InjectionId, String)| async move {
            let undo = RemoteUndo { host, run: run.clone(), injection };
            (injection, undo.revert(&self.0.fleet, lease).await)
        };
        let mut reverts = futures_util::stream::iter(outstanding(&records)).map(revert).buffer_unordered(AT_ONCE);
        let mut stuck = Vec::new();
        while let Some((injection, reverted)) = reverts.next().await {
            writer
                .write(match reverted {
                    Ok(how) => Event::Reverted { injection, by: RevertedBy::Recover, how },
                    Err(error) => {
                        stuck.push(format!("injection {injection}: {error}"));
                        Event::RevertFailed { injection, error }
                    }
                })
                .await?;
        }
        drop(reverts);
        let hosts: BTreeSet<String> = touched(&records).map(|(_, host)| host).collect();
        self.close(run, hosts, CLOSE).await;
        let (verdict, reason) = if stuck.is_empty() {
            (Verdict::Aborted, format!("{text}; everything was put back"))
        } else {
            (Verdict::Failed, format!("{text}; not all could be put back: {}", stuck.join("; ")))
        };
        writer.write(Event::Ended { verdict, reason }).await?;
        self.over(run.clone(), started.experiment.clone(), verdict, None).await;
        let _ = std::fs::remove_dir_all(self.0.state.run_dir(run));
        Ok(())
    }

    /// Every record of a run.
    pub async fn records(&self, run: &RunId) -> Result<Vec<Record>, ApiError> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let page = self.0.db.records_from(run, records.len() as u64, PAGE).await?;
            let last = page.len() < PAGE;
            records.extend(page);
            if last {
                return Ok(records);
            }
        }
    }

    /// A run's program and journal, for evidence and reports.
    pub async fn evidence(&self, run: &RunId) -> Result<(Arc<Program>, Vec<Record>), ApiError> {
        let records = self.records(run).await?;
        let Some(Event::Started(started)) = records.first().map(|record| &record.event) else {
            return Err(squall_api::Problem::unavailable(format!("run {run} has not begun")).hint("try again in a moment").into());
        };
        let experiment = super::check(&started.manifest, &self.0.kinds.registry)?;
        Ok((Arc::new(super::compiled(&experiment, &self.0.kinds.registry)?), records))
    }

    /// The state of any run, as far as its journal tells.
    pub async fn state(&self, run: &RunId) -> Result<State, ApiError> {
        let (program, records) = self.evidence(run).await?;
        Ok(State::replay(program, &records))
    }
}

/// Appends to the journal of a run that nobody drives.
struct Writer<'a> {
    runs: &'a Runs,
    run: &'a RunId,
    fence: &'a Fence,
    seq: u64,
    at: u64,
}

impl Writer<'_> {
    async fn write(&mut self, event: Event) -> Result<(), ApiError> {
        // Time stands still in a run that nobody drives: its clock ended with its server.
        let record = Record { seq: self.seq, at: self.at, event };
        self.runs.0.db.append(self.run, &[record], true, Some(self.fence)).await?;
        self.seq += 1;
        Ok(())
    }
}

/// Injections that were begun, with the host of each: the id of a target on a host is `host/id`.
fn touched(records: &[Record]) -> impl Iterator<Item = (InjectionId, String)> {
    records
        .iter()
        .filter_map(|record| if let Event::Selected { targets, .. } = &record.event { Some(targets) } else { None })
        .flatten()
        .filter_map(|target| {
            let (host, _) = target.id.split_once('/')?;
            Some((target.injection, host.to_owned()))
        })
}

/// Those of them that are not known to be back.
fn outstanding(records: &[Record]) -> Vec<(InjectionId, String)> {
    let back = |injection: InjectionId| {
        records.iter().any(|record| matches!(&record.event, Event::Reverted { injection: it, .. } if *it == injection))
    };
    touched(records).filter(|(injection, _)| !back(*injection)).collect()
}
