//! What an operation on a connection may end with, before PostgreSQL's part is put into words.

use std::error::Error as Source;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::{CommitError, StoreError};

/// Either the driver's error, which is put into words where the database's address is known, or one of ours.
pub(super) enum Fault<E = StoreError> {
    /// Before anything was to be kept.
    Before(Error),
    /// While it was being committed.
    Commit(Error),
    /// No connection.
    Pool(String),
    Own(E),
}

impl<E> From<Error> for Fault<E> {
    fn from(error: Error) -> Self {
        Self::Before(error)
    }
}

impl<E: From<StoreError>> From<StoreError> for Fault<E> {
    fn from(error: StoreError) -> Self {
        Self::Own(error.into())
    }
}

impl From<CommitError> for Fault<CommitError> {
    fn from(error: CommitError) -> Self {
        Self::Own(error)
    }
}

impl From<Fault<StoreError>> for Fault<CommitError> {
    fn from(fault: Fault<StoreError>) -> Self {
        match fault {
            Fault::Before(error) => Self::Before(error),
            Fault::Commit(error) => Self::Commit(error),
            Fault::Pool(reason) => Self::Pool(reason),
            Fault::Own(error) => Self::Own(error.into()),
        }
    }
}

impl<E: From<StoreError>> Fault<E> {
    /// Whether nothing was done, for a reason that may not be there at the next try: an idle connection had been cut, or the
    /// transaction got into the way of another.
    pub fn passes(&self) -> bool {
        let collided =
            |error: &Error| matches!(error.code(), Some(&(SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE)));
        match self {
            Self::Before(error) => collided(error) || lost(error),
            Self::Commit(error) => collided(error),
            Self::Pool(_) | Self::Own(_) => false,
        }
    }

    /// In the store's words.
    pub fn told(self, place: &str) -> E {
        let place = place.to_owned();
        let told = match self {
            Self::Own(error) => return error,
            Self::Pool(reason) => StoreError::Unreachable { place, reason },
            Self::Before(error) if lost(&error) => StoreError::Unreachable { place, reason: words(&error) },
            Self::Commit(error) if lost(&error) => StoreError::Uncertain { place, reason: words(&error) },
            Self::Before(error) | Self::Commit(error) => StoreError::Server { place, reason: words(&error) },
        };
        told.into()
    }
}

/// Whether the connection is gone, or the server is going.
fn lost(error: &Error) -> bool {
    let going = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
    let cut = || error.is_closed() || error.source().is_some_and(<dyn Source>::is::<std::io::Error>);
    error.code().map_or_else(cut, |code| going.contains(code))
}

/// The driver says "db error"; what the database says is beneath it.
pub(super) fn words(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(error), _) => error.to_string(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
