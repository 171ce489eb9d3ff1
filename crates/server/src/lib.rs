//! The server of a team: one HTTP API for console, command line, agents and outsiders.
//!
//! - [`App`]: what every route is given: the database and the services that stand on it.
//! - `routes/<resource>.rs`: one file a resource, each with a `router()`; `routes/mod.rs` puts them together with their description (`OpenAPI`).
//! - [`auth`]: who is asking, and what they may do.
//! - [`fleet`]: hosts with an agent, and the link to each.
//! - [`runs`]: experiments under way. The engine is the one of `squall run`; its kinds are stand-ins that ask an agent.
#![forbid(unsafe_code)]

mod app;
mod approvals;
pub mod auth;
mod config;
mod console;
mod error;
mod experiments;
mod extract;
mod findings;
pub mod fleet;
mod follow;
mod gamedays;
mod idempotency;
mod metrics;
pub mod notifications;
pub mod policy;
mod routes;
mod run_view;
pub mod runs;
pub mod scheduler;
mod serve;
mod traces;
mod versions;

pub use app::{App, Parts, SystemWallClock, WallClock, background};
pub use config::{EXAMPLE as CONFIG_EXAMPLE, ServerConfig, TlsFiles};
pub use error::ApiError;
pub use extract::{Json, Query};
pub use idempotency::{IDEMPOTENCY_KEY, forget_old};
pub use routes::{openapi, router};
pub use serve::{agents_certificate, api_tls, serve};
pub use traces::export_traces;
