//! Looking at interfaces, and changing them.

use std::io;

use squall_undo::Armed;

use crate::netlink::{Bus, Message, Reply, Socket, flags};

use super::facts::{ALIAS, HEAD, INFO, Interface, KIND, MTU, NAME, UP, address};

/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_GETLINK`, `RTM_SETLINK`.
const NEW: u16 = 16;
const DELETE: u16 = 17;
const GET: u16 = 18;
const SET: u16 = 19;
/// `RTM_GETADDR`.
const GET_ADDRESS: u16 = 22;
/// `IFLA_AF_SPEC`; within it `AF_INET6`; within that `IFLA_INET6_ADDR_GEN_MODE`, whose 1 is none.
const BY_FAMILY: u16 = 26;
const INET6: u16 = 10;
const ADDRESS_MODE: u16 = 8;
const NO_ADDRESS: u8 = 1;

/// The interfaces of this thread's network namespace.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    Links::open()?.all()
}

/// The interfaces of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Links {
    pub(super) socket: Socket,
}

/// `struct ifinfomsg`.
fn header(index: u32, flags: u32, change: u32) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    for (at, word) in [(4, index), (8, flags), (12, change)] {
        bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// The message that makes an `ifb`; with index 0 the kernel chooses one.
pub(crate) fn ifb_message(name: &str, index: u32) -> Message {
    let mut make = Message::new(NEW, ACKNOWLEDGED | flags::CREATE | flags::EXCL, &header(index, 0, 0));
    make.put_text(NAME, name).put_nested(INFO, |m| {
        m.put_text(KIND, "ifb");
    });
    make
}

/// An index that follows from a name (FNV-1a), far from those that the kernel gives.
fn own_index(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    1 << 24 | hash >> 8
}

const ACKNOWLEDGED: u16 = flags::REQUEST | flags::ACK;

impl Links {
    /// Opens them in the namespace of this thread.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Bus::Route)? })
    }

    /// All of them, by index.
    pub fn all(&mut self) -> io::Result<Vec<Interface>> {
        let replies = self.socket.dump(Message::new(GET, flags::REQUEST | flags::DUMP, &header(0, 0, 0)))?;
        let mut all: Vec<Interface> = replies.iter().filter_map(Interface::read).collect();
        for (index, address) in self.dump(GET_ADDRESS, &[0; 8])?.iter().filter_map(address) {
            if let Some(interface) = all.iter_mut().find(|interface| interface.index == index) {
                interface.addresses.push(address);
            }
        }
        Ok(all)
    }

    /// The one with that name.
    pub fn named(&mut self, name: &str) -> io::Result<Option<Interface>> {
        Ok(self.all()?.into_iter().find(|link| link.name == name))
    }

    /// Makes an `ifb` with that name (up to 15 bytes) and alias (up to 255), down, without addresses. `EEXIST` where the name
    /// is taken, `EOPNOTSUPP` where the kernel has no such kind.
    pub fn make_ifb(&mut self, _: &Armed, name: &str, alias: &str) -> io::Result<Interface> {
        let taken: Vec<u32> = self.all()?.iter().map(|interface| interface.index).collect();
        let first = own_index(name);
        let index = (first..first << 1).find(|index| !taken.contains(index)).unwrap_or_default();
        // The kernel takes no alias when it makes one. With one system call no death comes between; and by its index, the second
        // message reaches nothing where the first one has failed.
        let mut mark = Message::new(SET, ACKNOWLEDGED, &header(index, 0, 0));
        mark.put(ALIAS, alias.as_bytes());
        self.socket.batch(vec![ifb_message(name, index), mark], 2).map_err(|(_, error)| error)?;
        let link = self.named(name)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} was made and is gone")))?;
        self.without_addresses(link.index)?;
        Ok(link)
    }

    /// No IPv6 address comes by itself when it is set up, and so no packet of the kernel's own goes through it.
    fn without_addresses(&mut self, index: u32) -> io::Result<()> {
        let mut message = Message::new(SET, ACKNOWLEDGED, &header(index, 0, 0));
        message.put_nested(BY_FAMILY, |m| {
            m.put_nested(INET6, |m| {
                m.put(ADDRESS_MODE, &[NO_ADDRESS]);
            });
        });
        match self.socket.request(vec![message]) {
            // Without IPv6 in the kernel none would come.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sets it up or down.
    pub fn set_up(&mut self, _: &Armed, index: u32, up: bool) -> io::Result<()> {
        let flags = if up { UP } else { 0 };
        self.change(Message::new(SET, ACKNOWLEDGED, &header(index, flags, UP)))
    }

    /// Sets its MTU.
    pub fn set_mtu(&mut self, _: &Armed, index: u32, mtu: u32) -> io::Result<()> {
        let mut message = Message::new(SET, ACKNOWLEDGED, &header(index, 0, 0));
        message.put_u32(MTU, mtu);
        self.change(message)
    }

    /// Takes an interface away that was made by software.
    pub fn remove(&mut self, _: &Armed, index: u32) -> io::Result<()> {
        self.change(Message::new(DELETE, ACKNOWLEDGED, &header(index, 0, 0)))
    }

    /// Makes the kernel look at an interface's queue at once, and not when its timer says so: one empty frame is sent, which an
    /// `ifb` throws away, as nobody redirected it.
    pub fn nudge(&mut self, _: &Armed, index: u32) -> io::Result<()> {
        send_nothing(index)
    }

    fn change(&mut self, message: Message) -> io::Result<()> {
        self.socket.request(vec![message]).map(drop)
    }

    pub(super) fn dump(&mut self, kind: u16, header: &[u8]) -> io::Result<Vec<Reply>> {
        self.socket.dump(Message::new(kind, flags::REQUEST | flags::DUMP, header))
    }
}

/// Sends one empty frame to an interface (`packet(7)`).
fn send_nothing(index: u32) -> io::Result<()> {
    const FRAME: [u8; 60] = [0; 60];
    let protocol = rustix::net::Protocol::from_raw(std::num::NonZeroU32::MIN);
    let socket = rustix::net::socket(rustix::net::AddressFamily::PACKET, rustix::net::SocketType::RAW, Some(protocol))?;
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: 0,
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff; 8],
    };
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the socket is open; frame and address outlive the call, and their lengths are those of their types. rustix has no
    // address of an interface for AF_PACKET, hence libc.
    let sent = unsafe {
        libc::sendto(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            FRAME.as_ptr().cast(),
            FRAME.len(),
            0,
            std::ptr::from_ref(&address).cast(),
            length,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
