//! How a process that was ended comes back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{InjectError, RevertError, Reverted};
use squall_model::Time;
use squall_sys::process::{ProcessFacts, ProcessId};
use squall_sys::relaunch::{Likeness, Snapshot};
use squall_undo::{Armed, boottime};

use super::{blocking, pause_between_looks};

/// Who brings a process back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Back {
    /// Whoever supervises it (systemd, a container runtime, a process manager). Squall waits until a process of the same
    /// program, arguments and user runs again, and reports when none comes.
    #[default]
    Supervisor,
    /// Squall starts it again, with the program, arguments, environment, directory, user, groups, limits, control groups and
    /// output files that it had; without its open files and sockets, and with no input.
    Relaunch,
    /// Nobody: there is no way back, and the step has to say `acceptIrreversible: true`.
    None,
}

/// How long a supervisor may take, by default: less than one try of a revert may.
pub fn default_within() -> Time {
    Time::from_secs(25)
}

/// After SIGKILL the kernel only has to clean up; with much memory that takes its time.
pub const DIES_WITHIN: Duration = Duration::from_secs(5);
/// How long a signal may take to show as pending, or as the beginning of the end.
const SHOWS_WITHIN: Duration = Duration::from_millis(100);
/// One that was started again and ends within this time was not brought back.
const LIVES_FOR: Duration = Duration::from_millis(50);
/// How often a process that ends at once is started.
const STARTS: usize = 3;

/// What is needed to see to it that a process is back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Comeback {
    /// The process that is ended.
    pub process: ProcessId,
    /// For people.
    pub label: String,
    /// Who brings it back.
    pub back: Back,
    /// How long a supervisor may take.
    pub within: Time,
    /// By what it is known again.
    pub likeness: Likeness,
    /// How it is started again; with `relaunch` alone, as it holds the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// How many processes were like it, itself and those that others than Squall had started. (One that another injection
    /// starts again does not stand for this one.)
    pub peers: usize,
    /// Mark of the injection, for the process that Squall starts.
    pub marker: String,
}

impl Comeback {
    /// Of a process that runs. Changes nothing.
    pub async fn capture(facts: &ProcessFacts, back: Back, within: Time, marker: &str) -> Result<Self, InjectError> {
        let (id, label, marker) = (facts.id, facts.label(), marker.to_owned());
        let captured = blocking(move || {
            let snapshot = if back == Back::Relaunch { Some(Snapshot::take(id)?) } else { None };
            let likeness = snapshot.as_ref().map_or_else(|| Likeness::of(id), |s| Ok(s.likeness().clone()))?;
            let peers = 1 + likeness.started_by_others()?.iter().filter(|other| **other != id).count();
            Ok::<_, std::io::Error>(Self { process: id, label, back, within, likeness, snapshot, peers, marker })
        });
        let hint = if back == Back::Relaunch { "; with `back: supervisor` whoever supervises it brings it back" } else { "" };
        match captured.await.map_err(InjectError::Failed)? {
            Ok(comeback) => Ok(comeback),
            Err(_) if id.state().is_none() => Err(InjectError::TargetGone(facts.label())),
            Err(error) => {
                Err(InjectError::Failed(format!("{} could not be brought back, so it was not touched: {error}{hint}", facts.label())))
            }
        }
    }

    /// The process that Squall has started in place of the one that was ended, while it runs.
    pub fn relaunched(&self) -> Option<ProcessId> {
        self.snapshot.as_ref()?.relaunched(&self.marker).ok().flatten()
    }

    /// How many processes like it run that others than Squall have started.
    pub async fn running(&self) -> Result<usize, String> {
        let likeness = self.likeness.clone();
        blocking(move || likeness.started_by_others()).await?.map(|found| found.len()).map_err(|e| e.to_string())
    }

    /// How long this signal may yet take to end the process, if the process has no handler for it: it may not even have been
    /// sent, when the run was cut off.
    pub fn ends_within(&self, signal: Signal) -> Duration {
        if self.process.state().is_none() || self.process.awaits(signal) { DIES_WITHIN } else { SHOWS_WITHIN }
    }

    /// Sees to it that the process is back. What was sent to it may take effect for this long yet.
    pub async fn ensure(&self, armed: &Armed, takes_effect_within: Duration) -> Result<Reverted, RevertError> {
        if !self.wait_gone(takes_effect_within).await.map_err(RevertError)? {
            return Ok(Reverted { how: format!("{} still runs, nothing to do", self.label) });
        }
        match (self.back, &self.snapshot) {
            (Back::None, _) => Ok(Reverted { how: format!("{} has ended, as the step accepts", self.label) }),
            (Back::Relaunch, Some(snapshot)) => self.relaunch(snapshot, armed).await,
            _ => self.wait_for_supervisor().await,
        }
    }

    async fn relaunch(&self, snapshot: &Snapshot, armed: &Armed) -> Result<Reverted, RevertError> {
        if self.relaunched().is_none() && self.running().await.map_err(RevertError)? >= self.peers {
            return Ok(Reverted { how: format!("somebody else has started {} again", self.label) });
        }
        for _ in 0..STARTS {
            // On this thread: the token cannot leave it, and starting a process takes some milliseconds.
            let started = snapshot
                .relaunch(armed, &self.marker)
                .map_err(|e| RevertError(format!("{} could not be started again: {e}", self.label)))?;
            let Some(started) = started else { continue };
            if !wait_gone(started, LIVES_FOR).await.map_err(RevertError)? {
                return Ok(Reverted { how: format!("started {} again as process {}", self.label, started.pid) });
            }
        }
        let program = self.likeness.program().display();
        Err(RevertError(format!("{} was started again, and ended at once, {STARTS} times: see what {program} says", self.label)))
    }

    async fn wait_for_supervisor(&self) -> Result<Reverted, RevertError> {
        let end = self.patience_ends();
        loop {
            let now = self.running().await.map_err(RevertError)?;
            if now >= self.peers {
                return Ok(Reverted { how: format!("{} was brought back by its supervisor", self.label) });
            }
            if boottime() >= end {
                let program = self.likeness.program().display();
                return Err(RevertError(format!(
                    "{} was not brought back within {}: {now} of {} such processes of {program} run; start it, or write `back: relaunch`",
                    self.label, self.within, self.peers
                )));
            }
            pause_between_looks().await;
        }
    }

    /// When this process stops waiting for the supervisor. A revert that failed is tried again several times: then one look
    /// is enough.
    fn patience_ends(&self) -> Duration {
        static ENDS: Mutex<BTreeMap<String, Duration>> = Mutex::new(BTreeMap::new());
        let key = format!("{} {} {}", self.marker, self.process.pid, self.process.start_ticks);
        *ENDS.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert_with(|| boottime() + self.within.std())
    }

    /// Waits until the process has ended, at most so long.
    pub async fn wait_gone(&self, within: Duration) -> Result<bool, String> {
        wait_gone(self.process, within).await
    }
}

/// Waits until a process has ended, at most so long.
pub async fn wait_gone(process: ProcessId, within: Duration) -> Result<bool, String> {
    blocking(move || process.wait_gone(within)).await?.map_err(|e| e.to_string())
}
