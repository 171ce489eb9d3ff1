//! Where events are written before they are acted on.

use squall_model::{Record, RunId, Started};

/// An append-only journal. `squall-store` has one on SQLite.
pub trait Journal: Send {
    /// Makes the run known. Its first record follows.
    fn begin(&mut self, started: &Started, labels: &std::collections::BTreeMap<String, String>) -> Result<(), JournalError>;

    /// Appends a batch in one transaction. With `sync` it is on disk when this returns; without, it survives the death of
    /// this process but perhaps not a loss of power.
    fn append(&mut self, run: &RunId, records: &[Record], sync: bool) -> Result<(), JournalError>;
}

/// The journal cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be written: {0}")]
pub struct JournalError(pub String);
