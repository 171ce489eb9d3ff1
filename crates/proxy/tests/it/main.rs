//! The proxy as its users have it: real sockets on both sides.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod churn;
mod experiment;
mod guide;
mod http;
mod http2;
mod http_bodies;
mod http_conformance;
mod http_leaving;
mod http_messages;
mod relay;
mod stream;
mod tls;
