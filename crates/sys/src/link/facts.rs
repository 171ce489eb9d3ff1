//! What is known of an interface.

use std::net::IpAddr;

use crate::netlink::{Attributes, Reply};

/// `RTM_NEWLINK`.
const NEW: u16 = 16;
/// `IFLA_*`.
pub(super) const NAME: u16 = 3;
pub(super) const MTU: u16 = 4;
const BELOW: u16 = 5;
const BRIDGE: u16 = 10;
pub(super) const INFO: u16 = 18;
pub(super) const ALIAS: u16 = 20;
const OTHER_NAMESPACE: u16 = 37;
const LEAST_MTU: u16 = 50;
const MOST_MTU: u16 = 51;
/// Within `IFLA_LINKINFO`.
pub(super) const KIND: u16 = 1;
/// `IFF_UP`, `IFF_LOOPBACK`.
pub(super) const UP: u32 = 1;
const LOOPBACK: u32 = 8;
/// Length of `struct ifinfomsg`.
pub(super) const HEAD: usize = 16;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Unique within the namespace.
    pub index: u32,
    /// `eth0`.
    pub name: String,
    /// It is set up. (Whether there is a line is another question.)
    pub up: bool,
    /// It is the loopback interface.
    pub loopback: bool,
    /// In bytes, without the link's own header.
    pub mtu: u32,
    /// The smallest that it takes; 0: none is known.
    pub least_mtu: u32,
    /// The largest that it takes; 0: none is known.
    pub most_mtu: u32,
    /// `veth`, `ifb`, `vlan`…; none for hardware.
    pub kind: Option<String>,
    /// What somebody has written on it (`ip link … alias`).
    pub alias: Option<String>,
    /// Index of the interface of the same namespace that it stands on (VLANs and the like).
    pub below: Option<u32>,
    /// Index of the bridge or bond that it is a part of.
    pub part_of: Option<u32>,
    /// Its addresses, as the kernel orders them.
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let head = reply.body.get(..HEAD).filter(|_| reply.kind == NEW)?;
        let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let attributes = Attributes(&reply.body[HEAD..]);
        let number = |kind| attributes.find(kind).and_then(|a| u32::try_from(a.number()?).ok());
        let below = number(BELOW).filter(|index| *index != word(4) && attributes.find(OTHER_NAMESPACE).is_none());
        Some(Self {
            index: word(4),
            name: attributes.find(NAME)?.text(),
            up: word(8) & UP != 0,
            loopback: word(8) & LOOPBACK != 0,
            mtu: number(MTU).unwrap_or_default(),
            least_mtu: number(LEAST_MTU).unwrap_or_default(),
            most_mtu: number(MOST_MTU).unwrap_or_default(),
            kind: attributes.find(INFO).and_then(|info| info.nested().find(KIND)).map(|kind| kind.text()),
            alias: attributes.find(ALIAS).map(|alias| alias.text()),
            below,
            part_of: number(BRIDGE),
            addresses: Vec::new(),
        })
    }
}

/// Index and address of a message about an address. The local one where both ends of a line have one.
pub(super) fn address(reply: &Reply) -> Option<(u32, IpAddr)> {
    /// `RTM_NEWADDR`, `IFA_ADDRESS`, `IFA_LOCAL`; `struct ifaddrmsg` has 8 bytes, the index last.
    const NEW_ADDRESS: u16 = 20;
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let head = reply.body.get(..8).filter(|_| reply.kind == NEW_ADDRESS)?;
    let attributes = Attributes(&reply.body[8..]);
    let bytes = attributes.find(LOCAL).or_else(|| attributes.find(ADDRESS))?.bytes;
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some((u32::from_ne_bytes([head[4], head[5], head[6], head[7]]), address))
}
