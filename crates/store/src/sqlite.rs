//! The journal in SQLite.
//!
//! Durability. The database is in write-ahead-log mode, where a commit is one `write` to the end of the log. With
//! `synchronous = NORMAL` nothing more happens: the frames are in the kernel's page cache, which a SIGKILL of this process
//! cannot take away, and a power cut loses the end of the log but never breaks it (frames carry checksums). With `FULL` the
//! commit ends with one fsync of the log, which covers every earlier frame too. So a synced append is the same write with
//! the setting switched for that one transaction: one fsync, nothing else. An own `fsync` on the log's descriptor would cost
//! the same, and would have to know when SQLite starts the log again. (<https://sqlite.org/wal.html>,
//! <https://sqlite.org/pragma.html#pragma_synchronous>)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::Value as Json;
use squall_engine::{Journal, JournalError};
use squall_model::{Record, RunId, Started};

pub(crate) use self::fault::Fault;
use crate::{Filter, RunStore, RunSummary, StoreError, schema};

mod fault;
pub(crate) mod journal;

/// The log is copied into the database on close once it has this many bytes; below, the next opening reads it faster than
/// two fsyncs take.
const CHECKPOINT_ON_CLOSE: u64 = 512 * 1024;

/// The journal of one state directory. Several processes may have it open and write at the same time.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    /// Whether commits end with an fsync (`synchronous = FULL`).
    full: bool,
}

impl Store {
    /// The journal's file within a state directory.
    pub const FILE: &'static str = "squall.db";

    /// Opens the database, or makes it with mode 0600. Its directory must be there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = schema::open(path)?;
        Ok(Self { path: path.to_owned(), inner: Mutex::new(Inner { connection, full: false }) })
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> Result<T, Fault>) -> Result<T, StoreError> {
        // A panic while the lock was held left no transaction open: rusqlite rolls back when one is dropped.
        let mut inner: MutexGuard<'_, Inner> = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut inner).map_err(|fault| fault.told(&self.path))
    }
}

impl Inner {
    /// Costs nothing where it is so already; SQLite refuses the change within a transaction.
    fn set_full(&mut self, full: bool) -> rusqlite::Result<()> {
        if self.full != full {
            self.connection.execute_batch(if full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
            self.full = full;
        }
        Ok(())
    }
}

impl RunStore for Store {
    fn begin(&self, started: &Started, labels: &BTreeMap<String, String>) -> Result<(), StoreError> {
        self.with(|inner| {
            inner.set_full(false)?;
            journal::insert_run(&inner.connection, started, labels, &Json::Null).map(drop)
        })
    }

    fn append(&self, run: &RunId, records: &[Record], sync: bool) -> Result<(), StoreError> {
        self.with(|inner| {
            if records.is_empty() {
                if sync {
                    // Nothing to commit, so nothing that would end with an fsync: a checkpoint syncs the log first.
                    inner.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
                }
                return Ok(());
            }
            inner.set_full(sync)?;
            // Immediate: a read that turns into a write could fail as busy in the middle.
            let transaction = inner.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            journal::insert(&transaction, run, records)?;
            transaction.commit()?;
            Ok(())
        })
    }

    fn records(&self, run: &RunId) -> Result<Vec<Record>, StoreError> {
        self.records_from(run, 0)
    }

    fn records_from(&self, run: &RunId, seq: u64) -> Result<Vec<Record>, StoreError> {
        self.with(|inner| journal::records_from(&inner.connection, run, seq, usize::MAX))
    }

    fn runs(&self, filter: &Filter) -> Result<Vec<RunSummary>, StoreError> {
        self.with(|inner| Ok(journal::runs(&inner.connection, filter, None)?.into_iter().map(|run| run.summary).collect()))
    }

    fn summary(&self, run: &RunId) -> Result<RunSummary, StoreError> {
        self.with(|inner| Ok(journal::run(&inner.connection, run)?.summary))
    }

    fn with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.with(|inner| {
            let sql = "SELECT id FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id DESC LIMIT ?2";
            let mut statement = inner.connection.prepare_cached(sql)?;
            let found = statement.query_map(params![prefix, as_i64(limit as u64)], |row| row.get::<_, String>(0))?;
            let ids = found.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
        })
    }
}

/// What the engine's driver writes to. It keeps one store for itself.
impl Journal for Store {
    fn begin(&mut self, started: &Started, labels: &BTreeMap<String, String>) -> Result<(), JournalError> {
        RunStore::begin(self, started, labels).map_err(|e| JournalError(e.to_string()))
    }

    fn append(&mut self, run: &RunId, records: &[Record], sync: bool) -> Result<(), JournalError> {
        RunStore::append(self, run, records, sync).map_err(|e| JournalError(e.to_string()))
    }
}

/// SQLite's integers are signed; nothing here reaches the upper half.
pub(crate) fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Drop for Store {
    fn drop(&mut self) {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        if std::fs::metadata(log).is_ok_and(|log| log.len() > CHECKPOINT_ON_CLOSE) {
            // Only tidiness: what is not copied now is read from the log, and copied by whoever closes next.
            let _ = self.with(|inner| Ok(inner.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?));
        }
    }
}
