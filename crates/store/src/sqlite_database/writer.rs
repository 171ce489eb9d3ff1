//! The one thread that writes, and how many commits become one.
//!
//! A commit that is on disk costs an fsync, whatever it holds. While one group of jobs is being committed the next ones queue up,
//! and become the next group: the more callers there are, the more share an fsync, and a lone one never waits for company. Each
//! job has a savepoint, so that one that is refused takes nothing of the others with it.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use squall_engine::BoxFuture;
use tokio::sync::{broadcast, oneshot};

use crate::sqlite::Fault;
use crate::{Change, StoreError};

/// At most so many jobs share a transaction: the first of them waits for the last.
const GROUP: usize = 128;

/// The thread. Dropping it ends the thread when all that was asked for is done.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

/// Something to write.
trait Job: Send {
    /// Whether it needs an fsync.
    fn sync(&self) -> bool;
    /// Does it within the group's transaction; `false`: take back what it did.
    fn run(&mut self, connection: &Connection, path: &Path) -> bool;
    /// The group's transaction was committed, or not.
    fn settle(self: Box<Self>, committed: Result<(), StoreError>, changes: &broadcast::Sender<Change>);
}

struct Typed<T, E, W> {
    sync: bool,
    work: Option<W>,
    result: Option<Result<T, E>>,
    changes: Vec<Change>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, W> Job for Typed<T, E, W>
where
    T: Send,
    E: From<StoreError> + Send,
    W: FnOnce(&Connection) -> Result<T, Fault<E>> + Send,
{
    fn sync(&self) -> bool {
        self.sync
    }

    fn run(&mut self, connection: &Connection, path: &Path) -> bool {
        self.result = self.work.take().map(|work| work(connection).map_err(|fault| fault.told(path)));
        matches!(self.result, Some(Ok(_)))
    }

    fn settle(self: Box<Self>, committed: Result<(), StoreError>, changes: &broadcast::Sender<Change>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (Some(Ok(value)), Ok(())) => {
                for change in self.changes {
                    // Nobody listens: nobody needs to know.
                    let _ = changes.send(change);
                }
                Ok(value)
            }
            // A group that was committed has run each of its jobs.
            (None, Ok(())) => return,
        };
        // Whoever asked has stopped waiting: it is written all the same.
        let _ = self.reply.send(result);
    }
}

impl Writer {
    /// Starts the thread.
    pub fn start(connection: Connection, path: PathBuf, changes: broadcast::Sender<Change>) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let thread = Thread { connection, path: path.clone(), changes, full: None };
        let thread = std::thread::Builder::new().name("database".into()).spawn(move || thread.run(&queue));
        let thread = thread.map_err(|e| StoreError::Open { path: path.clone(), reason: e.to_string() })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), path })
    }

    /// Queues the work now, whether the future is polled or not. Ready when it is committed, with an fsync if `sync`.
    pub fn submit<T, E>(
        &self,
        sync: bool,
        changes: Vec<Change>,
        work: impl FnOnce(&Connection) -> Result<T, Fault<E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Typed { sync, work: Some(work), result: None, changes, reply };
        if let Some(jobs) = &self.jobs {
            // The thread has ended: the reply is dropped with the job, which is told below.
            let _ = jobs.send(Box::new(job));
        }
        let path = self.path.clone();
        Box::pin(async move {
            let ended = |_| Err(StoreError::Failed { path, reason: "its writer has ended".into() }.into());
            answer.await.unwrap_or_else(ended)
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told to those who waited for it.
            let _ = thread.join();
        }
    }
}

struct Thread {
    connection: Connection,
    path: PathBuf,
    changes: broadcast::Sender<Change>,
    /// Whether commits end with an fsync (`synchronous = FULL`).
    full: Option<bool>,
}

impl Thread {
    fn run(mut self, queue: &mpsc::Receiver<Box<dyn Job>>) {
        while let Ok(first) = queue.recv() {
            let mut group = vec![first];
            group.extend(queue.try_iter().take(GROUP - 1));
            let committed = self.commit(&mut group);
            for job in group {
                let outcome = committed.as_ref().map(|&()| ()).map_err(|error| match error {
                    Fault::Sqlite(error) => StoreError::from_sqlite(&self.path, error),
                    Fault::Own(reason) => StoreError::Failed { path: self.path.clone(), reason: reason.clone() },
                });
                job.settle(outcome, &self.changes);
            }
        }
        // Only tidiness: what is not copied into the database now is read from the log, and copied by whoever closes next.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Fault<String>> {
        // SQLite refuses the change within a transaction.
        let full = group.iter().any(|job| job.sync());
        if self.full != Some(full) {
            self.connection.execute_batch(if full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
            self.full = Some(full);
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in group {
            transaction.prepare_cached("SAVEPOINT job")?.execute([])?;
            let kept = job.run(&transaction, &self.path);
            // Of some errors (a full disk) SQLite takes back the whole transaction, with what others of the group wrote.
            if transaction.is_autocommit() {
                return Err(Fault::Own("a write of the same group failed, and took this one with it; try again".into()));
            }
            if !kept {
                transaction.prepare_cached("ROLLBACK TO job")?.execute([])?;
            }
            transaction.prepare_cached("RELEASE job")?.execute([])?;
        }
        Ok(transaction.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Changes;

    type Outcome = Result<usize, StoreError>;

    fn insert(text: String) -> impl FnOnce(&Connection) -> Result<usize, Fault> + Send {
        move |connection| Ok(connection.execute("INSERT INTO things VALUES (?1)", [text])?)
    }

    fn count(connection: &Connection) -> Result<usize, Fault> {
        Ok(connection.query_row("SELECT count(*) FROM things", [], |row| row.get::<_, u32>(0))? as usize)
    }

    /// A database in which SQLite sees a full disk after so many pages.
    fn start(pages: u32) -> (tempfile::TempDir, Writer) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("squall.db");
        let connection = crate::schema::open(&path).expect("opened");
        connection.execute_batch("CREATE TABLE things (text TEXT)").expect("made");
        let set: u32 = connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0)).expect("set");
        assert_eq!(set, pages);
        let changes = broadcast::Sender::new(Changes::BUFFER);
        (directory, Writer::start(connection, path, changes).expect("started"))
    }

    #[tokio::test]
    async fn what_does_not_fit_on_the_disk_takes_nothing_with_it_that_was_acknowledged() {
        let (_directory, writer) = start(60);
        let (mut acknowledged, mut full) = (0, 0);
        for round in 0..20 {
            // Queued while the first is being written: one group.
            let sizes = [10, 10, if round % 2 == 0 { 1_000_000 } else { 10 }, 10];
            let jobs = sizes.map(|size| writer.submit(true, Vec::new(), insert("x".repeat(size))));
            for outcome in futures_util::future::join_all(jobs).await {
                let outcome: Outcome = outcome;
                match outcome {
                    Ok(_) => acknowledged += 1,
                    Err(StoreError::Full { .. }) => full += 1,
                    Err(StoreError::Failed { reason, .. }) if reason.contains("same group") => {}
                    Err(error) => panic!("{error}"),
                }
            }
            let there: Outcome = writer.submit(false, Vec::new(), count).await;
            assert_eq!(there.expect("counted"), acknowledged);
        }
        assert!(full == 10 && acknowledged >= 40, "{full} did not fit, {acknowledged} did");
    }

    #[tokio::test]
    async fn a_job_that_is_refused_leaves_nothing_and_the_others_their_own() {
        let (_directory, writer) = start(10_000);
        let jobs = (0..300).map(|n: u32| {
            writer.submit(n.is_multiple_of(3), Vec::new(), move |connection| {
                insert(n.to_string())(connection)?;
                if n.is_multiple_of(2) { Ok(()) } else { Err(Fault::Own(StoreError::NoRuns)) }
            })
        });
        let outcomes = futures_util::future::join_all(jobs.collect::<Vec<_>>()).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 150);
        let there: Outcome = writer.submit(false, Vec::new(), count).await;
        assert_eq!(there.expect("counted"), 150);
    }
}
