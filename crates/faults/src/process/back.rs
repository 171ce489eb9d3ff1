//! How a process that was ended comes back.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{InjectError, RevertError, Reverted};
use squall_model::Time;
use squall_sys::process::{ProcessFacts, ProcessId};
use squall_sys::relaunch::{Snapshot, find_relaunched};
use squall_undo::{Armed, boottime};

use super::{blocking, pause_between_looks};

/// Who brings a process back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Back {
    /// Whoever supervises it (systemd, a container runtime, a process manager). Squall waits for it and reports when it does
    /// not come.
    #[default]
    Supervisor,
    /// Squall starts it again, with the program, arguments, environment, directory, user and output files that it had.
    Relaunch,
    /// Nobody: there is no way back, and the step has to say `acceptIrreversible: true`.
    None,
}

/// How long a supervisor may take, by default.
pub fn default_within() -> Time {
    Time::from_secs(30)
}

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
    /// How it was started.
    pub snapshot: Snapshot,
    /// How many processes were the same (program, arguments, user), itself included.
    pub peers: usize,
    /// Mark of the injection, for the process that Squall starts.
    pub marker: String,
}

impl Comeback {
    /// Of a process that runs.
    pub async fn capture(facts: &ProcessFacts, back: Back, within: Time, marker: &str) -> Result<Self, InjectError> {
        let (id, label, marker) = (facts.id, facts.label(), marker.to_owned());
        let gone = label.clone();
        let captured = blocking(move || {
            let snapshot = Snapshot::take(id)?;
            let peers = peers(&snapshot)?;
            Ok::<_, std::io::Error>(Self { process: id, label, back, within, snapshot, peers, marker })
        });
        match captured.await.map_err(InjectError::Failed)? {
            Ok(comeback) => Ok(comeback),
            Err(error) if id.state().is_none() => Err(InjectError::TargetGone(format!("{gone} ({error})"))),
            Err(error) => Err(InjectError::Failed(format!("{gone} could not be captured, so it was not touched: {error}"))),
        }
    }

    /// The process that stands for the one that was ended, if it is back.
    pub fn replaced_by(&self) -> Option<ProcessId> {
        find_relaunched(&self.marker).ok().flatten()
    }

    /// Sees to it that the process is back.
    pub async fn ensure(&self, armed: &Armed) -> Result<Reverted, RevertError> {
        if self.process.state().is_some() {
            return Ok(Reverted { how: format!("{} still runs, nothing to do", self.label) });
        }
        match self.back {
            Back::None => Ok(Reverted { how: format!("{} has ended, as the step accepts", self.label) }),
            Back::Relaunch => {
                let (snapshot, marker) = (self.snapshot.clone(), self.marker.clone());
                // On this thread: the token cannot leave it, and starting a process takes about a millisecond.
                let started = snapshot
                    .relaunch(armed, &marker)
                    .map_err(|e| RevertError(format!("{} could not be started again: {e}", self.label)))?;
                Ok(Reverted { how: format!("started {} again as process {}", self.label, started.pid) })
            }
            Back::Supervisor => self.wait_for_supervisor().await,
        }
    }

    async fn wait_for_supervisor(&self) -> Result<Reverted, RevertError> {
        let end = boottime() + self.within.std();
        loop {
            let snapshot = self.snapshot.clone();
            let now = blocking(move || peers(&snapshot)).await.map_err(RevertError)?.map_err(|e| RevertError(e.to_string()))?;
            if now >= self.peers {
                return Ok(Reverted { how: format!("{} was brought back by its supervisor", self.label) });
            }
            if boottime() >= end {
                let program = self.snapshot.program.display();
                return Err(RevertError(format!(
                    "{} was not brought back within {}: {now} of {} processes of {program} run; start it, or write `back: relaunch`",
                    self.label, self.within, self.peers
                )));
            }
            pause_between_looks().await;
        }
    }

    /// Waits until the process has ended, at most so long.
    pub async fn wait_gone(&self, within: Duration) -> Result<bool, String> {
        let process = self.process;
        blocking(move || process.wait_gone(within)).await?.map_err(|e| e.to_string())
    }
}

fn peers(snapshot: &Snapshot) -> std::io::Result<usize> {
    Ok(ProcessFacts::all()?.iter().filter(|p| snapshot.same(p)).count())
}
