//! By which interface an address is reached, or which interface has it (`rtnetlink(7)`).

use std::io;
use std::net::IpAddr;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::netlink::{Attributes, Bus, Message, Socket, flags};

/// `RTM_GETROUTE` and `RTM_GETADDR`.
const GET_ROUTE: u16 = 26;
const GET_ADDRESS: u16 = 22;
/// `RTA_DST` and `RTA_OIF`.
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
/// Length of `struct rtmsg` and of `struct ifaddrmsg`.
const ROUTE: usize = 12;
const ADDRESS: usize = 8;
/// `IFA_ADDRESS` and `IFA_LOCAL`. The second is missing in IPv6.
const PREFIX: u16 = 1;
const LOCAL: u16 = 2;

fn octets(ip: IpAddr) -> (u8, Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => (2, ip.octets().to_vec()),
        IpAddr::V6(ip) => (10, ip.octets().to_vec()),
    }
}

/// The interface that a packet to this address would leave by, in the calling thread's network namespace. None where there is
/// no route to it.
pub fn interface_towards(peer: IpAddr) -> io::Result<Option<String>> {
    let (family, bytes) = octets(peer.to_canonical());
    let mut header = [0_u8; ROUTE];
    header[0] = family;
    header[1] = if family == 2 { 32 } else { 128 };
    let mut message = Message::new(GET_ROUTE, flags::REQUEST | flags::ACK, &header);
    message.put(DESTINATION, &bytes);
    let replies = match Socket::open(Bus::Route)?.request(vec![message]) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ESRCH)) => return Ok(None),
        replies => replies?,
    };
    let index = replies.iter().find_map(|reply| Attributes(reply.body.get(ROUTE..)?).find(INTERFACE)?.number());
    index.and_then(|index| u32::try_from(index).ok()).map(name_of).transpose()
}

/// The interface that has this address, in the calling thread's network namespace.
pub fn interface_of(local: IpAddr) -> io::Result<Option<String>> {
    let (family, bytes) = octets(local.to_canonical());
    let mut header = [0_u8; ADDRESS];
    header[0] = family;
    let replies = Socket::open(Bus::Route)?.dump(Message::new(GET_ADDRESS, flags::REQUEST | flags::DUMP, &header))?;
    for reply in replies {
        let Some((head, attributes)) = reply.body.split_first_chunk::<ADDRESS>() else { continue };
        let attributes = Attributes(attributes);
        let address = attributes.find(LOCAL).or_else(|| attributes.find(PREFIX));
        if head[0] == family && address.is_some_and(|attribute| attribute.bytes == bytes) {
            return name_of(u32::from_ne_bytes([head[4], head[5], head[6], head[7]])).map(Some);
        }
    }
    Ok(None)
}

fn name_of(index: u32) -> io::Result<String> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(rustix::net::netdevice::index_to_name(&socket, index)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn loopback_is_reached_by_and_found_on_its_interface() {
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            assert_eq!(interface_towards(ip).expect("asked").as_deref(), Some("lo"), "{ip}");
            assert_eq!(interface_of(ip).expect("asked").as_deref(), Some("lo"), "{ip}");
        }
        // TEST-NET-1 (RFC 5737) is nobody's.
        assert_eq!(interface_of("192.0.2.77".parse().expect("an address")).expect("asked"), None);
    }
}
