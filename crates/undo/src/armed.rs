//! The token that makes "no change without an undo" a compile error.

use std::path::PathBuf;

use squall_model::{InjectionId, RunId};

/// Proof that an undo is on disk. Only the ledger makes one: after a sync for new changes, or while it reads an undo back
/// for whoever reverts it. A child that carries a fault is handed it by its parent.
#[derive(Debug)]
pub struct Armed(());

impl Armed {
    /// To be called by the ledger alone, once the undo is on disk.
    pub(crate) const fn on_disk() -> Self {
        Self(())
    }

    /// Another for the same undo: for a part of the work that outlives the call that the first was handed to.
    #[must_use]
    pub const fn again(&self) -> Self {
        Self(())
    }

    /// What a process with a token tells its child, so that the child may do the change that was armed.
    pub fn hand_over(&self) -> &'static str {
        GO
    }

    /// The token in the child, from the line that its parent sent. Nothing else makes one.
    pub fn received(line: &[u8]) -> Option<Self> {
        (line == GO.as_bytes()).then_some(Self(()))
    }
}

/// The line that hands a token over, without its end.
const GO: &str = "go";

/// The undo could not be made durable, or nothing may be touched now. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The undo cannot be written as JSON.
    #[error("the undo cannot be encoded: {0}")]
    Encode(String),
    /// The ledger cannot be written.
    #[error("the undo ledger {path} cannot be written: {source}")]
    Write {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What others have under a fault cannot be looked at.
    #[error("the claims of other runs cannot be read: {0}; `squall recover` says what is left of them")]
    Claims(String),
    /// Another injection has a fault in force on the same thing.
    #[error("{claim} is already under injection {injection} ({fault}) of run {run}; wait for it, or end it with `squall stop {run}`")]
    Claimed {
        /// What both want.
        claim: String,
        /// The run that has it.
        run: RunId,
        /// The injection that has it.
        injection: InjectionId,
        /// Its kind of fault.
        fault: String,
    },
    /// The stop file is there.
    #[error("the stop file {path} is there{}; `squall stop --unblock` removes it", said(.says))]
    Stopped {
        /// The file.
        path: PathBuf,
        /// What stands in it.
        says: String,
    },
    /// The injection is being reverted, or was: nothing more may be armed for it.
    #[error("injection {0} is being reverted")]
    Reverted(InjectionId),
    /// The ledger was closed, by this run or by somebody who took over.
    #[error("the undo ledger was closed by {0}")]
    Closed(&'static str),
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}
