//! Faults on DNS, without a change of `resolv.conf`.
//!
//! The queries of the target are redirected (`nf_tables`, in its network namespace) to a resolver of Squall's own in a child
//! process. It breaks the queries whose names and types match, and passes every other on to the server that it was meant for. The
//! kernel takes the redirection away with the child, see [`crate::stressor`].
//!
//! ```text
//! target ──query──▶ port 53 of any server ──redirect──▶ resolver ──matches?──▶ answered, held, ignored
//!                                                           └──no──▶ the same bytes to that server, with the pass mark
//! ```

mod address;
mod carried;
pub(crate) mod carrier;
mod decide;
pub mod error;
mod job;
pub mod latency;
mod look;
mod message;
mod names;
mod nameservers;
mod queries;
pub mod random;
mod resolver;
mod table;
pub mod timeout;
pub mod wrong_answer;

use std::sync::Arc;

use squall_engine::AnyFault;

pub use address::Address;
pub use carried::DnsUndo;
pub use job::{DnsJob, Treatment};
pub use queries::{Kind, Queries};

/// Every fault of the family.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    vec![
        Arc::new(error::DnsError::default()),
        Arc::new(timeout::DnsTimeout::default()),
        Arc::new(latency::DnsLatency::default()),
        Arc::new(wrong_answer::DnsWrongAnswer::default()),
        Arc::new(random::DnsRandom::default()),
    ]
}

#[cfg(test)]
mod tests {
    use squall_sys::netns::Namespace;

    use super::{DnsJob, Treatment};
    use crate::network::owner::Owner;

    /// A job on everything below `example.com`.
    pub(super) fn job(treatment: Treatment) -> DnsJob {
        DnsJob {
            namespace: Namespace::own().expect("own"),
            owner: Owner::Everything,
            names: vec!["*.example.com".into()],
            types: Vec::new(),
            probability: 1.0,
            servers: Vec::new(),
            ports: vec![53],
            treatment,
            port: 5353,
            nameservers: Vec::new(),
            seed: 1,
        }
    }
}
