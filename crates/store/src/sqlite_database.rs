//! The server's database in SQLite: one file, one server.
//!
//! One thread writes, in groups (see `writer`); a few connections read beside it, which the write-ahead log allows. The file is the one that
//! [`Store`](crate::Store) keeps journals in, with more tables: a server that is started on a state directory has the runs of
//! `squall run` too, and either may write while the other does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use squall_engine::{BoxFuture, Clock};
use squall_model::{Record, RunId};
use tokio::sync::{Semaphore, broadcast};

use self::leases::Now;
use self::writer::Writer;
use crate::audit::{AuditError, AuditFilter, AuditHead, AuditRow};
use crate::database::check_key;
use crate::memory_database::wall;
use crate::sqlite::{Fault, journal};
use crate::{
    Batch, BeginRun, Change, Changes, CommitError, Committed, Database, Document, Fence, Filter, Lease, LeaseError, List, StoreError,
    StoredRun, schema,
};

mod audit;
mod documents;
mod leases;
mod writer;

/// How many read at the same time; more wait their turn.
const READERS: usize = 4;

/// The server's database in one SQLite file.
pub struct SqliteDatabase {
    writer: Writer,
    readers: Arc<Readers>,
    changes: broadcast::Sender<Change>,
    clock: Arc<dyn Clock>,
    boot: String,
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    /// An idle connection, or a new one.
    fn take(&self) -> Result<Connection, StoreError> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let connection = schema::open(&self.path)?;
        let limits = "PRAGMA query_only = ON; PRAGMA cache_size = -2048;";
        connection.execute_batch(limits).map_err(|e| StoreError::from_sqlite(&self.path, &e))?;
        Ok(connection)
    }
}

impl SqliteDatabase {
    /// Opens the database, or makes it with mode 0600, or brings an older one up to date. Its directory must be there. Leases and
    /// times go by the clock. To be used within a `tokio` runtime.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let connection = schema::open(path)?;
        let boot = leases::boot_id().map_err(|e| StoreError::Open { path: path.to_owned(), reason: format!("the boot id: {e}") })?;
        leases::note_boot(&connection, &boot).map_err(|fault| fault.told(path))?;
        connection.execute_batch("PRAGMA cache_size = -4096;").map_err(|e| StoreError::from_sqlite(path, &e))?;
        let changes = broadcast::Sender::new(Changes::BUFFER);
        let writer = Writer::start(connection, path.to_owned(), changes.clone())?;
        let readers = Arc::new(Readers { path: path.to_owned(), idle: Mutex::default(), permits: Semaphore::new(READERS) });
        Ok(Self { writer, readers, changes, clock, boot })
    }

    /// Reads on a thread that may wait for the disk.
    fn read<'a, T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault<E>> + Send + 'static) -> BoxFuture<'a, Result<T, E>>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        Box::pin(async move {
            let failed = |reason: String| StoreError::Failed { path: readers.path.clone(), reason };
            // The semaphore is never closed.
            let _permit = readers.permits.acquire().await.map_err(|e| failed(e.to_string()))?;
            let shared = Arc::clone(&readers);
            let done = tokio::task::spawn_blocking(move || {
                let connection = shared.take()?;
                let result = work(&connection).map_err(|fault| fault.told(&shared.path));
                shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                result
            });
            done.await.map_err(|e| failed(e.to_string()))?
        })
    }

    /// A function that tells the time when the work is done, not when it was asked for.
    fn now(&self) -> impl Fn() -> Now + Send + 'static {
        let (clock, boot) = (Arc::clone(&self.clock), self.boot.clone());
        move || Now { boot: boot.clone(), since: clock.now() }
    }
}

impl Database for SqliteDatabase {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            batch.check()?;
            let clock = Arc::clone(&self.clock);
            let (sync, changes) = (batch.sync, batch.changes().collect());
            self.writer.submit(sync, changes, move |c| documents::commit(c, &batch, wall(clock.as_ref()))).await
        })
    }

    fn get<'a>(&'a self, kind: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        let (kind, id) = (kind.to_owned(), id.to_owned());
        self.read(move |c| documents::get(c, &kind, &id))
    }

    fn list<'a>(&'a self, kind: &'a str, list: &'a List) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        let (kind, list) = (kind.to_owned(), list.clone());
        self.read(move |c| documents::list(c, &kind, &list))
    }

    fn count<'a>(&'a self, kind: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        let (kind, prefix) = (kind.to_owned(), prefix.to_owned());
        self.read(move |c| documents::count(c, &kind, &prefix))
    }

    fn watch(&self) -> Changes {
        Changes(self.changes.subscribe())
    }

    fn acquire<'a>(&'a self, name: &'a str, holder: &'a str, ttl: Duration) -> BoxFuture<'a, Result<Option<Fence>, StoreError>> {
        Box::pin(async move {
            check_key(name)?;
            check_key(holder)?;
            let (name, holder, now) = (name.to_owned(), holder.to_owned(), self.now());
            // On disk before it is used: no token may be given twice.
            self.writer.submit(true, Vec::new(), move |c| leases::acquire(c, &name, &holder, ttl, &now())).await
        })
    }

    fn renew<'a>(&'a self, fence: &'a Fence, ttl: Duration) -> BoxFuture<'a, Result<(), LeaseError>> {
        let (fence, now) = (fence.clone(), self.now());
        // Not on disk: when the machine is started anew it has lapsed anyway.
        Box::pin(self.writer.submit(false, Vec::new(), move |c| leases::renew(c, &fence, ttl, &now())))
    }

    fn release<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        let fence = fence.clone();
        Box::pin(self.writer.submit(false, Vec::new(), move |c| leases::release(c, &fence)))
    }

    fn leases<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Lease>, StoreError>> {
        let (prefix, now) = (prefix.to_owned(), self.now());
        self.read(move |c| leases::list(c, &prefix, &now()))
    }

    fn audit<'a>(&'a self, after: Option<u64>, limit: usize, filter: &'a AuditFilter) -> BoxFuture<'a, Result<Vec<AuditRow>, StoreError>> {
        let filter = filter.clone();
        self.read(move |c| audit::list(c, after, limit, &filter))
    }

    fn audit_verify<'a>(&'a self, kept: Option<&'a AuditHead>) -> BoxFuture<'a, Result<AuditHead, AuditError>> {
        let kept = kept.cloned();
        self.read(move |c| audit::verify(c, kept.as_ref()))
    }

    fn begin(&self, run: BeginRun) -> BoxFuture<'_, Result<(), CommitError>> {
        let changes = vec![Change::Run(run.started.run.clone())];
        Box::pin(self.writer.submit(true, changes, move |c| {
            leases::check(c, run.fence.as_ref())?;
            journal::insert_run(c, &run.started, &run.labels, &run.extra)?;
            Ok(journal::insert(c, &run.started.run, &run.records)?)
        }))
    }

    fn append<'a>(
        &'a self,
        run: &'a RunId,
        records: &'a [Record],
        sync: bool,
        fence: Option<&'a Fence>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        let (run, records, fence) = (run.clone(), records.to_vec(), fence.cloned());
        let changes = if records.is_empty() { Vec::new() } else { vec![Change::Run(run.clone())] };
        Box::pin(self.writer.submit(sync, changes, move |c| {
            leases::check(c, fence.as_ref())?;
            if records.is_empty() && sync {
                // A commit of nothing ends without an fsync; this one covers all that was written before.
                documents::next(c)?;
            }
            Ok(journal::insert(c, &run, &records)?)
        }))
    }

    fn records_from<'a>(&'a self, run: &'a RunId, seq: u64, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        let run = run.clone();
        self.read(move |c| journal::records_from(c, &run, seq, limit))
    }

    fn runs<'a>(&'a self, filter: &'a Filter, before: Option<&'a RunId>) -> BoxFuture<'a, Result<Vec<StoredRun>, StoreError>> {
        let (filter, before) = (filter.clone(), before.cloned());
        self.read(move |c| journal::runs(c, &filter, before.as_ref()))
    }

    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<StoredRun, StoreError>> {
        let run = run.clone();
        self.read(move |c| journal::run(c, &run))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.read(|c| Ok(c.query_row("SELECT 1", [], |_| Ok(()))?))
    }
}
