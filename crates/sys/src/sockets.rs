//! The TCP and UDP sockets of a network namespace, over `sock_diag(7)`: listing them, telling whose they are, and destroying
//! them, so that connections are cut at once. Where the kernel lacks the modules for that, `/proc/net` is read instead.

mod holders;
mod procfs;
mod route;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use squall_undo::Armed;

use crate::netlink::{self, Attributes, Bus, Message, flags};

pub(crate) use holders::descriptors_of;
pub use holders::{Holder, holders, inodes_of, unlisted};
pub use route::{interface_of, interface_towards};

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` (`linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];
/// Asks for the class of `net_cls` (the bit of `INET_DIAG_TCLASS`: that of `INET_DIAG_CLASS_ID` does not fit).
const WITH_CLASS: u8 = 1 << 5;
/// The bit of `TCP_LISTEN`.
const LISTENING: u32 = 1 << 10;
/// Attributes (`linux/inet_diag.h`).
const MARK: u16 = 15;
const CLASS: u16 = 17;
const CGROUP: u16 = 21;
/// Length of `struct inet_diag_sockid`, and of `struct inet_diag_msg` that holds it from its fifth byte on.
const ID: usize = 48;
const MESSAGE: usize = 72;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "two words that say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// Its number in IP.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// The state of a socket (`net/tcp_states.h`). UDP sockets are `Established` when connected, otherwise `Close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the kernel's own names")]
pub enum State {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    Other,
}

impl State {
    const fn of(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => Self::Other,
        }
    }
}

/// A socket, as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Of which protocol.
    pub protocol: Protocol,
    /// How far its connection is.
    pub state: State,
    /// Its own address and port. IPv4 that a socket of IPv6 speaks is IPv4 here.
    pub local: SocketAddr,
    /// The other side's; unspecified, with port 0, where there is none.
    pub peer: SocketAddr,
    /// Whether it was made for IPv6, and so takes IPv4 too where it is bound to `[::]`, unless it says otherwise.
    pub v6: bool,
    /// Who made it.
    pub uid: u32,
    /// Links to it in `/proc/<pid>/fd` have this number. 0 where no process has it: not accepted yet, or closed.
    pub inode: u64,
    /// Its number in the kernel, never given again. None where `/proc/net` was read: it tells nothing of these four.
    pub cookie: Option<u64>,
    /// `SO_MARK`. None without the capability to see it.
    pub mark: Option<u32>,
    /// The control group of v2 that it was made in: the number of the group's directory.
    pub cgroup: Option<u64>,
    /// The class of v1's `net_cls`; its priority where it has none.
    pub class: Option<u32>,
    family: u8,
    id: Option<[u8; ID]>,
}

impl Socket {
    /// Whether it is one half of a connection.
    pub fn is_connected(&self) -> bool {
        self.peer.port() != 0
    }

    fn read(protocol: Protocol, body: &[u8]) -> Option<Self> {
        let (head, attributes) = body.split_first_chunk::<MESSAGE>()?;
        let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let family = head[0];
        let id: [u8; ID] = head[4..4 + ID].try_into().ok()?;
        let attributes = Attributes(attributes);
        let number = |kind: u16| attributes.find(kind).and_then(|attribute| attribute.number());
        let short = |kind: u16| number(kind).and_then(|n| u32::try_from(n).ok());
        Some(Self {
            protocol,
            state: State::of(head[1]),
            local: address(family, &id[4..20], [id[0], id[1]])?,
            peer: address(family, &id[20..36], [id[2], id[3]])?,
            v6: family == FAMILIES[1],
            uid: word(MESSAGE - 8),
            inode: word(MESSAGE - 4).into(),
            cookie: Some(u64::from_ne_bytes(id[40..48].try_into().ok()?)),
            mark: short(MARK),
            cgroup: number(CGROUP),
            class: short(CLASS),
            family,
            id: Some(id),
        })
    }
}

fn address(family: u8, bytes: &[u8], port: [u8; 2]) -> Option<SocketAddr> {
    let ip = if family == FAMILIES[0] {
        IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}

/// Every TCP and UDP socket of the calling thread's network namespace, in every state, over IPv4 and IPv6.
pub fn list() -> io::Result<Vec<Socket>> {
    listed(u32::MAX)
}

/// The sockets that have a port to themselves: TCP sockets that listen, and all UDP sockets. Takes no longer on a host with
/// many connections.
pub fn bound() -> io::Result<Vec<Socket>> {
    listed(LISTENING)
}

fn listed(tcp_states: u32) -> io::Result<Vec<Socket>> {
    let mut found = list_of(Protocol::Tcp, tcp_states)?;
    found.extend(list_of(Protocol::Udp, u32::MAX)?);
    Ok(found)
}

/// Whether the kernel lists the sockets of both protocols over `sock_diag(7)`. It loads the modules for it when it is asked.
pub(crate) fn diagnosed() -> io::Result<()> {
    // No socket is in none of the states.
    [Protocol::Tcp, Protocol::Udp].into_iter().try_for_each(|protocol| dumped(protocol, 0).map(drop))
}

/// By `sock_diag`, or by `/proc` where the kernel has no part that lists this protocol. That is an error of `sock_diag` if `/proc`
/// cannot be read either.
fn list_of(protocol: Protocol, states: u32) -> io::Result<Vec<Socket>> {
    let missing = [libc::ENOENT, libc::EPROTONOSUPPORT, libc::EOPNOTSUPP];
    dumped(protocol, states).or_else(|error| {
        let no_such_part = error.raw_os_error().is_some_and(|code| missing.contains(&code));
        if no_such_part { procfs::list(protocol, states).map_err(|_| error) } else { Err(error) }
    })
}

fn dumped(protocol: Protocol, states: u32) -> io::Result<Vec<Socket>> {
    let mut bus = netlink::Socket::open(Bus::Sockets)?;
    let mut found = Vec::new();
    for family in FAMILIES {
        let request = request(family, protocol, states, &[0; ID]);
        let replies = bus.dump(Message::new(BY_FAMILY, flags::REQUEST | flags::DUMP, &request));
        let replies = match replies {
            // A host without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && family == FAMILIES[1] => continue,
            replies => replies?,
        };
        found.extend(replies.iter().filter_map(|reply| Socket::read(protocol, &reply.body)));
    }
    Ok(found)
}

/// `struct inet_diag_req_v2`.
fn request(family: u8, protocol: Protocol, states: u32, id: &[u8; ID]) -> Vec<u8> {
    let mut request = vec![family, protocol.number(), WITH_CLASS, 0];
    request.extend_from_slice(&states.to_ne_bytes());
    request.extend_from_slice(id);
    request
}

/// The sockets of a process, in the calling thread's network namespace.
pub fn of_process(pid: u32) -> io::Result<Vec<Socket>> {
    let inodes = inodes_of(pid)?;
    let mut sockets = list()?;
    sockets.retain(|socket| inodes.contains(&socket.inode));
    Ok(sockets)
}

/// Destroys a socket of the calling thread's network namespace: whoever reads or writes it gets `ECONNABORTED`; TCP tells the
/// peer with a reset. False where it is gone already. `Unsupported` where the kernel cannot (`CONFIG_INET_DIAG_DESTROY`), or did
/// not list it over `sock_diag`.
pub fn destroy(armed: &Armed, socket: &Socket) -> io::Result<bool> {
    let _ = armed;
    let Some(id) = &socket.id else {
        let message = "this kernel cannot cut connections that exist (it has no tcp_diag and udp_diag); new ones can be refused";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    };
    let request = request(socket.family, socket.protocol, u32::MAX, id);
    let message = Message::new(DESTROY, flags::REQUEST | flags::ACK, &request);
    match netlink::Socket::open(Bus::Sockets)?.request(vec![message]) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel cannot cut connections that exist (it was built without CONFIG_INET_DIAG_DESTROY); new ones can be refused",
        )),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    fn mine() -> Vec<Socket> {
        of_process(std::process::id()).expect("listed")
    }

    fn connected(to: &str) -> (TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind((to, 0)).expect("bound");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (server, _) = listener.accept().expect("accepted");
        (listener, client, server)
    }

    fn one(sockets: &[Socket], protocol: Protocol, state: State, local: SocketAddr) -> &Socket {
        let is = |s: &&Socket| s.protocol == protocol && s.state == state && s.local == local;
        sockets.iter().find(is).unwrap_or_else(|| panic!("{protocol:?} {state:?} {local} in {sockets:?}"))
    }

    #[test]
    fn sockets_of_both_protocols_and_families_are_listed_with_all_that_is_known_of_them() {
        for (to, v6) in [("127.0.0.1", false), ("::1", true)] {
            let (listener, client, _server) = connected(to);
            let udp = UdpSocket::bind((to, 0)).expect("bound");
            let sockets = mine();
            let listening = one(&sockets, Protocol::Tcp, State::Listen, listener.local_addr().expect("an address"));
            assert!(listening.v6 == v6 && !listening.is_connected());
            let found = one(&sockets, Protocol::Tcp, State::Established, client.local_addr().expect("an address"));
            assert_eq!(found.peer, client.peer_addr().expect("a peer"));
            assert_eq!(found.uid, rustix::process::geteuid().as_raw());
            assert_eq!(found.cookie, rustix::net::sockopt::socket_cookie(client.as_fd()).ok());
            let other = one(&sockets, Protocol::Udp, State::Close, udp.local_addr().expect("an address"));
            assert_ne!(other.inode, 0);
            let bound = bound().expect("listed");
            assert!(
                bound.contains(listening)
                    && bound.contains(other)
                    && !bound.iter().any(|s| s.state == State::Established && s.protocol == Protocol::Tcp)
            );
        }
    }

    #[test]
    fn ipv4_over_a_socket_of_ipv6_is_ipv4() {
        let listener = TcpListener::bind("[::]:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let (_server, _) = listener.accept().expect("accepted");
        let sockets = mine();
        let local = SocketAddr::from(([127, 0, 0, 1], port));
        let server = one(&sockets, Protocol::Tcp, State::Established, local);
        assert!(server.v6 && server.peer == client.local_addr().expect("an address"));
    }

    #[test]
    fn only_sockets_of_the_process_are_its_own() {
        let (listener, client, server) = connected("127.0.0.1");
        let ours = mine().len();
        drop((listener, client, server));
        assert!(ours >= 3);
        // Its inodes are files of this process and of no other.
        assert!(of_process(1).is_ok_and(|sockets| sockets.iter().all(|s| !mine().iter().any(|m| m.cookie == s.cookie))));
    }

    #[test]
    fn a_destroyed_connection_is_an_error_for_both_sides_and_gone_afterwards() {
        let Some(armed) = Armed::received(b"go") else { panic!("a token") };
        for to in ["127.0.0.1", "::1"] {
            let (_listener, mut client, mut server) = connected(to);
            let (_other_listener, mut other, mut other_server) = connected(to);
            let sockets = mine();
            let found = one(&sockets, Protocol::Tcp, State::Established, client.local_addr().expect("an address")).clone();
            assert!(destroy(&armed, &found).expect("destroyed"));
            let error = client.read(&mut [0]).expect_err("cut");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            let error = server.read(&mut [0]).expect_err("the peer is told");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(!destroy(&armed, &found).expect("nothing to do"), "it is gone");
            // The one beside it is as it was.
            other.write_all(b"x").expect("written");
            other_server.read_exact(&mut [0]).expect("read");
        }
    }

    #[test]
    fn a_connected_udp_socket_can_be_destroyed() {
        let Some(armed) = Armed::received(b"go") else { panic!("a token") };
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").expect("bound"), UdpSocket::bind("127.0.0.1:0").expect("bound"));
        a.connect(b.local_addr().expect("an address")).expect("connected");
        let sockets = mine();
        let found = one(&sockets, Protocol::Udp, State::Established, a.local_addr().expect("an address"));
        assert!(destroy(&armed, found).expect("destroyed"));
        assert_eq!(a.recv(&mut [0]).expect_err("cut").kind(), io::ErrorKind::ConnectionAborted);
    }
}
