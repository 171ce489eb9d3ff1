//! Reverts what runs left behind that are gone together with their watchdogs: from their ledgers, and by their marks.

use std::io::{self, Read};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use squall_model::{RevertedBy, RunId};

use crate::file::{LedgerError, LedgerFile, pause};
use crate::identity::boottime;
use crate::ledger::{Ledger, Undoer};
use crate::outstanding::{Outcome, revert_outstanding};
use crate::record::LedgerView;
use crate::state_dir::StateDir;

/// The longest wait for an orphan's end after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// A run that was looked at because its engine is gone.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveredRun {
    /// The run.
    pub run: RunId,
    /// What became of each entry that was open, last armed first.
    pub outcomes: Vec<Outcome>,
    /// Processes with the run's mark that were found alive.
    pub orphans: Vec<Orphan>,
    /// The ledger cannot be read or written.
    pub error: Option<String>,
}

impl RecoveredRun {
    /// Whether nothing of the run remains.
    pub fn clean(&self) -> bool {
        self.error.is_none() && self.outcomes.iter().all(|outcome| outcome.result.is_ok()) && self.orphans.iter().all(|orphan| orphan.gone)
    }

    /// Whether there was anything to do or to tell.
    pub fn touched(&self) -> bool {
        self.error.is_some() || !self.outcomes.is_empty() || !self.orphans.is_empty()
    }

    /// What was done and what was not, in one line for people.
    pub fn summary(&self) -> String {
        let entries = self.outcomes.iter().map(|outcome| match &outcome.result {
            Ok(how) => format!("{} on {}: {how}", outcome.fault, outcome.target),
            Err(error) => format!("{} on {} could not be reverted: {error}", outcome.fault, outcome.target),
        });
        let orphans = self.orphans.iter().map(|orphan| {
            let done = if orphan.gone { "killed" } else { "could not kill" };
            format!("{done} process {} ({})", orphan.pid, orphan.marker)
        });
        let mut parts: Vec<String> = self.error.iter().cloned().chain(entries).chain(orphans).collect();
        if parts.is_empty() {
            parts.push("nothing was left behind".to_owned());
        }
        parts.join("; ")
    }
}

/// A process that a run left behind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Orphan {
    /// Process id.
    pub pid: i32,
    /// The mark in its arguments: `squall-<run>-<injection>`.
    pub marker: String,
    /// Whether it is gone now.
    pub gone: bool,
}

/// Whether the process that runs a run is alive. A ledger without a readable header counts as dead: the header is on disk
/// before anything else is.
pub fn engine_alive(view: &LedgerView) -> io::Result<bool> {
    let Some(header) = &view.header else { return Ok(false) };
    // Of another namespace of process ids (a container that shares the directory): not ours to judge, so alive.
    Ok(header.engine.alive()?.unwrap_or(true))
}

/// What [`recover`] would do: the runs whose engines are gone, with their open entries.
pub fn recoverable(state: &StateDir) -> io::Result<Vec<(RunId, Result<LedgerView, LedgerError>)>> {
    let mut found = Vec::new();
    for run in state.runs()? {
        let path = state.ledger(&run);
        match Ledger::read(&path) {
            Ok(view) if view.closed.is_some() && view.open().next().is_none() => {}
            Ok(view) if engine_alive(&view)? => {}
            // Never got as far as a ledger: nothing was armed.
            Err(_) if !path.try_exists()? => {}
            read => found.push((run, read)),
        }
    }
    Ok(found)
}

/// Reverts everything that dead runs left behind, and closes their ledgers. Runs that are alive are left alone.
pub async fn recover(state: &StateDir, undoer: &dyn Undoer) -> io::Result<Vec<RecoveredRun>> {
    let mut recovered = Vec::new();
    for (run, read) in recoverable(state)? {
        let mut one = RecoveredRun { run, outcomes: Vec::new(), orphans: Vec::new(), error: read.err().map(|e| e.to_string()) };
        if one.error.is_none() {
            match revert_outstanding(&state.run_dir(&one.run), undoer, RevertedBy::Recover).await {
                Ok(outcomes) => one.outcomes = outcomes,
                Err(error) => one.error = Some(error.to_string()),
            }
        }
        recovered.push(one);
    }
    for orphan in orphans(state)? {
        let (run, orphan) = kill(orphan).await;
        match recovered.iter_mut().find(|one| one.run == run) {
            Some(one) => one.orphans.push(orphan),
            None => recovered.push(RecoveredRun { run, outcomes: Vec::new(), orphans: vec![orphan], error: None }),
        }
    }
    Ok(recovered)
}

/// Processes that carry the mark of a run of this state directory that is not alive: one of their arguments is
/// `squall-<run>-<injection>`, whole. Runs of other state directories are not ours to judge.
pub fn orphans(state: &StateDir) -> io::Result<Vec<(RunId, Orphan)>> {
    let mut found = Vec::new();
    let mut dead = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some((run, marker)) = marker_of(pid) else { continue };
        if !dead.contains_key(&run) {
            let is_dead = state.run_dir(&run).try_exists()?
                && !LedgerFile::open_to_read(state.ledger(&run))
                    .and_then(|file| file.read())
                    .is_ok_and(|view| engine_alive(&view).unwrap_or(true));
            dead.insert(run.clone(), is_dead);
        }
        if dead.get(&run) == Some(&true) {
            found.push((run, Orphan { pid, marker, gone: false }));
        }
    }
    Ok(found)
}

/// The run and the mark in a process's arguments. `None` as well if it cannot be looked at, or is a zombie (no arguments).
fn marker_of(pid: i32) -> Option<(RunId, String)> {
    arguments_of(pid)?.split(|byte| *byte == 0).find_map(|argument| {
        let argument = std::str::from_utf8(argument).ok()?;
        let (run, injection) = argument.strip_prefix("squall-")?.split_once('-')?;
        injection.parse::<u32>().ok()?;
        Some((run.parse().ok()?, argument.to_owned()))
    })
}

/// All at once, as far as they fit: this is done for every process of the host whenever Squall starts.
fn arguments_of(pid: i32) -> Option<Vec<u8>> {
    let mut file = std::fs::File::open(format!("/proc/{pid}/cmdline")).ok()?;
    let mut arguments = vec![0; 4096];
    let mut length = 0;
    loop {
        length += file.read(&mut arguments[length..]).ok()?;
        if length < arguments.len() {
            break;
        }
        arguments.resize(2 * length, 0);
    }
    arguments.truncate(length);
    Some(arguments)
}

/// Kills an orphan, and waits until it is gone.
async fn kill((run, mut orphan): (RunId, Orphan)) -> (RunId, Orphan) {
    let still = |orphan: &Orphan| marker_of(orphan.pid).is_some_and(|(_, marker)| marker == orphan.marker);
    let descriptor = Pid::from_raw(orphan.pid).map_or(Err(Errno::SRCH), |pid| pidfd_open(pid, PidfdFlags::empty()));
    orphan.gone = match descriptor {
        // Looked at again with the descriptor open: the signal cannot reach another process that got the same number.
        Ok(descriptor) if still(&orphan) => matches!(pidfd_send_signal(&descriptor, Signal::KILL), Ok(()) | Err(Errno::SRCH)),
        Ok(_) | Err(Errno::SRCH) => true,
        Err(_) => false,
    };
    let until = boottime() + KILL_PATIENCE;
    while orphan.gone && still(&orphan) {
        orphan.gone = boottime() < until;
        pause(Duration::from_millis(5)).await;
    }
    (run, orphan)
}
