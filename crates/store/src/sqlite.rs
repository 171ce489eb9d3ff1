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

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use squall_engine::{Journal, JournalError};
use squall_model::{Event, Record, RunId, Started};

use crate::summary::check_order;
use crate::{Filter, RunStore, RunSummary, StoreError, rows, schema};

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

/// What an operation on the connection may end with, before SQLite's part is put into words.
enum Fault {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
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
        work(&mut inner).map_err(|fault| match fault {
            Fault::Sqlite(error) => StoreError::from_sqlite(&self.path, &error),
            Fault::Store(error) => error,
        })
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

    fn number(&self, run: &RunId) -> Result<i64, Fault> {
        let found = self.connection.prepare_cached("SELECT n FROM runs WHERE id = ?1")?.query_row([run.as_str()], |row| row.get(0));
        Ok(found.optional()?.ok_or_else(|| StoreError::UnknownRun(run.clone()))?)
    }
}

impl RunStore for Store {
    fn begin(&self, started: &Started, labels: &BTreeMap<String, String>) -> Result<(), StoreError> {
        self.with(|inner| {
            inner.set_full(false)?;
            insert_run(&inner.connection, started, labels).map(drop)
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
            insert(&transaction, run, records)?;
            transaction.commit()?;
            Ok(())
        })
    }

    fn records(&self, run: &RunId) -> Result<Vec<Record>, StoreError> {
        self.records_from(run, 0)
    }

    fn records_from(&self, run: &RunId, seq: u64) -> Result<Vec<Record>, StoreError> {
        self.with(|inner| {
            let n = inner.number(run)?;
            let sql = format!("SELECT {} FROM events WHERE run = ?1 AND seq >= ?2 ORDER BY seq", rows::EVENT);
            let mut statement = inner.connection.prepare_cached(&sql)?;
            let found = statement.query_map(params![n, as_i64(seq)], |row| rows::event(run, row))?;
            let mut records = Vec::new();
            for (expected, record) in (seq..).zip(found) {
                let record = record??;
                if record.seq != expected {
                    let reason = "it is missing, later ones are there".into();
                    return Err(StoreError::DamagedEvent { run: run.to_string(), seq: expected, reason }.into());
                }
                records.push(record);
            }
            Ok(records)
        })
    }

    fn runs(&self, filter: &Filter) -> Result<Vec<RunSummary>, StoreError> {
        self.with(|inner| {
            let sql = format!("SELECT {} FROM runs r ORDER BY id DESC", rows::RUN);
            let mut statement = inner.connection.prepare_cached(&sql)?;
            let mut found = statement.query([])?;
            let mut summaries = Vec::new();
            // Filtered here, not in SQL: verdict and labels are JSON, and one damaged row must not fail the others.
            while summaries.len() < filter.limit.unwrap_or(usize::MAX) {
                let Some(row) = found.next()? else { break };
                summaries.extend(rows::run(row)?.filter(|summary| filter.passes(summary)));
            }
            Ok(summaries)
        })
    }

    fn summary(&self, run: &RunId) -> Result<RunSummary, StoreError> {
        self.with(|inner| {
            let sql = format!("SELECT {} FROM runs r WHERE id = ?1", rows::RUN);
            let found = inner.connection.prepare_cached(&sql)?.query_row([run.as_str()], rows::run).optional()?;
            Ok(found.flatten().ok_or_else(|| StoreError::UnknownRun(run.clone()))?)
        })
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

fn insert(transaction: &Transaction<'_>, run: &RunId, records: &[Record]) -> Result<(), Fault> {
    let found: Option<(i64, i64)> = transaction
        .prepare_cached("SELECT n, coalesce((SELECT max(seq) + 1 FROM events WHERE run = n), 0) FROM runs WHERE id = ?1")?
        .query_row([run.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    check_order(run, found.and_then(|(_, known)| u64::try_from(known).ok()).unwrap_or(0), records)?;
    let n = match (found, records.first().map(|record| &record.event)) {
        (Some((n, _)), _) => n,
        (None, Some(Event::Started(started))) => insert_run(transaction, started, &BTreeMap::new())?,
        (None, _) => return Err(StoreError::UnknownRun(run.clone()).into()),
    };
    let mut statement = transaction.prepare_cached("INSERT INTO events (run, seq, at_us, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for record in records {
        let body = serde_json::to_string(&record.event).map_err(|e| StoreError::Encode { seq: record.seq, reason: e.to_string() })?;
        statement.execute(params![n, as_i64(record.seq), as_i64(record.at), rows::kind(&body), body])?;
    }
    Ok(())
}

fn insert_run(connection: &Connection, started: &Started, labels: &BTreeMap<String, String>) -> Result<i64, Fault> {
    let labels = serde_json::to_string(labels).map_err(|e| StoreError::Encode { seq: 0, reason: e.to_string() })?;
    let inserted = connection
        .prepare_cached("INSERT INTO runs (id, experiment, started, host, user, labels) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![started.run.as_str(), started.experiment, started.wall, started.host, started.user, labels]);
    match inserted {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(StoreError::Begun(started.run.clone()).into())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(connection.last_insert_rowid()),
    }
}

/// SQLite's integers are signed; nothing here reaches the upper half.
fn as_i64(number: u64) -> i64 {
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
