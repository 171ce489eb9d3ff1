//! What can go wrong with the journal, and what to do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use squall_model::RunId;

/// Why the journal could not be read or written. [`StoreError::hint`] has the next step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened or made.
    #[error("cannot open the journal {}: {reason}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// In the system's words.
        reason: String,
    },
    /// The file is a database, but of something else.
    #[error("{} is not a journal of Squall", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// A newer Squall wrote it.
    #[error("the journal {} has format {found}, and this squall knows formats up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// Torn, overwritten or otherwise no longer a sound database.
    #[error("the journal {} is damaged: {reason}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// In SQLite's words.
        reason: String,
    },
    /// One event of one run cannot be read; the rest can.
    #[error("event {seq} of run {run} is damaged: {reason}")]
    DamagedEvent {
        /// The run.
        run: String,
        /// The event's number.
        seq: u64,
        /// What was wrong with it.
        reason: String,
    },
    /// Another process kept the database for longer than the busy timeout.
    #[error("the journal {} is kept busy by another process", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// No room left on the device, or a quota.
    #[error("no space left for the journal {}", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// The first record of a run that is not known is not its start.
    #[error("run {0} is not in the journal")]
    UnknownRun(RunId),
    /// The run has been begun before.
    #[error("run {0} is in the journal already")]
    Begun(RunId),
    /// Another writer has added to the run, or records are missing in between.
    #[error("run {run}: the next event must have number {expected}, not {found}")]
    OutOfOrder {
        /// The run.
        run: RunId,
        /// One after the last that is there.
        expected: u64,
        /// What was given.
        found: u64,
    },
    /// No run matches what the user wrote.
    #[error("no run `{0}`")]
    NoSuchRun(String),
    /// There is not a single run.
    #[error("there are no runs yet")]
    NoRuns,
    /// More than one run starts with what the user wrote.
    #[error("`{prefix}` is the start of {} runs: {}", matches.len(), shown(matches))]
    Ambiguous {
        /// As written.
        prefix: String,
        /// The runs, newest first.
        matches: Vec<RunId>,
    },
    /// A record could not be written as JSON.
    #[error("event {seq} cannot be encoded: {reason}")]
    Encode {
        /// The event's number.
        seq: u64,
        /// Why.
        reason: String,
    },
    /// A text cannot be a kind, an id or a name.
    #[error("`{key}` cannot be a kind, an id or a name: {reason}")]
    BadKey {
        /// Its start.
        key: String,
        /// Why.
        reason: String,
    },
    /// The body of a document is not what its kind has.
    #[error("{kind} `{id}` is damaged: {reason}")]
    DamagedDocument {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A row of the audit trail cannot be read.
    #[error("row {seq} of the audit trail is damaged: {reason}")]
    DamagedAudit {
        /// Its number.
        seq: u64,
        /// What was wrong with it.
        reason: String,
    },
    /// The database server cannot be reached, or ended the connection. Nothing was written.
    #[error("the database {place} cannot be reached: {reason}")]
    Unreachable {
        /// Its address, without a password.
        place: String,
        /// In the driver's words.
        reason: String,
    },
    /// The connection was lost between a commit and its acknowledgement: it was written as a whole, or not at all.
    #[error("the connection to the database {place} was lost during a commit, which may have been done: {reason}")]
    Uncertain {
        /// Its address, without a password.
        place: String,
        /// In the driver's words.
        reason: String,
    },
    /// The tables of the database server were made by a newer Squall.
    #[error("the database {place} has format {found}, and this squall knows formats up to {known}")]
    NewerServer {
        /// Its address, without a password.
        place: String,
        /// Its version.
        found: usize,
        /// The newest that this program reads.
        known: usize,
    },
    /// The database server refused something. Nothing was written.
    #[error("the database {place} failed: {reason}")]
    Server {
        /// Its address, without a password.
        place: String,
        /// In its words.
        reason: String,
    },
    /// Any other failure of the database.
    #[error("the journal {} failed: {reason}", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// In SQLite's words.
        reason: String,
    },
}

fn shown(runs: &[RunId]) -> String {
    let mut text = runs.iter().take(3).map(RunId::as_str).collect::<Vec<_>>().join(", ");
    if runs.len() > 3 {
        text.push_str(", …");
    }
    text
}

impl StoreError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let aside = |path: &Path| {
            let shown = path.display();
            format!(
                "move it aside with its `-wal` and `-shm` files (`mv {shown} {shown}.damaged`) and Squall starts a new one; undo ledgers are kept \
                 apart from it, so `squall recover` works either way"
            )
        };
        Some(match self {
            Self::Open { path, .. } => {
                format!("check that {} can be written, or choose another place with --state-dir", parent(path).display())
            }
            Self::Foreign { .. } => "choose another place with --state-dir".into(),
            Self::Newer { .. } => "use a newer squall, or choose another place with --state-dir".into(),
            Self::Damaged { path, .. } => aside(path),
            Self::DamagedEvent { .. } => "the other runs can still be read; `squall history` lists them".into(),
            Self::Busy { .. } => "wait until the other squall command has finished, then try again".into(),
            Self::Full { path } => format!("make room on the device of {}", parent(path).display()),
            Self::NoSuchRun(_) | Self::Ambiguous { .. } => "`squall history` lists the runs; `latest` is the newest".into(),
            Self::NoRuns => "`squall demo` makes two".into(),
            Self::DamagedAudit { .. } => "`squall audit verify` finds the first row that was changed".into(),
            Self::Unreachable { .. } => "check that the database runs, and its address, user and password".into(),
            Self::NewerServer { .. } => "use a newer squall, or another database".into(),
            Self::Uncertain { .. } => "read it again to see whether it was done".into(),
            Self::UnknownRun(_)
            | Self::Begun(_)
            | Self::OutOfOrder { .. }
            | Self::Encode { .. }
            | Self::BadKey { .. }
            | Self::DamagedDocument { .. }
            | Self::Server { .. }
            | Self::Failed { .. } => return None,
        })
    }

    /// A failure of SQLite in the store's words.
    pub(crate) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged { path, reason },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Self::Open { path, reason },
            _ => match error {
                // A column that is missing or of another type: somebody else changed the tables.
                rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Damaged { path, reason },
                _ => Self::Failed { path, reason },
            },
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_a_user_can_do_something_about_has_a_hint() {
        let path = Path::new("/var/lib/squall/squall.db");
        let of = |code| StoreError::from_sqlite(path, &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(matches!(of(ffi::SQLITE_FULL), StoreError::Full { .. }));
        assert!(matches!(of(ffi::SQLITE_BUSY_SNAPSHOT), StoreError::Busy { .. }));
        assert!(matches!(of(ffi::SQLITE_CORRUPT), StoreError::Damaged { .. }));
        assert!(matches!(of(ffi::SQLITE_READONLY), StoreError::Open { .. }));
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_NOTADB, ffi::SQLITE_CANTOPEN] {
            let error = of(code);
            assert!(error.hint().is_some() && error.to_string().contains("/var/lib/squall/squall.db"), "{error}");
        }
    }
}
