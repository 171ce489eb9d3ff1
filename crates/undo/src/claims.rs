//! What one injection at a time may hold, across all runs that share a state directory.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::FlockOperation;
use squall_model::{InjectionId, RunId};

use crate::armed::ArmError;
use crate::file::LedgerFile;
use crate::identity::boottime;
use crate::record::{ArmedRecord, LedgerView};
use crate::state_dir::StateDir;

/// The longest wait for another run that is arming.
const PATIENCE: Duration = Duration::from_secs(2);

/// The claims of all runs of a state directory, as one run sees them.
#[derive(Debug)]
pub(crate) struct Claims {
    state: StateDir,
    run: RunId,
    lock: File,
    /// Runs that are over: their ledgers never change again and need not be read again.
    over: HashSet<RunId>,
}

/// Nobody else arms while this lives.
pub(crate) struct ClaimsLock(File);

impl Drop for ClaimsLock {
    fn drop(&mut self) {
        // Cannot fail on an open descriptor; and were it not given back here, then when the process ends.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl Claims {
    pub(crate) fn new(state: StateDir, run: RunId) -> io::Result<Self> {
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(state.path().join("claims.lock"))?;
        Ok(Self { state, run, lock, over: HashSet::new() })
    }

    /// Refuses a claim that an entry of another run, or of another injection of this one, still holds. The lock has to live
    /// until the new entry is on disk.
    pub(crate) fn take(&mut self, armed: &ArmedRecord, own: &[ArmedRecord]) -> Result<Option<ClaimsLock>, ArmError> {
        if armed.claims.is_empty() {
            return Ok(None);
        }
        let failed = |error: io::Error| ArmError::Claims(error.to_string());
        let lock = self.lock().map_err(failed)?;
        let others = own.iter().filter(|other| other.injection != armed.injection);
        refuse(&armed.claims, &self.run, others.map(|other| (&other.claims, other.injection, &other.fault)))?;
        for run in self.state.runs().map_err(failed)? {
            if run == self.run || self.over.contains(&run) {
                continue;
            }
            let Some(view) = self.view(&run)? else { continue };
            let open = view.open().map(|entry| (&entry.armed.claims, entry.armed.injection, &entry.armed.fault));
            refuse(&armed.claims, &run, open)?;
            if view.closed.is_some() {
                self.over.insert(run);
            }
        }
        Ok(Some(lock))
    }

    /// The ledger of another run; `None` if it has none (yet): then it holds nothing, as the lock is ours.
    fn view(&self, run: &RunId) -> Result<Option<LedgerView>, ArmError> {
        let path = self.state.ledger(run);
        if !path.try_exists().unwrap_or(true) {
            return Ok(None);
        }
        LedgerFile::open_to_read(path).and_then(|file| file.read()).map(Some).map_err(|error| ArmError::Claims(error.to_string()))
    }

    fn lock(&self) -> io::Result<ClaimsLock> {
        let until = boottime() + PATIENCE;
        loop {
            match rustix::fs::flock(&self.lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(ClaimsLock(self.lock.try_clone()?)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if boottime() < until => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn refuse<'a>(
    wanted: &[String],
    run: &RunId,
    held: impl Iterator<Item = (&'a Vec<String>, InjectionId, &'a String)>,
) -> Result<(), ArmError> {
    for (claims, injection, fault) in held {
        if let Some(claim) = wanted.iter().find(|claim| claims.contains(claim)) {
            return Err(ArmError::Claimed { claim: claim.clone(), run: run.clone(), injection, fault: fault.clone() });
        }
    }
    Ok(())
}
