//! HTTP/1.1 between a client and its upstream: read strictly, passed on byte for byte, and broken where a rule says so.
//!
//! ```text
//! client ── head ──▶ rules decide ──┬─ nothing: the same bytes, body by its framing ──▶ upstream
//!                                   └─ a plan: delay, answer, edit, cut …
//! ```
//!
//! Each client connection has an upstream connection of its own, opened with its first request that goes there. A message
//! that two readers could take for two different things is answered with 400 and passed on to nobody.

pub(crate) mod fault;
pub(crate) mod head;
pub(crate) mod plan;
mod planned;
pub(crate) mod rules;
mod session;

pub use fault::KINDS;
pub use head::Malformed;
pub use rules::Arms;
pub(crate) use rules::RuleSet;
pub(crate) use session::{Connect, serve};
