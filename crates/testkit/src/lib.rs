//! What the tests of several crates share: a clock that tests drive, real processes to break, and the bench that every fault
//! has to pass.
//!
//! ```no_run
//! use squall_testkit::{Victim, eventually};
//!
//! let victim = Victim::sleeper();
//! // … break it …
//! eventually("it has ended", || victim.running().is_empty());
//! // All of its processes are gone when it is dropped, also those that were started in its place.
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::missing_panics_doc, reason = "all of it panics when something is not as it should be: that fails the test")]

pub mod conformance;
mod execution;
mod fake_clock;
pub mod net;
mod net_snapshot;
mod planned;
mod postgres;
mod supervised;
mod victim;
mod waiting;

pub use execution::Execution;
pub use fake_clock::FakeClock;
pub use net_snapshot::NetSnapshot;
pub use planned::planned;
pub use postgres::Postgres;
pub use supervised::Supervised;
pub use victim::Victim;
pub use waiting::{eventually, eventually_ok, in_time};
