//! The token that makes "no change without an undo" a compile error.

/// Proof that an undo is on disk. Only the ledger makes one: after a sync for new changes, or while it reads an undo back
/// for whoever reverts it.
#[derive(Debug)]
pub struct Armed(());

impl Armed {
    /// To be called by the ledger alone, once the undo is on disk.
    pub(crate) const fn on_disk() -> Self {
        Self(())
    }
}

/// The undo could not be made durable. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The undo cannot be written as JSON.
    #[error("the undo cannot be encoded: {0}")]
    Encode(String),
    /// The ledger cannot be written.
    #[error("the undo ledger {path} cannot be written: {source}")]
    Write {
        /// The ledger.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
