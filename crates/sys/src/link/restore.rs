//! Putting back what went lost while an interface was down.

use std::collections::BTreeSet;
use std::io;

use squall_undo::{Armed, boottime};

use crate::netlink::{Attributes, Message, flags};

use super::Links;
use super::kept::{ADDRESS_HEAD, Kept, NEIGHBOUR_HEAD, ROUTE_HEAD, Raw, V6, addresses, all_neighbours, routes, word};

/// `RTM_NEWADDR`, `RTM_NEWROUTE`, `RTM_NEWNEIGH`.
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const NEW_NEIGHBOUR: u16 = 28;
/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_CACHEINFO`, `IFA_FLAGS`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const LIFETIME: u16 = 6;
const FLAGS: u16 = 8;
/// `IFA_F_TEMPORARY` (of IPv6), `IFA_F_NODAD`, and those that tell how duplicate address detection stands
/// (`OPTIMISTIC`, `DADFAILED`, `TENTATIVE`).
const TEMPORARY: u32 = 0x01;
const NO_DETECTION: u32 = 0x02;
const DETECTION: u32 = 0x04 | 0x08 | 0x40;
/// `RTPROT_REDIRECT`, `RTPROT_RA`: the network tells them anew.
const FROM_THE_NETWORK: [u8; 2] = [1, 9];
/// `RTPROT_KERNEL`, `RTN_UNICAST`. (`NetworkManager` gives its routes to networks that name, too.)
const BY_THE_KERNEL: u8 = 2;
const TO_OTHERS: u8 = 1;
const FOREVER: u32 = u32::MAX;

/// What was put back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Addresses of IPv6.
    pub addresses: usize,
    /// Routes.
    pub routes: usize,
    /// Neighbours.
    pub neighbours: usize,
    /// What could not be, in words.
    pub failed: Vec<String>,
}

impl Kept {
    /// Sets VLANs to how they were, and adds what is missing. What others have added meanwhile stays. Addresses skip the
    /// detection of duplicates: they were this host's a moment ago.
    pub fn restore(&self, armed: &Armed, links: &mut Links) -> io::Result<Restored> {
        let all = links.all()?;
        for (index, name, up) in self.interfaces.iter().skip(1) {
            if all.iter().any(|i| i.index == *index && i.name == *name && i.up != *up) {
                links.set_up(armed, *index, *up)?;
            }
        }
        let mut restored = Restored::default();
        self.restore_addresses(links, &mut restored)?;
        self.restore_routes(links, &mut restored, false)?;
        let on = self.indexes();
        let there: BTreeSet<Raw> = all_neighbours(links, &on)?.into_iter().collect();
        for raw in self.neighbours.iter().filter(|raw| !there.contains(raw)) {
            let message = again(NEW_NEIGHBOUR, flags::CREATE | flags::REPLACE, raw, NEIGHBOUR_HEAD);
            match links.socket.request(vec![message]) {
                Ok(_) => restored.neighbours += 1,
                Err(error) => restored.failed.push(format!("a fixed neighbour: {error}")),
            }
        }
        Ok(restored)
    }

    /// Routes whose metrics the kernel has changed with an MTU get theirs back.
    pub fn restore_metrics(&self, _: &Armed, links: &mut Links) -> io::Result<Restored> {
        let mut restored = Restored::default();
        self.restore_routes(links, &mut restored, true)?;
        Ok(restored)
    }

    fn restore_addresses(&self, links: &mut Links, restored: &mut Restored) -> io::Result<()> {
        let there: Vec<_> = addresses(links, &self.indexes())?.iter().map(identity).collect();
        let away = u32::try_from(boottime().as_secs().saturating_sub(self.at)).unwrap_or(u32::MAX);
        // The kernel puts each new one before the others of its scope.
        for raw in self.addresses.iter().rev().filter(|raw| !there.contains(&identity(raw))) {
            let Some(messages) = address_again(raw, away) else { continue };
            match links.socket.request(messages) {
                Ok(_) => restored.addresses += 1,
                Err(error) => restored.failed.push(format!("an IPv6 address: {error}")),
            }
        }
        Ok(())
    }

    /// In several rounds: one route may need another, to its gateway.
    fn restore_routes(&self, links: &mut Links, restored: &mut Restored, replace: bool) -> io::Result<()> {
        let there: BTreeSet<Raw> = routes(links, &self.indexes())?.into_iter().collect();
        let mut missing: Vec<&Raw> = self.routes.iter().filter(|raw| !there.contains(raw) && is_set(raw)).collect();
        loop {
            let (before, mut errors) = (missing.len(), Vec::new());
            missing.retain(|raw| {
                let how = match (replace, raw.0[0] == V6) {
                    (true, _) => flags::CREATE | flags::REPLACE,
                    (false, true) => flags::CREATE | flags::EXCL,
                    // Of IPv4, there may be several to one destination.
                    (false, false) => flags::CREATE | flags::APPEND,
                };
                match links.socket.request(vec![again(NEW_ROUTE, how, raw, ROUTE_HEAD)]) {
                    Ok(_) => {
                        restored.routes += 1;
                        false
                    }
                    // Its address has brought it meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists && raw.0[5] == BY_THE_KERNEL => false,
                    Err(error) => {
                        errors.push(format!("a route{}: {error}", destination(raw)));
                        true
                    }
                }
            });
            if missing.is_empty() || missing.len() == before {
                restored.failed.extend(errors);
                return Ok(());
            }
        }
    }
}

/// Whether somebody has set a route. Those of IPv6 to addresses of this host the kernel makes with the address, a moment later,
/// and with a metric of 0 that nobody else can give.
fn is_set(raw: &Raw) -> bool {
    let (protocol, kind) = (raw.0[5], raw.0[7]);
    let with_address = raw.0[0] == V6 && protocol == BY_THE_KERNEL && kind != TO_OTHERS;
    !FROM_THE_NETWORK.contains(&protocol) && !with_address
}

/// By what an address is the same: interface, length of the prefix, and the address itself.
fn identity(raw: &Raw) -> (u32, u8, Vec<u8>) {
    let attributes = Attributes(&raw.0[ADDRESS_HEAD..]);
    let address = attributes.find(LOCAL).or_else(|| attributes.find(ADDRESS)).map(|a| a.bytes.to_vec());
    (word(&raw.0, 4), raw.0[1], address.unwrap_or_default())
}

/// ` to 10.1.0.0/16`, for messages.
fn destination(raw: &Raw) -> String {
    let bytes = Attributes(&raw.0[ROUTE_HEAD..]).find(1).map(|a| a.bytes);
    let address = match bytes {
        Some(bytes) if bytes.len() == 4 => <[u8; 4]>::try_from(bytes).map(|b| std::net::IpAddr::from(b).to_string()).ok(),
        Some(bytes) => <[u8; 16]>::try_from(bytes).map(|b| std::net::IpAddr::from(b).to_string()).ok(),
        None => Some("default".to_owned()),
    };
    address.map_or_else(String::new, |address| format!(" to {address}/{}", raw.0[1]))
}

/// The message that makes a thing again.
fn again(kind: u16, how: u16, raw: &Raw, head: usize) -> Message {
    let mut message = Message::new(kind, flags::REQUEST | flags::ACK | how, &raw.0[..head]);
    message.put_raw(&raw.0[head..]);
    message
}

/// The messages that make an address again: first without detection of duplicates, then with the flags that it had. `None` for
/// one that has run out, or that the kernel makes by itself.
fn address_again(raw: &Raw, away: u32) -> Option<Vec<Message>> {
    let attributes = Attributes(&raw.0[ADDRESS_HEAD..]);
    let had = attributes.find(FLAGS).and_then(|flags| u32::try_from(flags.number()?).ok()).unwrap_or_else(|| raw.0[2].into());
    if had & TEMPORARY != 0 {
        return None;
    }
    let life = attributes.find(LIFETIME).map(|life| (word(life.bytes, 0), word(life.bytes, 4)));
    let left = |seconds: u32| if seconds == FOREVER { FOREVER } else { seconds.saturating_sub(away) };
    let (preferred, valid) = life.map_or((FOREVER, FOREVER), |(preferred, valid)| (left(preferred), left(valid)));
    if valid == 0 {
        return None;
    }
    let with = |bits: u32, how: u16| {
        let mut head = raw.0[..ADDRESS_HEAD].to_vec();
        head[2] = (bits & 0xff) as u8;
        let mut message = Message::new(NEW_ADDRESS, flags::REQUEST | flags::ACK | how, &head);
        for attribute in attributes.into_iter().filter(|a| ![LIFETIME, FLAGS].contains(&a.kind)) {
            message.put(attribute.kind, attribute.bytes);
        }
        // struct ifa_cacheinfo: preferred, valid, created, updated.
        let life: Vec<u8> = [preferred, valid, 0, 0].iter().flat_map(|seconds| seconds.to_ne_bytes()).collect();
        message.put(LIFETIME, &life).put_u32(FLAGS, bits);
        message
    };
    let flags_then = had & !DETECTION;
    let mut messages = vec![with(flags_then | NO_DETECTION, flags::CREATE | flags::EXCL)];
    if flags_then & NO_DETECTION == 0 {
        messages.push(with(flags_then, flags::REPLACE));
    }
    Some(messages)
}
