//! What the carrier of a network fault is told.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::marks::DEVICE_MARK;
use squall_sys::netns::Namespace;

use super::netem::TcUndo;
use super::own_line::Line;
use super::owner::Owner;
use super::scope::Peer;
use super::{Scope, Shape};

/// A fault on a part of the traffic of one network namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkJob {
    /// Where.
    pub namespace: Namespace,
    /// Whose traffic.
    pub owner: Owner,
    /// Which of it.
    pub scope: Scope,
    /// What is done to it.
    pub action: Action,
    /// Left alone: the lines that Squall is reached by.
    pub lines: Vec<Line>,
    /// Packets of the loopback interface are left alone.
    pub spare_loopback: bool,
    /// The kernel's devices that carry it, where it is not a queue.
    pub device: Option<TcUndo>,
}

impl NetworkJob {
    /// Whether peers are given by name, so that they have to be looked up.
    pub(super) fn has_names(&self) -> bool {
        let (meant, left_out) = self.scope.read_peers();
        meant.iter().chain(&left_out).any(|peer| matches!(peer, Peer::Host(_)))
    }
}

/// What is done to packets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// They are gone, and nobody is told.
    Cut,
    /// Each is gone with that probability.
    Lose {
        /// 0 to 1.
        probability: f64,
    },
    /// They are gone, and whoever sent them is told.
    Refuse {
        /// How.
        with: Refusal,
    },
    /// TCP connections are reset when data pass.
    Reset {
        /// At each packet with data, 0 to 1.
        probability: f64,
    },
    /// New TCP connections are led to a fault proxy.
    Redirect {
        /// Where the proxy listens, within the namespace.
        port: u16,
    },
    /// They are held, changed, or sent twice.
    Shape {
        /// How.
        shape: Box<Shape>,
    },
}

/// What the sender of a refused packet is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// TCP: a reset ("connection refused"); everything else: ICMP port unreachable. What a host says where nobody listens.
    #[default]
    Refused,
    /// ICMP host unreachable: "no route to host".
    HostUnreachable,
    /// ICMP net unreachable, `ICMPv6` no route.
    NoRoute,
    /// ICMP administratively prohibited, as a firewall says.
    Prohibited,
}

/// By what packets are held and changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mechanism {
    /// Netem where the kernel has it and the scope is one that it can serve, otherwise the queue.
    #[default]
    Auto,
    /// A queue of `nfnetlink_queue` that Squall serves itself: works on every kernel with `nf_tables`, in both directions.
    Nfqueue,
    /// The kernel's netem (or tbf, for a rate alone) behind an `ifb` device: for what is sent through one interface.
    Netem,
}

/// What host names stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Addresses of the peers that are meant.
    pub meant: Vec<IpAddr>,
    /// Addresses of those that are left out.
    pub left_out: Vec<IpAddr>,
}

/// The names of an experiment's injection, as numbers: 24 bits of its marker (FNV-1a).
pub fn number_of(marker: &str) -> u32 {
    marker.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) & 0x00ff_ffff
}

/// The mark of packets that a device of the kernel shapes.
pub fn device_mark(marker: &str) -> u32 {
    DEVICE_MARK | number_of(marker)
}
