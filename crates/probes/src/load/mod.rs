//! The load generator: an open model on a thread of its own.
//!
//! Arrivals are computed in advance ([`schedule`]) and a request starts when it is due ([`pace`]), whatever became of those
//! before it. Latency counts from the scheduled moment, so whatever delays a request (a stalled server, no connection, this
//! generator itself) is in it. What was seen is kept in slices of 100 ms ([`stats`]) that a reading merges, together with
//! the requests still under way, so that a stall shows while it lasts.

mod generator;
mod pace;
mod request;
mod schedule;
mod stats;
mod thread;

pub use generator::LoadGenerator;
pub use pace::Pacer;
pub(crate) use pace::watch_readable;
pub use stats::LONGEST_WINDOW;
