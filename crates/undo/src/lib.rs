//! The way back. Before anything is touched, what is needed to put it back is written to a ledger and synced; only then
//! does the ledger hand out the [`Armed`] token that every changing function asks for. A watchdog, a small process of the
//! same binary, reverts what is still in the ledger when the run is gone or late; `recover` does so at any later time.
#![forbid(unsafe_code)]

mod armed;
mod state_dir;

pub use armed::{ArmError, Armed};
pub use state_dir::StateDir;
