//! The sockets that `/proc/net` lists (`proc_pid_net(5)`), for kernels without the modules of `sock_diag(7)`. Slower, and less is
//! known of each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{FAMILIES, Protocol, Socket, State};

/// The sockets of a protocol in the calling thread's network namespace, in these states (a bit each).
pub(super) fn list(protocol: Protocol, states: u32) -> io::Result<Vec<Socket>> {
    let name = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let mut found = read(protocol, FAMILIES[0], states, &std::fs::read_to_string(format!("/proc/thread-self/net/{name}"))?);
    match std::fs::read_to_string(format!("/proc/thread-self/net/{name}6")) {
        Ok(text) => found.extend(read(protocol, FAMILIES[1], states, &text)),
        // A host without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// Lines below a headline: `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`.
fn read(protocol: Protocol, family: u8, states: u32, text: &str) -> Vec<Socket> {
    let socket = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, peer) = (address(family, fields.next()?)?, address(family, fields.next()?)?);
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        let wanted = 1_u32.checked_shl(state.into()).is_some_and(|bit| states & bit != 0);
        wanted.then_some(Socket {
            protocol,
            state: State::of(state),
            local,
            peer,
            v6: family == FAMILIES[1],
            uid,
            inode,
            cookie: None,
            mark: None,
            cgroup: None,
            class: None,
            family,
            id: None,
        })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// `0100007F:1F90`: words of the address as the machine has them in memory, and the port as a number.
fn address(family: u8, text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let mut octets = Vec::with_capacity(16);
    for word in words.as_bytes().chunks(8) {
        octets.extend(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes());
    }
    let ip = if family == FAMILIES[0] {
        IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    /// What both ways to list tell, of the sockets that this process holds.
    fn told(sockets: Vec<Socket>, inodes: &BTreeSet<u64>) -> BTreeSet<String> {
        let ours = sockets.into_iter().filter(|s| inodes.contains(&s.inode));
        ours.map(|s| format!("{:?} {:?} {} {} {} {} {}", s.protocol, s.state, s.local, s.peer, s.v6, s.uid, s.inode)).collect()
    }

    #[test]
    fn it_lists_the_sockets_that_sock_diag_lists() {
        let mut held = Vec::new();
        let mut inodes = BTreeSet::new();
        for to in ["127.0.0.1", "::1", "::"] {
            let listener = TcpListener::bind((to, 0)).expect("bound");
            let port = listener.local_addr().expect("an address").port();
            // IPv4 at a socket of IPv6, too.
            let client = TcpStream::connect((if to == "::" { "127.0.0.1" } else { to }, port)).expect("connected");
            let (server, _) = listener.accept().expect("accepted");
            let (udp, connected) = (UdpSocket::bind((to, 0)).expect("bound"), UdpSocket::bind((to, 0)).expect("bound"));
            connected.connect((if to == "::" { "::1" } else { to }, port)).expect("connected");
            for fd in [listener.into(), client.into(), server.into(), udp.into(), connected.into()] {
                let fd: std::os::fd::OwnedFd = fd;
                inodes.insert(rustix::fs::fstat(&fd).expect("a file").st_ino);
                held.push(fd);
            }
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for states in [u32::MAX, super::super::LISTENING] {
                let (diag, proc) = (super::super::dumped(protocol, states).expect("dumped"), list(protocol, states).expect("read"));
                assert_eq!(told(proc, &inodes), told(diag, &inodes), "{protocol:?} {states:x}");
            }
        }
        assert_eq!(told(list(Protocol::Tcp, u32::MAX).expect("read"), &inodes).len(), 9);
        assert_eq!(told(list(Protocol::Udp, u32::MAX).expect("read"), &inodes).len(), 6);
    }

    #[test]
    fn lines_of_other_kernels_are_read_as_far_as_they_are_known() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:0016 0200000A:C350 01 00000000:00000000 02:000A 00000000  1000        0 4711 2 0000000000000000 20 4 30 10 -1\n   \
                    1: nonsense\n\n   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 more to come\n";
        let found = read(Protocol::Tcp, FAMILIES[0], u32::MAX, text);
        let told: Vec<_> = found.iter().map(|s| (s.local.to_string(), s.peer.to_string(), s.state, s.uid, s.inode)).collect();
        let first = ("127.0.0.1:22".to_owned(), "10.0.0.2:50000".to_owned(), State::Established, 1000, 4711);
        assert_eq!(told, [first, ("0.0.0.0:22".to_owned(), "0.0.0.0:0".to_owned(), State::Listen, 0, 4712)]);
        assert_eq!(read(Protocol::Tcp, FAMILIES[0], super::super::LISTENING, text).len(), 1);
    }
}
