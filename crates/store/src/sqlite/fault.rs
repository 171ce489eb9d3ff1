//! What an operation on a connection may end with, before SQLite's part is put into words.

use std::path::Path;

use crate::{CommitError, StoreError};

/// Either SQLite's error, which is put into words where the database's path is known, or one of ours.
pub(crate) enum Fault<E = StoreError> {
    Sqlite(rusqlite::Error),
    Own(E),
}

impl<E> From<rusqlite::Error> for Fault<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
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
            Fault::Sqlite(error) => Self::Sqlite(error),
            Fault::Own(error) => Self::Own(error.into()),
        }
    }
}

impl<E: From<StoreError>> Fault<E> {
    /// In the store's words.
    pub fn told(self, path: &Path) -> E {
        match self {
            Self::Sqlite(error) => StoreError::from_sqlite(path, &error).into(),
            Self::Own(error) => error,
        }
    }
}
