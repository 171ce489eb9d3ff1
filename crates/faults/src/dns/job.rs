//! What the carrier of a DNS fault is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_engine::marks::RESOLVER_MARK;
use squall_sys::netns::Namespace;

use crate::network::owner::Owner;

/// A fault on the DNS queries of one network namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsJob {
    /// Where.
    pub namespace: Namespace,
    /// Whose queries.
    pub owner: Owner,
    /// Names, or patterns of them.
    pub names: Vec<String>,
    /// Numbers of record types; none for every one.
    pub types: Vec<u16>,
    /// Of the matching queries so many are broken, 0 to 1.
    pub probability: f64,
    /// Only what is sent to these; none for every server.
    pub servers: Vec<IpAddr>,
    /// That name servers listen on.
    pub ports: Vec<u16>,
    /// What is done to them.
    pub treatment: Treatment,
    /// Where the resolver listens, on the loopback addresses. Known beforehand, so that whoever reverts knows which flows were
    /// redirected.
    pub port: u16,
    /// The target's own name servers: the first is asked where the kernel does not say whom a query was for.
    pub nameservers: Vec<SocketAddr>,
    /// Draws all that is random.
    pub seed: u64,
}

/// What is done to a query that matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Treatment {
    /// It is answered with this code and no records.
    Answer {
        /// RCODE (RFC 1035, section 4.1.1).
        code: u8,
    },
    /// It is not answered.
    Silence,
    /// It is answered by the real server, later.
    Delay {
        /// So much.
        delay: Duration,
        /// Up to so much more or less, uniformly.
        jitter: Duration,
    },
    /// It is answered with these addresses; with no data where there are none of its type.
    Addresses {
        /// For A.
        v4: Vec<Ipv4Addr>,
        /// For AAAA.
        v6: Vec<Ipv6Addr>,
        /// Seconds.
        ttl: u32,
    },
    /// It is answered with addresses that are drawn anew for each answer.
    Random {
        /// From these blocks: a network and the length of its prefix.
        blocks: Vec<(IpAddr, u8)>,
        /// So many.
        count: u8,
        /// Seconds.
        ttl: u32,
    },
}

/// How many faults may be in force in one namespace at once.
pub(crate) const PLACES: u32 = 16;
/// The part of a mark that says that it is a resolver's.
pub(crate) const WHOSE: u32 = 0xff00_0000;
/// The part that says in which place.
pub(crate) const PLACE: u32 = PLACES - 1;

/// The mark of what the resolver in that place sends itself, for queries of that owner. Bits 14 and 15 are kube-proxy's.
pub(crate) fn mark(place: u32, owner: &Owner) -> u32 {
    // FNV-1a.
    let text = serde_json::to_vec(owner).unwrap_or_default();
    let hash = text.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    RESOLVER_MARK | (hash & 0x00ff_3ff0) | (place & PLACE)
}
