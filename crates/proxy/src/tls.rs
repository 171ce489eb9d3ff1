//! TLS: a proxy that ends it with certificates of its own authority, starts it again towards the upstream, and breaks it in
//! between; and that passes on untouched what no rule is for.
//!
//! ```text
//! client ── ClientHello ──▶ greet: server name, rules ──┬─▶ pass through, byte for byte
//!                                                       ├─▶ an alert, silence, a cut
//!                                                       └─▶ handshake on the rule's terms ──▶ HTTP or bytes ──▶ originate
//! ```
//!
//! A kind of fault is one file in `kinds/` with an entry in [`KINDS`]. What it does to a connection is a plan: either
//! an answer to the ClientHello, or the terms of a handshake (which certificate, which protocol versions, where it stops).

mod accept;
mod alert;
mod authority;
mod compile;
mod der;
mod hello;
mod kinds;
mod mint;
mod ocsp;
mod originate;
mod plan;
mod responder;
mod spec;
mod stream;
mod weak;

pub use accept::{Accepted, Bridged, Facts, Greeted, Pending, TlsError, accept, bridge, greet};
pub use authority::{Authority, AuthorityDir, AuthorityError};
#[cfg(test)]
pub(crate) use compile::Decision;
pub use compile::{CompileCx, CompiledTls, TlsRuleError, compile};
pub use kinds::{KINDS, Kind};
pub use originate::{Upstream, originate};
pub use spec::{TlsSpec, UpstreamTls};
pub use stream::{Replayed, Terminated};

/// Seconds since 1970, by the wall clock: certificates are made and judged by it.
pub(crate) fn wall() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

/// Random bytes of the operating system. They decide nothing: names of files, and what a ServerHello has to hold.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness no key could be made, and nothing would have come this far.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}
