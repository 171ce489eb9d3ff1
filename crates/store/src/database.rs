//! The server's database: what every implementation of [`Database`] does, and the values that go in and out.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use squall_engine::BoxFuture;
use squall_model::{Record, RunId, Started};
use tokio::sync::broadcast;

use crate::audit::{AuditEntry, AuditError, AuditFilter, AuditHead, AuditRow};
use crate::{Filter, RunSummary, StoreError};

/// All state of a server: documents, leases, the audit trail and the journals of runs. Three implementations pass one
/// suite: [`MemoryDatabase`](crate::MemoryDatabase), `SqliteDatabase` and `PostgresDatabase`.
///
/// Kinds, ids and names of leases are texts of 1 to 512 bytes without NUL; ids sort by their bytes. What was acknowledged is
/// seen by every read that starts later, on every server of the same database.
pub trait Database: Send + Sync {
    /// Applies all writes of the batch or none, in order, each against what the ones before it left.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>>;

    /// One document.
    fn get<'a>(&'a self, kind: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<Document>, StoreError>>;

    /// Documents of a kind by id. For pages, give the last id of one as `after` of the next.
    fn list<'a>(&'a self, kind: &'a str, list: &'a List) -> BoxFuture<'a, Result<Vec<Document>, StoreError>>;

    /// How many documents of a kind have ids that start with the prefix.
    fn count<'a>(&'a self, kind: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Follows what changes from now on, by this server and by every other on the same database.
    fn watch(&self) -> Changes;

    /// Takes a lease for so long, if it is free, has lapsed, or is the holder's own already (a server that was started again
    /// under its name need not wait; what it did before is fenced off). `None`: another holds it.
    ///
    /// Time is the database's own: PostgreSQL's clock, or the time since the machine was started (`CLOCK_BOOTTIME`), which
    /// nobody sets. In SQLite a lease outlasts the server's process for as long as it was given; after a restart of the
    /// machine it has lapsed. In PostgreSQL a clock that is set forward ends leases early: that can cost a holder its lease,
    /// and never makes two valid fences.
    fn acquire<'a>(&'a self, name: &'a str, holder: &'a str, ttl: Duration) -> BoxFuture<'a, Result<Option<Fence>, StoreError>>;

    /// Makes a lease last for so long from now. A lapsed one that nobody else has taken is the holder's again.
    fn renew<'a>(&'a self, fence: &'a Fence, ttl: Duration) -> BoxFuture<'a, Result<(), LeaseError>>;

    /// Gives a lease back. One that is lost already is left to whoever has it.
    fn release<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Leases whose names start with the prefix, by name, lapsed ones too.
    fn leases<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Lease>, StoreError>>;

    /// Rows of the audit trail after a row (before it, with `filter.descending`), at most so many.
    fn audit<'a>(&'a self, after: Option<u64>, limit: usize, filter: &'a AuditFilter) -> BoxFuture<'a, Result<Vec<AuditRow>, StoreError>>;

    /// Computes the whole chain anew. With a head that the caller kept elsewhere, that row must still be what it was: this
    /// is how a trail is found whose end was cut off, or that was written anew as a whole.
    fn audit_verify<'a>(&'a self, kept: Option<&'a AuditHead>) -> BoxFuture<'a, Result<AuditHead, AuditError>>;

    /// Makes a run known, with its first records. The others follow.
    fn begin(&self, run: BeginRun) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Adds records to a run, all or none of them. They must follow on what is there (`seq` without gaps). With `sync` they,
    /// and all before them, are on disk when this is ready; see [`Batch::sync`].
    fn append<'a>(
        &'a self,
        run: &'a RunId,
        records: &'a [Record],
        sync: bool,
        fence: Option<&'a Fence>,
    ) -> BoxFuture<'a, Result<(), CommitError>>;

    /// At most so many records of a run, from `seq` on.
    fn records_from<'a>(&'a self, run: &'a RunId, seq: u64, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// Runs that pass the filter, the newest first, at most `filter.limit`; only those that are older than `before`.
    fn runs<'a>(&'a self, filter: &'a Filter, before: Option<&'a RunId>) -> BoxFuture<'a, Result<Vec<StoredRun>, StoreError>>;

    /// One run.
    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<StoredRun, StoreError>>;

    /// Ready when the database answers: for health checks.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Something that the server keeps: an experiment, a schedule, a user …
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// What it is, as `schedule`.
    pub kind: String,
    /// Which one of its kind.
    pub id: String,
    /// Grows with every change, by any amount, and is never used again for this id, not even after it was deleted.
    pub version: u64,
    /// When it was created, by the database's wall clock, to the microsecond.
    pub created: Timestamp,
    /// When it was changed last, likewise.
    pub updated: Timestamp,
    /// Its content.
    pub body: Json,
}

impl Document {
    /// The body as a type of the caller's.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        T::deserialize(&self.body).map_err(|error| StoreError::DamagedDocument {
            kind: self.kind.clone(),
            id: self.id.clone(),
            reason: error.to_string(),
        })
    }
}

/// Which documents to list. By default all, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// What their ids start with.
    pub prefix: String,
    /// Only ids after this one, in the list's direction. It need not exist.
    pub after: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// The last id first.
    pub descending: bool,
}

impl List {
    /// Those whose ids start with the prefix.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new document. There must be none of this id.
    Create {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        /// Its content.
        body: Json,
    },
    /// New content for a document that still has this version.
    Replace {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        /// The version that the new content was made from.
        version: u64,
        /// Its content.
        body: Json,
    },
    /// A document, whether there was one or not.
    Put {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        /// Its content.
        body: Json,
    },
    /// The end of a document that is there.
    Delete {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        /// The version that it must have; `None`: any.
        version: Option<u64>,
    },
    /// A row of the audit trail.
    Audit(AuditEntry),
}

/// Writes that are applied together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The writes, in order.
    pub writes: Vec<Write>,
    /// Refuse all of it when this lease has been taken by another or given back.
    pub fence: Option<Fence>,
    /// Whether the acknowledgement means "on disk" (the default). Without, it means that the batch outlives the server's process,
    /// however sudden its end, but perhaps not that of the machine (in PostgreSQL: of the database). For what is told again soon.
    pub sync: bool,
}

impl Batch {
    /// A batch on disk, without a fence.
    pub fn new(writes: impl Into<Vec<Write>>) -> Self {
        Self { writes: writes.into(), fence: None, sync: true }
    }

    /// Only while this lease is held.
    #[must_use]
    pub fn fenced(self, fence: Fence) -> Self {
        Self { fence: Some(fence), ..self }
    }

    /// Without waiting for the disk: see [`Batch::sync`].
    #[must_use]
    pub fn unsynced(self) -> Self {
        Self { sync: false, ..self }
    }
}

/// A batch that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// For each write: the document's new version, for a deletion the one that it had, for an audit entry its row's number.
    pub versions: Vec<u64>,
}

/// Why a batch, or records of a run, were not written. None of it was, except where [`StoreError::Uncertain`] says so.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The document exists (create), or is not of the expected version (replace, delete).
    #[error("{kind} `{id}` was changed in the meantime")]
    Conflict {
        /// Which write.
        index: usize,
        /// The document's kind.
        kind: String,
        /// The document's id.
        id: String,
    },
    /// There is no such document (replace, delete).
    #[error("there is no {kind} `{id}`")]
    NotFound {
        /// Which write.
        index: usize,
        /// The document's kind.
        kind: String,
        /// The document's id.
        id: String,
    },
    /// The lease has been taken by another, or given back.
    #[error("the lease `{}` is no longer held", .0.name)]
    Fenced(Fence),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Proof of a lease, for writes that only its holder may do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fence {
    /// The lease.
    pub name: String,
    /// Grows each time the lease is taken.
    pub token: u64,
}

/// A lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The lease.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// The fence's.
    pub token: u64,
    /// How long it still lasts; zero when it has lapsed.
    pub left: Duration,
}

/// Why a lease was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another has taken it, or it was given back.
    #[error("the lease `{}` is lost", .0.name)]
    Lost(Fence),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run to make known.
#[derive(Debug, Clone, PartialEq)]
pub struct BeginRun {
    /// As its first record has it.
    pub started: Started,
    /// `metadata.labels` of its manifest.
    pub labels: BTreeMap<String, String>,
    /// What the server wants to know of it beside its journal, as the schedule that started it. `Json::Null`: nothing.
    pub extra: Json,
    /// Its first records, `Started` before all: whoever finds the run finds them, however sudden the end of the server was. None: they follow.
    pub records: Vec<Record>,
    /// Refuse it when this lease has been taken by another or given back.
    pub fence: Option<Fence>,
}

/// A run as the server lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// As its journal tells.
    pub summary: RunSummary,
    /// As it was begun with; null for one of `squall run`.
    pub extra: Json,
}

/// Something that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A document was created, changed or deleted.
    Document {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// A run was begun, or has new records.
    Run(RunId),
    /// Changes may have been missed (this reader was too slow, or the connection was cut): list anew what matters.
    Missed,
}

/// What changes, as long as it is read.
#[derive(Debug)]
pub struct Changes(pub(crate) broadcast::Receiver<Change>);

impl Changes {
    /// How many changes a slow reader may be behind before it gets [`Change::Missed`].
    pub(crate) const BUFFER: usize = 1024;

    /// The next change; `None` when the database is gone. Nothing is lost when this future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Change::Missed),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Longest kind, id or name, in bytes.
const LONGEST: usize = 512;

/// Whether every implementation can keep a text as a key.
pub(crate) fn check_key(text: &str) -> Result<(), StoreError> {
    let reason = match text {
        "" => "it is empty".to_owned(),
        _ if text.len() > LONGEST => format!("it is longer than {LONGEST} bytes"),
        _ if text.contains('\0') => "it contains a NUL".to_owned(),
        _ => return Ok(()),
    };
    Err(StoreError::BadKey { key: text.chars().take(64).collect::<String>().escape_default().to_string(), reason })
}

impl Document {
    /// From a row: its version and two times, in microseconds since 1970.
    pub(crate) fn from_row(kind: String, id: String, numbers: [i64; 3], body: &str) -> Result<Self, StoreError> {
        let damaged = |reason: String| StoreError::DamagedDocument { kind: kind.clone(), id: id.clone(), reason };
        let [version, created, updated] = numbers;
        let version = u64::try_from(version).map_err(|e| damaged(e.to_string()))?;
        let created = Timestamp::from_microsecond(created).map_err(|e| damaged(e.to_string()))?;
        let updated = Timestamp::from_microsecond(updated).map_err(|e| damaged(e.to_string()))?;
        let body = serde_json::from_str(body).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { kind, id, version, created, updated, body })
    }
}

impl List {
    /// The first text that sorts after all that start with the prefix; `None` when nothing does. UTF-8 sorts as its code points
    /// do, so that is the prefix with its last character replaced by the next one.
    pub(crate) fn end(&self) -> Option<String> {
        let mut start = self.prefix.clone();
        while let Some(last) = start.pop() {
            // Between U+D7FF and U+E000 there are no characters.
            let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
            if let Some(next) = next {
                start.push(next);
                return Some(start);
            }
        }
        None
    }
}

impl Write {
    /// Kind and id of its document.
    pub(crate) fn key(&self) -> Option<(&str, &str)> {
        match self {
            Self::Create { kind, id, .. } | Self::Replace { kind, id, .. } | Self::Put { kind, id, .. } | Self::Delete { kind, id, .. } => {
                Some((kind, id))
            }
            Self::Audit(_) => None,
        }
    }
}

impl Batch {
    /// Whether every implementation can keep it.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.writes.iter().filter_map(Write::key).try_for_each(|(kind, id)| check_key(kind).and_then(|()| check_key(id)))
    }

    /// What watchers are told of it.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        self.writes.iter().filter_map(Write::key).map(|(kind, id)| Change::Document { kind: kind.to_owned(), id: id.to_owned() })
    }
}
