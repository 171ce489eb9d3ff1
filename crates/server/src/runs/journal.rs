//! The journal of a run, in the server's database.

use std::collections::BTreeMap;
use std::sync::Arc;

use squall_engine::{Journal, JournalError};
use squall_model::{Record, RunId, Started};
use squall_store::{BeginRun, CommitError, Database, Fence};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Writes for the engine's driver, which waits: it runs on a thread of its own, and the database on the server's runtime.
pub(super) struct DatabaseJournal {
    pub db: Arc<dyn Database>,
    pub server: Handle,
    /// The run's lease: after another server has taken it, nothing more is written.
    pub fence: Fence,
    /// What the server knows of the run beside its journal.
    pub extra: serde_json::Value,
    /// The number of the next record, for those who follow the run.
    pub written: watch::Sender<u64>,
    /// What the run is made known with, until its first records are there: then all of it is written at once, so that nobody finds a run
    /// of which nothing is known.
    pub beginning: Option<BeginRun>,
}

impl DatabaseJournal {
    fn wait<F>(&self, work: F) -> Result<(), JournalError>
    where
        F: Future<Output = Result<(), CommitError>> + Send + 'static,
    {
        let (done, result) = std::sync::mpsc::sync_channel(1);
        self.server.spawn(async move {
            let _ = done.send(work.await);
        });
        let gone = || JournalError("the server ended".into());
        result.recv().map_err(|_| gone())?.map_err(|e| JournalError(e.to_string()))
    }
}

impl Journal for DatabaseJournal {
    fn begin(&mut self, started: &Started, labels: &BTreeMap<String, String>) -> Result<(), JournalError> {
        self.beginning = Some(BeginRun {
            started: started.clone(),
            labels: labels.clone(),
            extra: self.extra.clone(),
            records: Vec::new(),
            fence: Some(self.fence.clone()),
        });
        Ok(())
    }

    fn append(&mut self, run: &RunId, records: &[Record], sync: bool) -> Result<(), JournalError> {
        let (db, fence, run, batch) = (self.db.clone(), self.fence.clone(), run.clone(), records.to_vec());
        match self.beginning.take() {
            Some(begin) => self.wait(async move { db.begin(BeginRun { records: batch, ..begin }).await })?,
            None => self.wait(async move { db.append(&run, &batch, sync, Some(&fence)).await })?,
        }
        if let Some(last) = records.last() {
            self.written.send_replace(last.seq + 1);
        }
        Ok(())
    }
}
