//! Sending whole packets, network header included (`raw(7)`, `IPPROTO_RAW`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::sockopt::{set_socket_broadcast, set_socket_send_buffer_size_force};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use squall_undo::Armed;

use crate::netlink::{Attributes, Bus, Message, Socket, flags};
use crate::queue::{set_number, socklen};

/// The index of the loopback interface, the same in every network namespace (`LOOPBACK_IFINDEX`). IPv6 finds no way by it to the
/// addresses of other interfaces of this host, although that is where packets to them go.
const LOOPBACK: u32 = 1;
/// So many bytes may wait at interfaces.
const SEND_BUFFER: usize = 32 << 20;
/// `RTM_GETLINK`, length of `struct ifinfomsg`, `IFLA_MTU`.
const GET_LINK: u16 = 18;
const LINK_HEADER: usize = 16;
const LINK_MTU: u16 = 4;

/// Sends packets as they are, in the network namespace of the thread that opened it.
///
/// Their checksums stay as they are but for IPv4's header checksum, which the kernel writes. They go through the rules of
/// `OUTPUT` and `POSTROUTING` once more, with a mark; to rules that ask for a socket's owner they are this process's own.
#[derive(Debug)]
pub struct RawSender {
    v4: OwnedFd,
    /// Missing where the kernel has no IPv6.
    v6: Option<OwnedFd>,
    /// The mark that both have now.
    marked: u32,
    links: Socket,
}

impl RawSender {
    /// Opens it.
    pub fn open(armed: &Armed) -> io::Result<Self> {
        let _ = armed;
        let open = |family| -> io::Result<OwnedFd> {
            // This protocol receives nothing, and includes headers.
            let fd = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(ipproto::RAW))?;
            set_socket_send_buffer_size_force(&fd, SEND_BUFFER)?;
            set_socket_broadcast(&fd, true)?;
            Ok(fd)
        };
        Ok(Self { v4: open(AddressFamily::INET)?, v6: open(AddressFamily::INET6).ok(), marked: 0, links: Socket::open(Bus::Route)? })
    }

    /// Sends one with that mark (`SO_MARK`, by which rules know it) by the interface with that index, or by whichever routes say
    /// (0). `WouldBlock` where its queue is full, `EMSGSIZE` where it does not fit.
    pub fn send(&mut self, armed: &Armed, packet: &[u8], interface: u32, mark: u32) -> io::Result<()> {
        let _ = armed;
        if mark != self.marked {
            for fd in [Some(&self.v4), self.v6.as_ref()].into_iter().flatten() {
                set_number(fd, libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())?;
            }
            self.marked = mark;
        }
        let interface = if interface == LOOPBACK { 0 } else { interface };
        let malformed = || io::Error::new(io::ErrorKind::InvalidInput, "not an IP packet");
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => {
                let to = packet.get(16..20).and_then(|b| <[u8; 4]>::try_from(b).ok()).ok_or_else(malformed)?;
                self.send_v4(packet, to.into(), interface)
            }
            Some(6) => {
                let to = packet.get(24..40).and_then(|b| <[u8; 16]>::try_from(b).ok()).ok_or_else(malformed)?;
                self.send_v6(packet, to.into(), interface)
            }
            _ => Err(malformed()),
        }
    }

    fn send_v4(&self, packet: &[u8], to: Ipv4Addr, interface: u32) -> io::Result<()> {
        // SAFETY: all zeroes is a valid `sockaddr_in`.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = AddressFamily::INET.as_raw();
        address.sin_addr.s_addr = u32::from(to).to_be();
        let any = libc::in_addr { s_addr: 0 };
        let info = libc::in_pktinfo { ipi_ifindex: interface.cast_signed(), ipi_spec_dst: any, ipi_addr: any };
        send(&self.v4, packet, &mut address, (interface != 0).then_some((libc::IPPROTO_IP, libc::IP_PKTINFO, info)))
    }

    fn send_v6(&self, packet: &[u8], to: Ipv6Addr, interface: u32) -> io::Result<()> {
        let fd = self.v6.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        // SAFETY: all zeroes is a valid `sockaddr_in6`.
        let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        address.sin6_family = AddressFamily::INET6.as_raw();
        address.sin6_addr.s6_addr = to.octets();
        if to.is_unicast_link_local() || to.is_multicast() {
            address.sin6_scope_id = interface;
        }
        let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: [0; 16] }, ipi6_ifindex: interface };
        send(fd, packet, &mut address, (interface != 0).then_some((libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)))
    }

    /// The longest packet that leaves by an interface in one piece, in bytes. `None` if it is gone.
    pub fn mtu(&mut self, interface: u32) -> Option<u32> {
        let mut header = [0; LINK_HEADER];
        header[4..8].copy_from_slice(&interface.to_ne_bytes());
        let replies = self.links.request(vec![Message::new(GET_LINK, flags::REQUEST | flags::ACK, &header)]).ok()?;
        let attributes = replies.first()?.body.get(LINK_HEADER..)?;
        Attributes(attributes).find(LINK_MTU)?.number().and_then(|mtu| u32::try_from(mtu).ok())
    }
}

/// A control message of one payload, aligned as the kernel wants it.
#[repr(C)]
struct Control<T> {
    header: libc::cmsghdr,
    info: T,
}

/// `sendmsg` to an address of the family's own type, with at most one control message.
fn send<A, T>(fd: &OwnedFd, packet: &[u8], address: &mut A, control: Option<(libc::c_int, libc::c_int, T)>) -> io::Result<()> {
    let mut vector = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
    // SAFETY: all zeroes is a valid `struct msghdr`: null pointers with lengths of zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = std::ptr::from_mut(address).cast();
    message.msg_namelen = socklen(size_of::<A>());
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    let mut room = control.map(|(level, kind, info)| {
        // SAFETY: all zeroes is a valid `struct cmsghdr`.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_level = level;
        header.cmsg_type = kind;
        header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<T>()) as _;
        Control { header, info }
    });
    if let Some(room) = &mut room {
        message.msg_control = std::ptr::from_mut(room).cast();
        message.msg_controllen = size_of::<Control<T>>() as _;
    }
    // SAFETY: name, vector and control point to values that live until the call returns, with their true sizes; the kernel
    // reads them and writes to none. rustix has no control message for the interface of a packet that is sent.
    if unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// A UDP packet without a checksum.
    fn packet(from: Ipv4Addr, to: Ipv4Addr, port: u16, text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0];
        bytes.extend([from.octets(), to.octets()].concat());
        bytes.extend([9_u16, port, u16::try_from(8 + text.len()).expect("short"), 0].into_iter().flat_map(u16::to_be_bytes));
        bytes.extend(text);
        bytes
    }

    #[test]
    fn a_packet_arrives_as_if_from_its_source_address() {
        let armed = Armed::received(b"go").expect("token");
        let mut sender = RawSender::open(&armed).expect("root");
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let port = receiver.local_addr().expect("address").port();
        // One that is not ours, as that of an incoming packet that is to arrive twice.
        let from = Ipv4Addr::new(192, 0, 2, 77);
        let bytes = packet(from, Ipv4Addr::LOCALHOST, port, b"whole");
        for interface in [0, 1] {
            sender.send(&armed, &bytes, interface, 7).expect("sent");
            let mut text = [0; 16];
            let (length, peer) = receiver.recv_from(&mut text).expect("arrives");
            assert_eq!((&text[..length], peer.ip()), (&b"whole"[..], from.into()));
        }
        assert_eq!(sender.mtu(1), Some(65536));
        assert_eq!(sender.mtu(u32::MAX / 2), None);
        assert_eq!(sender.send(&armed, &[0], 0, 7).expect_err("malformed").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(sender.send(&armed, &[0x60], 0, 7).expect_err("cut").kind(), io::ErrorKind::InvalidInput);
    }
}
