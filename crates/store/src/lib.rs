//! Where runs are remembered: an append-only journal in one SQLite database per state directory.
//!
//! A run is its [`Record`](squall_model::Record)s and nothing else; whatever history, `show` or a report says is read off
//! them. The first batch of a run starts with its `Started` event and makes the run known; the last holds its `Ended`.
//! Two implementations of [`RunStore`] pass one conformance suite: [`Store`] (SQLite, for real runs) and [`MemoryStore`]
//! (for tests of what stands on a store).
//!
//! A server keeps more than journals: see [`Database`], which has them and documents, leases and the audit trail.
//!
//! ```
//! use squall_store::{Filter, RunStore, Store};
//! # let directory = std::env::temp_dir().join(format!("squall-store-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory).expect("a directory");
//! let store = Store::open(&directory.join("squall.db"))?;
//! assert!(store.runs(&Filter::default())?.is_empty());
//! # drop(store);
//! # std::fs::remove_dir_all(&directory).expect("removed");
//! # Ok::<(), squall_store::StoreError>(())
//! ```
#![forbid(unsafe_code)]

mod audit;
mod database;
mod error;
mod memory;
mod memory_database;
mod postgres_database;
mod rows;
mod schema;
mod sqlite;
mod sqlite_database;
mod summary;

pub use audit::{AuditEntry, AuditError, AuditFilter, AuditHead, AuditRow};
pub use database::{
    Batch, BeginRun, Change, Changes, CommitError, Committed, Database, Document, Fence, Lease, LeaseError, List, StoredRun, Write,
};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use memory_database::MemoryDatabase;
pub use postgres_database::PostgresDatabase;
pub use schema::SCHEMA_VERSION;
pub use sqlite::Store;
pub use sqlite_database::SqliteDatabase;
pub use summary::{Filter, RunStore, RunSummary};
