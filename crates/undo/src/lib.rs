//! The way back. Before anything is touched, what is needed to put it back is written to a ledger and synced; only then
//! does the ledger hand out the [`Armed`] token that every changing function asks for. A watchdog, a small process of the
//! same binary, reverts what is still in the ledger when the run is gone or late; [`recover`] does so at any later time.
//!
//! ```text
//! engine                      ledger (runs/<id>/ledger)       watchdog
//! Ledger::create      ──────▶ header                          watch(): says ready
//! Ledger::arm         ──────▶ armed, synced ─────── poke ───▶ knows the deadline
//!   touches the target
//! Ledger::revert      ──────▶ reverted                        engine gone or late ─▶ reverts, records
//! Ledger::close       ──────▶ closed        ─────── poke ───▶ ends
//! ```
//!
//! Every step of this may be cut off by SIGKILL, of the engine, of the watchdog, or of both. What makes that safe: an undo
//! is on disk before the target is touched, it is idempotent, and an entry without a record of its revert is reverted again.
#![forbid(unsafe_code)]

mod armed;
mod claims;
mod file;
mod identity;
mod ledger;
mod outstanding;
mod record;
mod recover;
mod state_dir;
mod watch;
mod watchdog;

pub use armed::{ArmError, Armed};
pub use file::LedgerError;
pub use identity::{ProcessIdentity, boottime};
pub use ledger::{Entry, Ledger, Undoer};
pub use outstanding::{Outcome, revert_outstanding};
pub use record::{ArmedRecord, Done, EntryView, Header, LEDGER_VERSION, LedgerView, NewerFormat, Note};
pub use recover::{Orphan, RecoveredRun, engine_alive, orphans, recover, recoverable};
pub use state_dir::StateDir;
pub use watch::{WatchEnd, WatchError, watch};
pub use watchdog::{Poker, Watchdog, WatchdogError};
