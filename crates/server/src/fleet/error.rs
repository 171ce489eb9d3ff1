//! Why something about hosts was not done.

use jiff::Timestamp;
use squall_api::link::Refusal;
use squall_store::{CommitError, StoreError};

/// The fleet cannot be opened, served or changed.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database did not take a change.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A certificate or key cannot be made or read.
    #[error("the agents' certificate authority: {0}")]
    Authority(String),
    /// The listener failed.
    #[error("agents cannot be listened for: {0}")]
    Listen(#[from] std::io::Error),
    /// What was asked for cannot be meant.
    #[error("{0}")]
    Invalid(String),
    /// There is no such host.
    #[error("there is no host `{0}`; a host joins with `squall agent --join TOKEN`")]
    Unknown(String),
}

/// A host did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such host has joined.
    #[error("there is no host `{0}`; a host joins with `squall agent --join TOKEN`")]
    Unknown(String),
    /// Its agent is not linked to this server, and was not when the grace was over. It was not asked.
    #[error("host `{host}` has not been linked to this server since {since}; see whether its agent runs")]
    NotConnected {
        /// The host.
        host: String,
        /// Since when.
        since: Timestamp,
    },
    /// The link broke after it was asked, and did not come back within the grace: it may have done it, or may do it still. Its leases
    /// end by themselves.
    #[error("the link to host `{0}` broke; what it injected ends with its lease")]
    Lost(String),
    /// It is linked, and has not answered in time.
    #[error("host `{0}` has not answered in time")]
    TimedOut(String),
    /// It will not.
    #[error("host `{host}`: {refusal}")]
    Refused {
        /// The host.
        host: String,
        /// Why.
        refusal: Refusal,
    },
}
