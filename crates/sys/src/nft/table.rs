//! What a table consists of, as data: sets, chains, rules, and the expressions of a rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A table of the family `inet`. Its name says whose it is: `squall-<run>-<injection>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Up to 255 bytes.
    pub name: String,
    /// Sets that rules look things up in.
    pub sets: Vec<Set>,
    /// Chains: those with a base are hooked into the kernel, the others are jumped to. A chain stands before those that jump
    /// to it.
    pub chains: Vec<Chain>,
}

/// A named set. One whose first elements are single values, at least one, holds nothing but such for as long as it is there: the kernel
/// finds those in less than half of the time that it needs for ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// Unique within the table.
    pub name: String,
    /// Of what.
    pub kind: SetKind,
    /// Its elements. Ranges may touch or overlap: they are merged before they are sent.
    pub elements: Vec<Element>,
}

/// Of what a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SetKind {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Port numbers (`inet_service`).
    Port,
}

/// An element: a closed range; a single value is a range from itself to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Element {
    /// From, to.
    Ipv4(Ipv4Addr, Ipv4Addr),
    /// From, to.
    Ipv6(Ipv6Addr, Ipv6Addr),
    /// From, to.
    Port(u16, u16),
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Unique within the table.
    pub name: String,
    /// Where it is hooked into the kernel. Its policy is to accept.
    pub base: Option<Base>,
    /// Its rules, first to last.
    pub rules: Vec<Rule>,
}

/// Where a chain is hooked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The point of a packet's way.
    pub hook: Hook,
    /// Lower goes first; conntrack is at -200, destination NAT at -100, filter at 0, source NAT at 100.
    pub priority: i32,
    /// What it may do.
    pub kind: ChainKind,
}

/// The points of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are nft's own")]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// What a chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are nft's own")]
pub enum ChainKind {
    Filter,
    Nat,
    Route,
}

/// A rule: all of its conditions, from left to right, then what is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Conditions and actions.
    pub expressions: Vec<Expression>,
    /// What it is for. Counters are found by it.
    pub comment: String,
}

/// Source or destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "two words that say it")]
pub enum Side {
    Source,
    Destination,
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "two words that say it")]
pub enum Family {
    V4,
    V6,
}

impl From<Family> for SetKind {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4,
            Family::V6 => Self::Ipv6,
        }
    }
}

/// A condition or an action of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Expression {
    /// The packet came in by the interface with that name (`meta iifname`).
    CameBy(String),
    /// The packet leaves by the interface with that name (`meta oifname`).
    LeavesBy(String),
    /// As `CameBy`, inverted.
    NotCameBy(String),
    /// As `LeavesBy`, inverted.
    NotLeavesBy(String),
    /// `meta nfproto`.
    Family(Family),
    /// `meta l4proto`: one of these numbers (6 TCP, 17 UDP, 1 ICMP, 58 `ICMPv6`, 132 SCTP).
    Protocol(Vec<u8>),
    /// The address is (or is not) in the set. Implies the set's family.
    Address {
        /// Whose.
        side: Side,
        /// Of the table; of kind `Ipv4` or `Ipv6`.
        set: String,
        /// Of the set.
        family: Family,
        /// Inverted.
        not: bool,
    },
    /// The address is this one. Implies its family.
    AddressIs(Side, IpAddr),
    /// The address is one from the first to the last, both of one family. Implies that family.
    AddressWithin(Side, IpAddr, IpAddr),
    /// The port is (or is not) in the set. Implies a protocol that has ports, unless a `Protocol` with only such stands before it.
    Port {
        /// Whose.
        side: Side,
        /// Of the table; of kind `Port`.
        set: String,
        /// Inverted.
        not: bool,
    },
    /// The port is this one. Implies a protocol that has ports, likewise.
    PortIs(Side, u16),
    /// TCP: of the flags in the mask, exactly these are set (`tcp flags & mask == value`). Implies TCP.
    TcpFlags {
        /// Which to look at.
        mask: u8,
        /// Which must be set.
        value: u8,
    },
    /// `meta mark` is this.
    Mark(u32),
    /// `meta mark` is not this.
    NotMark(u32),
    /// Of the bits of `meta mark` in the mask, exactly these are set.
    MarkBits {
        /// Which to look at.
        mask: u32,
        /// Which must be set.
        value: u32,
    },
    /// `ICMPv6` of a type from the first to the last (`icmpv6 type`). Implies the protocol.
    IcmpV6Types(u8, u8),
    /// Sets `meta mark`.
    SetMark(u32),
    /// `meta skuid`: the user that the packet's own socket belongs to.
    User(u32),
    /// `socket cgroupv2 level N "path"`: the group, given by its path below the root of cgroup v2, or one below it.
    CgroupV2(String),
    /// `meta cgroup`: the class of cgroup v1's `net_cls`.
    NetClass(u32),
    /// `socket mark`: `SO_MARK` of the local socket that the packet is for or from.
    SocketMark(u32),
    /// Matches by chance, with that probability (`numgen random`).
    Chance(f64),
    /// Counts what comes this far.
    Counter,
    /// The packet goes on, past the rest of this table's chain.
    Accept,
    /// The packet is gone.
    Drop,
    /// Back to where this chain was jumped to from; in a base chain: accept.
    Return,
    /// Goes on in another chain, and comes back.
    Jump(String),
    /// Goes on in another chain, and does not come back.
    Goto(String),
    /// Handed to a program in user space (`nfnetlink_queue`). With `bypass`, packets go on where there is none.
    Queue {
        /// Of the queue.
        number: u16,
        /// Go on where nobody listens.
        bypass: bool,
    },
    /// Refused, and the sender told.
    Reject(Reject),
    /// `redirect to :port`, in chains of kind `Nat`. Implies a protocol that has ports, likewise.
    Redirect(u16),
}

/// What the sender of a refused packet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reject {
    /// A TCP reset. Implies TCP.
    TcpReset,
    /// ICMP(v6) port unreachable.
    PortUnreachable,
    /// ICMP(v6) host unreachable.
    HostUnreachable,
    /// ICMP net unreachable, `ICMPv6` no route.
    NoRoute,
    /// ICMP(v6) administratively prohibited.
    Prohibited,
}
