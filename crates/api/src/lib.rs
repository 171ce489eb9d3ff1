//! What Squall's server, its agents and whoever talks to them say to each other.
//!
//! - [`link`]: the frames between a server and an agent. Not for outsiders: both come from one release, or say that they do not.
//! - Everything else: requests and responses of the HTTP API under `/api/v1`, as its `OpenAPI` document describes them.
//! - `client` (with the feature of that name): a typed client.
#![forbid(unsafe_code)]

pub mod approvals;
pub mod audit;
#[cfg(feature = "client")]
pub mod client;
pub mod experiments;
pub mod findings;
pub mod gamedays;
pub mod hosts;
pub mod link;
mod page;
pub mod policies;
pub mod problem;
pub mod runs;
pub mod schedules;
pub mod session;
pub mod tokens;
pub mod users;

pub use page::{DEFAULT_LIMIT, MAX_LIMIT, Page, PageQuery};
pub use problem::Problem;
