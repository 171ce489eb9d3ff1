//! The agent of a host: it carries out faults there, whoever asks for them, within the host's own limits.
//!
//! - [`Agent`]: joins a server, links to it and to all that share its database, and does what they ask (`link.rs`, `join.rs`).
//! - [`executor`]: carries that out, with a lease for everything that is in force.
//! - [`local`]: the same for programs and people of this host, without a server.
#![forbid(unsafe_code)]

mod agent;
pub mod executor;
mod http;
mod join;
mod link;
pub mod local;
mod outbox;
mod sse;
mod tls;

pub use agent::{Agent, AgentConfig, AgentError};
pub use http::HttpError;
pub use join::{Identity, JoinError};
pub use tls::{TlsError, Trust};
