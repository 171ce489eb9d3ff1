//! A packet of Squall's own that a fault has to catch: sent where the target itself is silent, to prove the rules.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use squall_sys::nft::Element;

use super::job::{Action, NetworkJob};
use super::owner::Owner;
use super::scope::{Peer, Protocol};

/// RFC 863, discard: what arrives there is thrown away.
const DISCARD: u16 = 9;

/// How long a connection may take to be begun.
const BEGIN: Duration = Duration::from_millis(100);

/// Sends something that the rules must catch, and says what it was: a datagram, or the beginning of a TCP connection where the
/// scope is of TCP and names a port. None where the scope is one that Squall cannot send for: another's sockets, what is
/// received, or a protocol other than those.
pub(super) fn send(job: &NetworkJob) -> Option<String> {
    let scope = &job.scope;
    // Where a local port is named, it is the service's: not ours to take.
    if !scope.way().is_out() || !matches!(job.owner, Owner::Everything) || !scope.local_ports.is_empty() {
        return None;
    }
    let (meant, _) = scope.read_peers();
    let first = meant.iter().find_map(|peer| match peer {
        Peer::Block(Element::Ipv4(from, _)) => Some(IpAddr::V4(*from)),
        Peer::Block(Element::Ipv6(from, _)) => Some(IpAddr::V6(*from)),
        _ => None,
    })?;
    let named = scope.remote_ports.iter().find(|p| !p.not).map(|p| p.from);
    let tcp = scope.protocol == Protocol::Tcp || matches!(job.action, Action::Redirect { .. });
    if tcp {
        let to = SocketAddr::new(first, named?);
        // Whether it comes about is not asked: its first packet was sent.
        let _ = TcpStream::connect_timeout(&to, BEGIN);
        return Some(format!("a connection of Squall's own to {to}"));
    }
    let port = if scope.remote_ports.is_empty() { DISCARD } else { named? };
    if !matches!(scope.protocol, Protocol::Any | Protocol::Udp) {
        return None;
    }
    let any: SocketAddr = if first.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let to = SocketAddr::new(first, port);
    let socket = UdpSocket::bind(any).ok()?;
    socket.send_to(b"squall", to).ok()?;
    Some(format!("a datagram of Squall's own to {to}"))
}
