//! The ledger as a file: appended by several processes at once, reserved in advance, locked while somebody reverts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};

use crate::identity::boottime;
use crate::record::{LedgerView, NewerFormat, Record, frame};

/// Reserved at a time.
const RESERVE: u64 = 128 * 1024;
/// Kept for what is written while reverting: arming fails before it uses this up.
const KEPT: u64 = 64 * 1024;
/// Time between two looks at a lock.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// A ledger could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A call on the file failed.
    #[error("the undo ledger {path}: {what}: {source}")]
    Io {
        /// The ledger.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Written by a newer Squall.
    #[error("the undo ledger {path}: {source}")]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// The versions.
        source: NewerFormat,
    },
    /// A record cannot be encoded.
    #[error("the undo ledger {path}: a record cannot be encoded: {reason}")]
    Encode {
        /// The ledger.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It cannot be closed.
    #[error("the undo ledger {path} cannot be closed: {open} of its entries are not reverted; `squall recover` tries again")]
    Outstanding {
        /// The ledger.
        path: PathBuf,
        /// How many.
        open: usize,
    },
}

/// An open ledger. The descriptor is kept, so that neither arming nor reverting needs a new one.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    file: File,
    path: PathBuf,
    holders: Mutex<u32>,
}

impl LedgerFile {
    /// A new ledger with its first record, on disk together with its name.
    pub(crate) fn create(path: PathBuf, header: &Record) -> Result<(Self, u64), LedgerError> {
        // O_APPEND makes each write go to the end as one step, whoever else writes (write(2)); no lock can be held by a
        // process that was stopped at the wrong moment.
        let made = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path);
        let this = Self { file: made.map_err(|e| io_error(&path, "create", e))?, path, holders: Mutex::new(0) };
        let room = this.reserve(0).map_err(|e| this.io("reserve room on the disk", e))?;
        this.append(header)?;
        this.sync()?;
        let parent = this.path.parent().unwrap_or(Path::new("/"));
        for directory in parent.ancestors().take(3) {
            File::open(directory).and_then(|d| d.sync_all()).map_err(|e| io_error(&this.path, "sync its directory", e))?;
        }
        Ok((this, room))
    }

    /// A ledger that is there.
    pub(crate) fn open(path: PathBuf) -> Result<Self, LedgerError> {
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(|e| io_error(&path, "open", e))?;
        Ok(Self { file, path, holders: Mutex::new(0) })
    }

    /// A ledger that is there, for looking only: nothing can be appended.
    pub(crate) fn open_to_read(path: PathBuf) -> Result<Self, LedgerError> {
        let file = File::open(&path).map_err(|e| io_error(&path, "open", e))?;
        Ok(Self { file, path, holders: Mutex::new(0) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it from the start, whoever wrote since.
    pub(crate) fn read(&self) -> Result<LedgerView, LedgerError> {
        let mut bytes = vec![0; usize::try_from(self.length()?).unwrap_or(0)];
        let mut read = 0;
        while read < bytes.len() {
            match self.file.read_at(&mut bytes[read..], read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io("read", error)),
            }
        }
        LedgerView::parse(&bytes[..read]).map_err(|source| LedgerError::Newer { path: self.path.clone(), source })
    }

    pub(crate) fn length(&self) -> Result<u64, LedgerError> {
        Ok(self.file.metadata().map_err(|e| self.io("look at", e))?.len())
    }

    /// Reserves room for records up to `end`, and behind it for the reverts to come, without a change of size. Returns up to
    /// where records may go.
    pub(crate) fn reserve(&self, end: u64) -> io::Result<u64> {
        let to = (end + KEPT).next_multiple_of(RESERVE);
        match rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, to)) {
            Ok(()) => Ok(to - KEPT),
            // A file system that cannot reserve: arming then fails when the disk is full, before anything is touched.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(u64::MAX),
            Err(error) => Err(error.into()),
        }
    }

    /// Appends a record.
    pub(crate) fn append(&self, record: &Record) -> Result<(), LedgerError> {
        let bytes = frame(record).map_err(|reason| LedgerError::Encode { path: self.path.clone(), reason })?;
        self.append_framed(&bytes).map_err(|source| self.io("write", source))
    }

    /// Appends a framed record with one write. A part of a record is an error; readers pass it over.
    pub(crate) fn append_framed(&self, bytes: &[u8]) -> io::Result<()> {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.file, bytes))?;
        if written < bytes.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    pub(crate) fn sync(&self) -> Result<(), LedgerError> {
        rustix::io::retry_on_intr(|| rustix::fs::fdatasync(&self.file)).map_err(|e| self.io("sync", e.into()))
    }

    /// Gives back what was reserved and not used.
    pub(crate) fn release(&self) -> Result<(), LedgerError> {
        self.file.set_len(self.length()?).map_err(|e| self.io("give back reserved room", e))
    }

    /// Takes the revert lock, which several reverts of one process share. Waits up to `patience` for who holds it, then goes
    /// on without: the holder may hang, and reverting twice is harmless where not reverting is not.
    pub(crate) async fn lock(&self, patience: Duration) -> RevertLock<'_> {
        let until = boottime() + patience;
        while !self.try_lock() {
            if boottime() >= until {
                return RevertLock { of: None };
            }
            pause(LOCK_POLL).await;
        }
        RevertLock { of: Some(self) }
    }

    fn try_lock(&self) -> bool {
        let mut holders = self.holders();
        let locked =
            *holders > 0 || rustix::io::retry_on_intr(|| rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive)).is_ok();
        *holders += u32::from(locked);
        locked
    }

    fn holders(&self) -> MutexGuard<'_, u32> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn io(&self, what: &'static str, source: io::Error) -> LedgerError {
        io_error(&self.path, what, source)
    }
}

/// The revert lock, or the decision to go on without.
pub(crate) struct RevertLock<'a> {
    of: Option<&'a LedgerFile>,
}

impl Drop for RevertLock<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.of {
            let mut holders = file.holders();
            *holders -= 1;
            if *holders == 0 {
                // Cannot fail on an open descriptor; and were it not given back here, then when the descriptor closes.
                let _ = rustix::fs::flock(&file.file, FlockOperation::Unlock);
            }
        }
    }
}

fn io_error(path: &Path, what: &'static str, source: io::Error) -> LedgerError {
    LedgerError::Io { path: path.to_owned(), what, source }
}

/// Waits, in real time.
#[expect(clippy::disallowed_methods, reason = "the engine's clock is not known here, and only real processes are waited for")]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// In microseconds, as records have them.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Now, in microseconds since boot.
pub(crate) fn now_micros() -> u64 {
    micros(boottime())
}
