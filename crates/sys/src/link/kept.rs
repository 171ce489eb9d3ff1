//! What the kernel throws away when an interface is set down: IPv6 addresses, routes through it, and fixed neighbours.

use std::collections::BTreeSet;
use std::io;

use serde::{Deserialize, Serialize};
use squall_undo::boottime;

use crate::netlink::{Attributes, Message, Reply, flags};

use super::{Interface, Links};

/// `RTM_GETADDR`, `RTM_GETROUTE`, `RTM_GETNEIGH`, `RTM_GETNEXTHOP`.
const ADDRESSES: u16 = 22;
const ROUTES: u16 = 26;
const NEIGHBOURS: u16 = 30;
const NEXTHOPS: u16 = 106;
/// `AF_INET`, `AF_INET6`.
const V4: u8 = 2;
pub(super) const V6: u8 = 10;
/// Length of `struct ifaddrmsg`, `struct rtmsg`, `struct ndmsg`, `struct nhmsg`.
pub(super) const ADDRESS_HEAD: usize = 8;
pub(super) const ROUTE_HEAD: usize = 12;
pub(super) const NEIGHBOUR_HEAD: usize = 12;
const NEXTHOP_HEAD: usize = 8;
/// `RTA_OIF`, `RTA_METRICS`, `RTA_MULTIPATH`, `RTA_CACHEINFO`.
const OUT: u16 = 4;
const METRICS: u16 = 8;
const SEVERAL: u16 = 9;
const CACHE: u16 = 12;
/// `RTNH_F_ONLINK`: of a hop's flags the one that somebody has set; the others are the kernel's.
const ON_LINK: u32 = 4;
/// `RTM_F_CLONED`: a route of the cache.
const CLONED: u32 = 0x200;
/// `NUD_PERMANENT`, `NTF_PROXY`.
const PERMANENT: u16 = 0x80;
const PROXY: u8 = 8;

/// A message of the kernel's without what is not a setting, as hexadecimal digits in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Raw(pub(super) Vec<u8>);

impl From<Raw> for String {
    fn from(raw: Raw) -> Self {
        raw.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Raw {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()));
        digits.collect::<Option<Vec<u8>>>().map(Self).ok_or_else(|| "not hexadecimal digits".to_owned())
    }
}

/// What there was on an interface before it was set down, and on the VLANs above it, which go down with it.
///
/// Two things are not put back, as nobody can: the order of IPv6 routes that differ in nothing but the interface (`fe80::/64`),
/// and the queue `noop` of a VLAN that never was up (the kernel sets all VLANs up along with what they stand on).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kept {
    /// On `CLOCK_BOOTTIME`, in seconds: addresses may have a lifetime.
    pub(super) at: u64,
    /// The interface itself first. Index, name, up.
    pub(super) interfaces: Vec<(u32, String, bool)>,
    /// Of IPv6.
    pub(super) addresses: Vec<Raw>,
    /// Of both families.
    pub(super) routes: Vec<Raw>,
    pub(super) neighbours: Vec<Raw>,
}

impl Kept {
    /// What there is now.
    pub fn take(links: &mut Links, interface: &Interface) -> io::Result<Self> {
        let interfaces: Vec<(u32, String, bool)> =
            with_vlans(&links.all()?, interface).into_iter().map(|i| (i.index, i.name, i.up)).collect();
        let on: BTreeSet<u32> = interfaces.iter().map(|(index, ..)| *index).collect();
        let mut neighbours = neighbours(links, &on, 0)?;
        neighbours.extend(self::neighbours(links, &on, PROXY)?);
        Ok(Self { at: boottime().as_secs(), addresses: addresses(links, &on)?, routes: routes(links, &on)?, interfaces, neighbours })
    }

    /// Only the routes of IPv6 that have metrics of their own: what a change of the MTU changes.
    #[must_use]
    pub fn only_metrics(mut self) -> Self {
        self.addresses.clear();
        self.neighbours.clear();
        self.routes.retain(|raw| raw.0[0] == V6 && Attributes(&raw.0[ROUTE_HEAD..]).find(METRICS).is_some());
        self
    }

    /// How many addresses, routes and neighbours.
    pub fn count(&self) -> usize {
        self.addresses.len() + self.routes.len() + self.neighbours.len()
    }

    /// The interfaces that go down: the one that was asked for, then the VLANs above it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.interfaces.iter().map(|(_, name, _)| name.as_str())
    }

    pub(super) fn indexes(&self) -> BTreeSet<u32> {
        self.interfaces.iter().map(|(index, ..)| *index).collect()
    }
}

/// An interface and the VLANs above it: the kernel sets those down and up along with it.
fn with_vlans(all: &[Interface], interface: &Interface) -> Vec<Interface> {
    let mut found = vec![interface.clone()];
    let mut at = 0;
    while at < found.len() {
        let below = found[at].index;
        found.extend(all.iter().filter(|i| i.below == Some(below) && i.kind.as_deref() == Some("vlan")).cloned());
        at += 1;
    }
    found
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

/// The addresses of IPv6, as the kernel gives them.
pub(super) fn addresses(links: &mut Links, on: &BTreeSet<u32>) -> io::Result<Vec<Raw>> {
    let mut header = [0; ADDRESS_HEAD];
    header[0] = V6;
    let ours = |reply: &Reply| reply.body.first() == Some(&V6) && on.contains(&word(&reply.body, 4));
    Ok(links.dump(ADDRESSES, &header)?.into_iter().filter(ours).map(|reply| Raw(reply.body)).collect())
}

/// The routes through these interfaces in all tables, without what the kernel adds to tell how they are.
pub(super) fn routes(links: &mut Links, on: &BTreeSet<u32>) -> io::Result<Vec<Raw>> {
    let mut found = Vec::new();
    for family in [V4, V6] {
        let mut header = [0; ROUTE_HEAD];
        header[0] = family;
        let replies = links.dump(ROUTES, &header)?;
        found.extend(replies.iter().filter(|reply| reply.body.first() == Some(&family)).filter_map(|reply| route(reply, on)));
    }
    Ok(found)
}

fn route(reply: &Reply, on: &BTreeSet<u32>) -> Option<Raw> {
    let head = reply.body.get(..ROUTE_HEAD)?;
    if word(head, 8) & CLONED != 0 {
        return None;
    }
    let attributes = Attributes(&reply.body[ROUTE_HEAD..]);
    let through = attributes.find(OUT).is_some_and(|out| on.contains(&word(out.bytes, 0)));
    let hops = attributes.find(SEVERAL).map(|several| hops(several.bytes));
    if !through && !hops.as_ref().is_some_and(|(_, indexes)| indexes.iter().any(|index| on.contains(index))) {
        return None;
    }
    let mut header = head.to_vec();
    header[8..12].copy_from_slice(&(word(head, 8) & ON_LINK).to_ne_bytes());
    let mut message = Message::new(0, 0, &header);
    for attribute in attributes {
        match (attribute.kind, &hops) {
            (CACHE, _) => {}
            (SEVERAL, Some((bytes, _))) => {
                message.put(SEVERAL, bytes);
            }
            _ => {
                message.put(attribute.kind, attribute.bytes);
            }
        }
    }
    Some(Raw(message.finish(0).split_off(16)))
}

/// The hops of a route (`struct rtnexthop`: length, flags, hops, index) without the kernel's flags, and their interfaces.
fn hops(bytes: &[u8]) -> (Vec<u8>, Vec<u32>) {
    let (mut bytes, mut indexes, mut at) = (bytes.to_vec(), Vec::new(), 0);
    while at + 8 <= bytes.len() {
        indexes.push(word(&bytes, at + 4));
        bytes[at + 2] &= 4;
        at += usize::from(half(&bytes, at)).max(8).next_multiple_of(4);
    }
    (bytes, indexes)
}

/// Neighbours that somebody has set: with flags 0 the fixed ones, with `NTF_PROXY` those that are answered for.
pub(super) fn neighbours(links: &mut Links, on: &BTreeSet<u32>, flag: u8) -> io::Result<Vec<Raw>> {
    /// `NDA_CACHEINFO`, `NDA_PROBES`.
    const CACHE: u16 = 3;
    const PROBES: u16 = 4;
    let mut header = [0; NEIGHBOUR_HEAD];
    header[10] = flag;
    let mut found = Vec::new();
    for reply in links.dump(NEIGHBOURS, &header)? {
        let Some(head) = reply.body.get(..NEIGHBOUR_HEAD) else { continue };
        let set = if flag == PROXY { head[10] & PROXY != 0 } else { half(head, 8) & PERMANENT != 0 };
        if !set || ![V4, V6].contains(&head[0]) || !on.contains(&word(head, 4)) {
            continue;
        }
        let mut message = Message::new(0, 0, head);
        for attribute in Attributes(&reply.body[NEIGHBOUR_HEAD..]).into_iter().filter(|a| ![CACHE, PROBES].contains(&a.kind)) {
            message.put(attribute.kind, attribute.bytes);
        }
        found.push(Raw(message.finish(0).split_off(16)));
    }
    Ok(found)
}

/// All that is set of neighbours.
pub(super) fn all_neighbours(links: &mut Links, on: &BTreeSet<u32>) -> io::Result<Vec<Raw>> {
    Ok([neighbours(links, on, 0)?, neighbours(links, on, PROXY)?].concat())
}

impl Links {
    /// How many nexthop objects (`ip nexthop`) go through these interfaces. The kernel throws them away with their routes when
    /// an interface is set down.
    pub fn nexthop_objects(&mut self, indexes: &[u32]) -> io::Result<usize> {
        /// `NHA_OIF`.
        const OUT: u16 = 5;
        let ask = Message::new(NEXTHOPS, flags::REQUEST | flags::DUMP, &[0; NEXTHOP_HEAD]);
        let replies = match self.socket.dump(ask) {
            // Kernels before 5.3 have none.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => return Ok(0),
            other => other?,
        };
        let through = |reply: &&Reply| {
            let attributes = reply.body.get(NEXTHOP_HEAD..).map(Attributes);
            attributes.and_then(|a| a.find(OUT)).is_some_and(|out| indexes.contains(&word(out.bytes, 0)))
        };
        Ok(replies.iter().filter(through).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_messages_are_digits_in_the_ledger() {
        let json = serde_json::to_string(&Raw(vec![0, 10, 255])).expect("JSON");
        assert_eq!(json, "\"000aff\"");
        assert_eq!(serde_json::from_str::<Raw>(&json).expect("read"), Raw(vec![0, 10, 255]));
        assert!(serde_json::from_str::<Raw>("\"0g\"").is_err());
    }
}
