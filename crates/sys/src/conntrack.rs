//! Flows that the kernel tracks (`ctnetlink`, `linux/netfilter/nfnetlink_conntrack.h`): where a redirected packet was going to,
//! and forgetting flows, so that their next packet is judged by the rules that there are then.
//!
//! A flow keeps its address translation for as long as the kernel remembers it (UDP: 30 s after the last packet, 120 s where both
//! sides have sent), whatever became of the rule that gave it. A client that keeps its socket would not notice that a rule came or
//! went. So whoever makes or takes away a rule of translation has to forget the flows that it is about.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use squall_undo::Armed;

use crate::netlink::{Attribute, Attributes, Bus, Message, Socket, flags};

/// `NFNL_SUBSYS_CTNETLINK` in the upper byte, `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE` in the lower.
const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_ZONE`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// Within a tuple: `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// 6 is TCP, 17 is UDP.
    pub protocol: u8,
    /// Who sends.
    pub source: SocketAddr,
    /// Who is meant.
    pub destination: SocketAddr,
}

/// A flow: how it began, and how its answers look. Where they are not each other's mirror image, an address is translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// As whoever began it sees it.
    pub original: Tuple,
    /// As whoever answers sees it.
    pub reply: Tuple,
    id: Option<u32>,
    zone: Option<u16>,
}

impl Flow {
    /// Whether its destination was translated: answers come from elsewhere than the packets were sent to.
    pub fn is_redirected(&self) -> bool {
        self.original.destination != self.reply.source
    }
}

/// The flows of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens it. Needs `CAP_NET_ADMIN` in the namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Bus::Netfilter)? })
    }

    /// The flow whose answers look like this; none if there is no such flow.
    pub fn by_reply(&mut self, reply: Tuple) -> io::Result<Option<Flow>> {
        let mut message = Message::new(GET, flags::REQUEST | flags::ACK, &header(reply.source.is_ipv6()));
        put_tuple(&mut message, REPLY, &reply);
        match self.socket.request(vec![message]) {
            Ok(found) => Ok(found.iter().find_map(|reply| parse(&reply.body))),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every flow of UDP and TCP, IPv4 and IPv6.
    pub fn flows(&mut self) -> io::Result<Vec<Flow>> {
        // AF_UNSPEC: both families.
        let message = Message::new(GET, flags::REQUEST | flags::DUMP, &[0; 4]);
        Ok(self.socket.dump(message)?.iter().filter_map(|reply| parse(&reply.body)).collect())
    }

    /// Forgets the flows that are chosen, and says how many. One that is gone meanwhile is no error.
    pub fn forget(&mut self, _armed: &Armed, chosen: impl Fn(&Flow) -> bool) -> io::Result<usize> {
        let mut forgotten = 0;
        for flow in self.flows()?.into_iter().filter(chosen) {
            let mut message = Message::new(DELETE, flags::REQUEST | flags::ACK, &header(flow.original.source.is_ipv6()));
            put_tuple(&mut message, ORIGINAL, &flow.original);
            if let Some(zone) = flow.zone {
                message.put(ZONE, &zone.to_be_bytes());
            }
            if let Some(id) = flow.id {
                message.put_be32(ID, id);
            }
            match self.socket.request(vec![message]) {
                Ok(_) => forgotten += 1,
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(forgotten)
    }
}

fn is_not_found(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}

/// `struct nfgenmsg`: family, version, resource.
fn header(v6: bool) -> [u8; 4] {
    // AF_INET6 and AF_INET.
    [if v6 { 10 } else { 2 }, 0, 0, 0]
}

fn put_tuple(message: &mut Message, kind: u16, tuple: &Tuple) {
    message.put_nested(kind, |m| {
        m.put_nested(ADDRESSES, |m| {
            // CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST.
            for (address, v4, v6) in [(tuple.source.ip(), 1, 3), (tuple.destination.ip(), 2, 4)] {
                match address {
                    IpAddr::V4(address) => m.put(v4, &address.octets()),
                    IpAddr::V6(address) => m.put(v6, &address.octets()),
                };
            }
        });
        m.put_nested(PROTOCOL, |m| {
            // CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT.
            m.put(1, &[tuple.protocol]);
            m.put(2, &tuple.source.port().to_be_bytes());
            m.put(3, &tuple.destination.port().to_be_bytes());
        });
    });
}

/// A flow from the body of a message. None for protocols without ports.
fn parse(body: &[u8]) -> Option<Flow> {
    let attributes = Attributes(body.get(4..)?);
    let network = |kind| attributes.find(kind).and_then(|a: Attribute<'_>| a.network_number());
    Some(Flow {
        original: parse_tuple(attributes.find(ORIGINAL)?)?,
        reply: parse_tuple(attributes.find(REPLY)?)?,
        id: network(ID).and_then(|id| id.try_into().ok()),
        zone: network(ZONE).and_then(|zone| zone.try_into().ok()),
    })
}

fn parse_tuple(attribute: Attribute<'_>) -> Option<Tuple> {
    let (addresses, protocol) = (attribute.nested().find(ADDRESSES)?.nested(), attribute.nested().find(PROTOCOL)?.nested());
    let address = |v4: u16, v6: u16| -> Option<IpAddr> {
        let octets = |kind| addresses.find(kind).map(|a| a.bytes);
        match (octets(v4), octets(v6)) {
            (Some(bytes), _) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            (None, Some(bytes)) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            (None, None) => None,
        }
    };
    let port = |kind| protocol.find(kind)?.network_number()?.try_into().ok();
    Some(Tuple {
        protocol: protocol.find(1)?.number()?.try_into().ok()?,
        source: SocketAddr::new(address(1, 3)?, port(2)?),
        destination: SocketAddr::new(address(2, 4)?, port(3)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_is_read_as_it_was_written() {
        let socket = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (source, destination) in [("10.0.0.2:40000", "10.0.0.1:53"), ("[fd00::2]:40000", "[fd00::1]:53")] {
            let tuple = Tuple { protocol: 17, source: socket(source), destination: socket(destination) };
            let mut message = Message::new(GET, 0, &header(tuple.source.is_ipv6()));
            put_tuple(&mut message, ORIGINAL, &tuple);
            put_tuple(&mut message, REPLY, &Tuple { source: socket("[::1]:9"), ..tuple });
            message.put_be32(ID, 7);
            let flow = parse(&message.finish(1)[16..]).expect("a flow");
            assert_eq!((flow.original, flow.id, flow.zone), (tuple, Some(7), None));
            assert!(flow.is_redirected());
        }
    }

    #[test]
    fn what_is_cut_or_without_ports_is_no_flow() {
        let mut message = Message::new(GET, 0, &header(false));
        message.put_nested(ORIGINAL, |m| {
            m.put_nested(ADDRESSES, |m| {
                m.put(1, &[10, 0, 0]);
            });
        });
        let bytes = message.finish(1);
        for end in 16..=bytes.len() {
            assert_eq!(parse(&bytes[16..end]), None);
        }
    }
}
