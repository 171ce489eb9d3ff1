//! HTTP over TCP and TLS, as the HTTP probes and the load generator both use it: where a request goes, how a connection is
//! made, how connections are kept and reused, and what can go wrong on the way.

mod client;
mod connect;
mod endpoint;
mod error;
mod http1;
mod http2;
mod tls;

pub(crate) use client::{Client, Prepared, header_map};
pub(crate) use connect::{Resolver, open_tcp};
pub(crate) use endpoint::Endpoint;
pub(crate) use error::WireError;
pub(crate) use http1::{Answer, BodyUse, Http1Pool, is_idempotent};
pub(crate) use http2::Http2Pool;
pub(crate) use tls::{TlsConfigs, Trust, roots};

/// What this program calls itself in requests.
pub(crate) const USER_AGENT: &str = concat!("squall/", env!("CARGO_PKG_VERSION"));
