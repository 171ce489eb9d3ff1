//! The engine's side of the ledger: make it, arm, revert, close.

use std::collections::BTreeSet;
use std::future::Future;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use squall_model::{InjectionId, RevertedBy, RunId};

use crate::armed::{ArmError, Armed};
use crate::claims::Claims;
use crate::file::{LedgerError, LedgerFile, micros, now_micros};
use crate::identity::ProcessIdentity;
use crate::record::{ArmedRecord, Header, LEDGER_VERSION, LedgerView, Record, frame};
use crate::state_dir::StateDir;
use crate::watchdog::Poker;

/// The longest wait for a watchdog that is reverting too, before the engine reverts beside it.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Knows how to revert each kind of fault; implemented over the registry of faults.
pub trait Undoer: Send + Sync {
    /// Puts things back: what was done, or why it could not be. Idempotent, and works from a fresh process. Dropping the
    /// future gives up this try.
    fn revert<'a>(&'a self, fault: &'a str, undo: &'a Value, armed: &'a Armed) -> BoxFuture<'a, Result<String, String>>;
}

/// An undo that is to be armed.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The injection it belongs to.
    pub injection: InjectionId,
    /// The kind of fault.
    pub fault: String,
    /// Id of the target, for people.
    pub target: String,
    /// All that is needed to put things back, as the fault's own type.
    pub undo: Value,
    /// What nobody else may touch until this is reverted.
    pub claims: Vec<String>,
    /// When it has to be reverted at the latest, on `CLOCK_BOOTTIME`. The watchdog reverts what is late, whatever the engine
    /// does.
    pub deadline: Option<Duration>,
}

/// The undo ledger of a run, open for the engine that runs it.
#[derive(Debug)]
pub struct Ledger {
    file: LedgerFile,
    state: StateDir,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Number of the next entry.
    next: u32,
    /// Armed and not yet reverted by this engine, in order.
    open: Vec<ArmedRecord>,
    /// Injections of which a revert has begun: nothing more may be armed for them.
    reverting: BTreeSet<InjectionId>,
    claims: Claims,
    /// Up to where records may go in the reserved room.
    room: u64,
    /// Size of the file when it was last known that nobody else closed it.
    seen: u64,
    closed: Option<RevertedBy>,
    poker: Option<Poker>,
}

impl Ledger {
    /// Makes the run's directory and the ledger in it. On disk when this returns.
    pub fn create(state: &StateDir, run: &RunId) -> Result<Self, LedgerError> {
        let directory = state.run_dir(run);
        let path = state.ledger(run);
        let failed = |what, source| LedgerError::Io { path: path.clone(), what, source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(|e| failed("make its directory", e))?;
        let engine = ProcessIdentity::own().map_err(|e| failed("tell which process this is", e))?;
        let claims = Claims::new(state.clone(), run.clone()).map_err(|e| failed("open claims.lock", e))?;
        let header = Header { version: LEDGER_VERSION, run: run.clone(), engine, at: now_micros() };
        let (file, room) = LedgerFile::create(path.clone(), &Record::Header(header))?;
        let inner = Inner { next: 1, open: Vec::new(), reverting: BTreeSet::new(), claims, room, seen: 0, closed: None, poker: None };
        Ok(Self { file, state: state.clone(), inner: Mutex::new(inner) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tells this watchdog of each new entry from now on.
    pub fn attach(&self, poker: Poker) {
        self.inner().poker = Some(poker);
    }

    /// Puts an undo on disk. Only when this returns may the target be touched. Blocks for the sync; callable from any thread.
    pub fn arm(&self, entry: Entry) -> Result<Armed, ArmError> {
        let mut inner = self.inner();
        if let Some(says) = self.state.stopped() {
            return Err(ArmError::Stopped { path: self.state.stop_file(), says });
        }
        if inner.reverting.contains(&entry.injection) {
            return Err(ArmError::Reverted(entry.injection));
        }
        let Entry { injection, fault, target, undo, claims, deadline } = entry;
        let number = inner.next;
        let armed = ArmedRecord { entry: number, injection, fault, target, undo, claims, deadline: deadline.map(micros), at: now_micros() };
        // An entry of which it is not known whether it was written keeps its number for itself.
        inner.next += 1;
        let Inner { claims, open, .. } = &mut *inner;
        let claimed = claims.take(&armed, open)?;
        let bytes = frame(&Record::Armed(Box::new(armed.clone()))).map_err(ArmError::Encode)?;
        self.write(&mut inner, &bytes)?;
        drop(claimed);
        inner.open.push(armed);
        if let Some(poker) = &inner.poker {
            poker.poke();
        }
        Ok(Armed::on_disk())
    }

    /// Writes and syncs an entry, unless somebody closed the ledger meanwhile.
    fn write(&self, inner: &mut Inner, bytes: &[u8]) -> Result<(), ArmError> {
        let failed = |source| ArmError::Write { path: self.path().to_owned(), source };
        let unread = |error: LedgerError| failed(std::io::Error::other(error.to_string()));
        let mut end = self.file.length().map_err(unread)?;
        if end != inner.seen {
            // The watchdog, or somebody who stopped this run, wrote.
            inner.closed = inner.closed.or(self.file.read().map_err(unread)?.closed);
        }
        if let Some(by) = inner.closed {
            return Err(ArmError::Closed(name(by)));
        }
        end += bytes.len() as u64;
        if end > inner.room {
            inner.room = self.file.reserve(end).map_err(failed)?;
        }
        self.file.append_framed(bytes).map_err(failed)?;
        self.file.sync().map_err(unread)?;
        inner.seen = end;
        Ok(())
    }

    /// Reverts all entries of an injection, last armed first, each tried even if another fails. What was done, or why not
    /// everything could be; then it may be called again. Nothing can be armed for this injection any more.
    pub async fn revert(&self, injection: InjectionId, undoer: &dyn Undoer, by: RevertedBy) -> Result<String, String> {
        let entries: Vec<ArmedRecord> = {
            let mut inner = self.inner();
            inner.reverting.insert(injection);
            inner.open.iter().rev().filter(|entry| entry.injection == injection).cloned().collect()
        };
        if entries.is_empty() {
            return Ok("nothing was armed".to_owned());
        }
        let _lock = self.file.lock(LOCK_PATIENCE).await;
        let mut done = Vec::new();
        let mut errors = Vec::new();
        for entry in entries {
            match undoer.revert(&entry.fault, &entry.undo, &Armed::on_disk()).await {
                Ok(how) => {
                    self.inner().open.retain(|open| open.entry != entry.entry);
                    let record = Record::Reverted { entry: entry.entry, by, how: how.clone(), last: true, at: now_micros() };
                    done.push(how);
                    if let Err(error) = self.file.append(&record) {
                        done.push(format!("not recorded: {error}"));
                    }
                }
                Err(error) => {
                    // The caller learns of the failure and tries again; the record is for `squall show` alone.
                    let _ = self.file.append(&Record::RevertFailed { entry: entry.entry, by, error: error.clone(), at: now_micros() });
                    errors.push(error);
                }
            }
        }
        if errors.is_empty() { Ok(done.join("; ") + &self.early(injection)) } else { Err(errors.join("; ")) }
    }

    /// What the watchdog did to an injection before the engine came to it, in words.
    fn early(&self, injection: InjectionId) -> String {
        let Ok(view) = self.file.read() else { return String::new() };
        let early = view.entries.iter().filter(|entry| entry.armed.injection == injection).find_map(|entry| entry.early.as_ref());
        early.map(|done| format!(" ({} had already: {})", name(done.by), done.how)).unwrap_or_default()
    }

    /// Says that nothing is outstanding and nothing will come; the watchdog then ends. An error if something is.
    pub fn close(&self) -> Result<(), LedgerError> {
        let mut inner = self.inner();
        let open = self.file.read()?.open().count().max(inner.open.len());
        if open > 0 {
            return Err(LedgerError::Outstanding { path: self.path().to_owned(), open });
        }
        self.file.append(&Record::Closed { by: RevertedBy::Engine, at: now_micros() })?;
        inner.closed = Some(RevertedBy::Engine);
        self.file.release()?;
        self.file.sync()?;
        if let Some(poker) = &inner.poker {
            poker.poke();
        }
        Ok(())
    }

    /// Reads a ledger, of this run or another, live or dead.
    pub fn read(path: &Path) -> Result<LedgerView, LedgerError> {
        LedgerFile::open_to_read(path.to_owned())?.read()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reverter's name, for messages.
pub(crate) fn name(by: RevertedBy) -> &'static str {
    match by {
        RevertedBy::Engine => "the engine",
        RevertedBy::Watchdog => "the watchdog",
        RevertedBy::Recover => "squall recover",
        RevertedBy::Stop => "squall stop",
        RevertedBy::Agent => "the agent",
    }
}
