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
//! In a test, a proxy is a line, and so is each fault:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use squall_proxy::{Control, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let upstream = TcpListener::bind("127.0.0.1:0")?;
//! let control = Control::start(&Options::default())?;
//! let proxy = control.proxy("redis", &upstream.local_addr()?.to_string())?;
//! proxy.toxic("limit_data:bytes=3;stream=upstream")?;
//!
//! let mut client = TcpStream::connect(proxy.listen()?)?;
//! client.write_all(b"hello")?;
//! let mut seen = String::new();
//! let _ = upstream.accept()?.0.read_to_string(&mut seen);
//! assert_eq!(seen, "hel");
//! assert_eq!(proxy.counters().accepted, 1);
//! assert!(!proxy.events().is_empty());
//! # Ok(())
//! # }
//! ```
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
pub mod experiment;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
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
