//! The fault proxy: stands between a service and what it depends on, without root, and breaks that one edge.
//!
//! ```text
//! client ── listener (one a core, SO_REUSEPORT) ── link: upstream toxics ───▶ upstream
//!                                              ◀── link: downstream toxics ──
//! ```
//!
//! A *toxic* works on bytes: latency, bandwidth, cuts (Toxiproxy's vocabulary and API). A *rule* works on what the bytes
//! mean: an HTTP exchange, a token stream, a TLS handshake. A connection without either is relayed by the kernel
//! (`splice(2)`). Toxics and rules change on open connections; what was on its way stays in order and is not lost.
//!
//! Every decision is a keyed hash ([`decide`]), so that the same seed and the same requests give the same faults.
#![forbid(unsafe_code)]

mod address;
pub mod api;
pub mod body;
pub mod control;
pub mod data;
pub mod decide;
pub mod events;
mod relay;
pub mod rule;
mod server;
mod socket;
pub mod stream;
pub mod time;
pub mod tls;
pub mod toxic;

pub use address::{Address, ListenError};
pub use control::{Control, ControlError, ProxyHandle};
pub use events::{Event, EventLog, Happened};
pub use rule::RuleSpec;
pub use server::{Counters, Options, Proxies, Route, RuleError};
pub use toxic::{Direction, Toxic, ToxicSpec};
