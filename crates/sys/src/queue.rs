//! Packets handed to this process by the kernel, one verdict each (`nfnetlink_queue`, the target of `nft`'s `queue` and of
//! `iptables -j NFQUEUE`).
//!
//! Layout of messages and attributes: `linux/netfilter/nfnetlink_queue.h`. Packets come whole: the kernel cuts what is to be
//! segmented before it queues it, and completes checksums, as this queue does not ask for anything else (`NFQA_CFG_F_GSO`).
//! There is no failing open: a packet that cannot be queued is dropped, and counted ([`drops`]).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use squall_undo::Armed;

use crate::cpu_time::monotonic;
use crate::netlink::{Attributes, Bus, Message, Socket, flags};

/// `NFNL_SUBSYS_QUEUE`, and the messages within.
const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = SUBSYSTEM;
const VERDICT: u16 = SUBSYSTEM | 1;
const CONFIG: u16 = SUBSYSTEM | 2;
/// `enum nfqnl_attr_config`.
mod config {
    pub const COMMAND: u16 = 1;
    pub const PARAMETERS: u16 = 2;
    pub const LENGTH: u16 = 3;
}
/// `enum nfqnl_attr_type`.
mod attribute {
    pub const HEADER: u16 = 1;
    pub const VERDICT: u16 = 2;
    pub const MARK: u16 = 3;
    pub const IN: u16 = 5;
    pub const OUT: u16 = 6;
    pub const PAYLOAD: u16 = 10;
    pub const LENGTH: u16 = 13;
}
/// `NFQNL_CFG_CMD_BIND`, `NFQNL_COPY_PACKET`.
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
/// `NF_DROP`, `NF_ACCEPT`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// The longest payload that an attribute can carry: longer packets come cut.
pub const MOST_COPIED: u16 = u16::MAX - 4;
/// Packets that one call receives at the most.
const BATCH: u8 = 64;
const BATCH_SIZE: usize = BATCH as usize;
/// Room for a packet's attributes beside its payload.
const HEADROOM: usize = 512;
/// What the kernel may keep for us between two reads: some 10,000 packets of full size.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Holds the largest batch of verdicts.
const SEND_BUFFER: usize = 1 << 20;
/// Verdicts are sent on once they take so many bytes.
const VERDICTS: usize = 32 * 1024;

/// How to be handed packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Of the queue, unique in the network namespace.
    pub number: u16,
    /// How many packets may wait in the kernel, those without a verdict included. More are dropped, and counted.
    pub length: u32,
    /// How many bytes of each packet are copied; [`MOST_COPIED`] for all.
    pub copy: u16,
}

/// The point of its way at which a packet was queued (`enum nf_inet_hooks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are nft's own")]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting].get(usize::from(number)).copied()
    }

    /// Whether packets there were made on this host.
    pub const fn is_local_output(self) -> bool {
        matches!(self, Self::Output)
    }
}

/// A packet that waits in the kernel for its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// By which a verdict names it.
    pub id: u32,
    /// Where it was queued.
    pub hook: Hook,
    /// Of the whole packet in bytes, network header included.
    pub length: u32,
    /// Its first bytes, from the network header on: all of it unless `Settings::copy` is less.
    pub payload: &'a [u8],
    /// The index of the interface it came in by, or 0.
    pub came_by: u32,
    /// The index of the interface it leaves by, or 0.
    pub leaves_by: u32,
    /// Its mark (`meta mark`), or 0.
    pub mark: u32,
}

/// Room for a batch of packets, to be used again and again.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    slot: usize,
    lengths: Vec<usize>,
    /// When the last batch was received, on `CLOCK_MONOTONIC`.
    pub at: Duration,
}

/// A queue of the network namespace that this thread was in when it was bound. Once it is dropped, the kernel drops what still
/// waits in it.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    settings: Settings,
    verdicts: Vec<u8>,
}

impl Queue {
    /// Binds a queue. `AddrInUse` if its number is taken.
    pub fn bind(armed: &Armed, settings: Settings) -> io::Result<Self> {
        let _ = armed;
        let mut socket = Socket::open(Bus::Netfilter)?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
        set_socket_send_buffer_size_force(&socket, SEND_BUFFER)?;
        // A full buffer is the kernel's to count, not a reason to stop reading.
        set_flag(&socket, libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS)?;
        // Command, padding, protocol family; then the length. Nothing is copied yet, so that no packet can come before the answer.
        let mut bind = Message::new(CONFIG, flags::REQUEST | flags::ACK, &header(settings.number));
        bind.put(config::COMMAND, &[BIND, 0, 0, 0]).put_be32(config::LENGTH, settings.length);
        socket.request(vec![bind]).map_err(|error| explain(settings.number, error))?;
        let [a, b, c, d] = u32::from(settings.copy.min(MOST_COPIED)).to_be_bytes();
        let mut copy = Message::new(CONFIG, flags::REQUEST, &header(settings.number));
        copy.put(config::PARAMETERS, &[a, b, c, d, COPY_PACKET]);
        socket.send(&copy.finish(0))?;
        Ok(Self { socket, settings, verdicts: Vec::with_capacity(2 * VERDICTS) })
    }

    /// How it was bound.
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Room for what this queue receives.
    pub fn inbox(&self) -> Inbox {
        let slot = (usize::from(self.settings.copy.min(MOST_COPIED)) + HEADROOM).next_multiple_of(8);
        Inbox { bytes: vec![0; slot * BATCH_SIZE], slot, lengths: Vec::with_capacity(BATCH_SIZE), at: Duration::ZERO }
    }

    /// Receives what is there, without waiting. Whether there may be more.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<bool> {
        inbox.lengths.clear();
        let mut vectors: [libc::iovec; BATCH_SIZE] = std::array::from_fn(|_| libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 });
        for (vector, slot) in vectors.iter_mut().zip(inbox.bytes.chunks_exact_mut(inbox.slot)) {
            *vector = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
        }
        // SAFETY: all zeroes is a valid `struct mmsghdr`: null pointers with lengths of zero.
        let mut messages: [libc::mmsghdr; BATCH_SIZE] = unsafe { std::mem::zeroed() };
        for (message, vector) in messages.iter_mut().zip(&mut vectors) {
            message.msg_hdr.msg_iov = std::ptr::from_mut(vector);
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: each of the `BATCH` messages has one vector, which names a slot of `inbox.bytes` that is borrowed mutably here
        // and outlives the call. rustix has no `recvmmsg`, and one call for 64 packets is what makes this fast.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_fd().as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH.into(),
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        inbox.at = monotonic();
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(error),
            };
        }
        let count = usize::try_from(count).unwrap_or_default();
        inbox.lengths.extend(messages[..count].iter().map(|message| message.msg_len as usize));
        Ok(count == BATCH_SIZE)
    }

    /// Lets a packet go on, with another mark if one is given. Takes effect with [`Queue::flush`] or earlier.
    pub fn accept(&mut self, armed: &Armed, id: u32, mark: Option<u32>) -> io::Result<()> {
        self.verdict(armed, id, ACCEPT, mark, None)
    }

    /// Lets a packet go on with another payload, of the same length or not. The kernel takes its checksums as they are.
    pub fn accept_as(&mut self, armed: &Armed, id: u32, mark: Option<u32>, payload: &[u8]) -> io::Result<()> {
        self.verdict(armed, id, ACCEPT, mark, Some(payload))
    }

    /// Throws a packet away. Its sender is not told.
    pub fn discard(&mut self, armed: &Armed, id: u32) -> io::Result<()> {
        self.verdict(armed, id, DROP, None, None)
    }

    /// Sends the verdicts that are not sent yet.
    pub fn flush(&mut self, armed: &Armed) -> io::Result<()> {
        let _ = armed;
        if self.verdicts.is_empty() {
            return Ok(());
        }
        let sent = self.socket.send(&self.verdicts);
        self.verdicts.clear();
        sent
    }

    fn verdict(&mut self, armed: &Armed, id: u32, verdict: u32, mark: Option<u32>, payload: Option<&[u8]>) -> io::Result<()> {
        // No acknowledgement is asked for. An error says that the packet is gone with its interface: it is read past.
        let length = 16 + 4 + 12 + mark.map_or(0, |_| 8) + payload.map_or(0, |payload| 4 + payload.len().next_multiple_of(4));
        let start = self.verdicts.len();
        self.verdicts.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        self.verdicts.extend_from_slice(&VERDICT.to_ne_bytes());
        self.verdicts.extend_from_slice(&flags::REQUEST.to_ne_bytes());
        self.verdicts.extend_from_slice(&[0; 8]);
        self.verdicts.extend_from_slice(&header(self.settings.number));
        put(&mut self.verdicts, attribute::VERDICT, &[verdict.to_be_bytes(), id.to_be_bytes()].concat());
        if let Some(mark) = mark {
            put(&mut self.verdicts, attribute::MARK, &mark.to_be_bytes());
        }
        if let Some(payload) = payload {
            put(&mut self.verdicts, attribute::PAYLOAD, payload);
        }
        debug_assert_eq!(self.verdicts.len() - start, length);
        if self.verdicts.len() >= VERDICTS { self.flush(armed) } else { Ok(()) }
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Inbox {
    /// The packets of the last batch.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        self.bytes.chunks_exact(self.slot).zip(&self.lengths).filter_map(|(slot, length)| parse(slot.get(..*length)?))
    }
}

/// Reads a message of the queue. Whatever is no packet is passed over.
fn parse(message: &[u8]) -> Option<Packet<'_>> {
    // `struct nlmsghdr`, `struct nfgenmsg`.
    if u16::from_ne_bytes([*message.get(4)?, *message.get(5)?]) != PACKET {
        return None;
    }
    let (mut identity, mut payload, mut length, mut came_by, mut leaves_by, mut mark) = (None, &[][..], None, 0, 0, 0);
    for found in Attributes(message.get(20..)?) {
        match found.kind {
            // Identity, protocol, hook.
            attribute::HEADER => identity = Some((found.bytes.first_chunk::<4>().copied().map(u32::from_be_bytes)?, *found.bytes.get(6)?)),
            attribute::MARK => mark = number(found.network_number()).unwrap_or(0),
            attribute::PAYLOAD => payload = found.bytes,
            attribute::LENGTH => length = number(found.network_number()),
            attribute::IN => came_by = number(found.network_number()).unwrap_or(0),
            attribute::OUT => leaves_by = number(found.network_number()).unwrap_or(0),
            _ => {}
        }
    }
    let (id, hook) = identity?;
    let length = length.or_else(|| u32::try_from(payload.len()).ok())?;
    Some(Packet { id, hook: Hook::from_number(hook)?, length, payload, came_by, leaves_by, mark })
}

fn number(value: Option<u64>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok())
}

/// `struct nfgenmsg`: any family, version 0, the queue's number in network byte order.
fn header(number: u16) -> [u8; 4] {
    let [a, b] = number.to_be_bytes();
    [0, 0, a, b]
}

/// Adds an attribute to a row of messages.
fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&u16::try_from(value.len() + 4).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

pub(crate) fn set_flag(socket: &impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    set_number(socket, level, option, 1)
}

/// Sets an option that is a number, where rustix has no call for it.
pub(crate) fn set_number(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = socklen(size_of::<libc::c_int>());
    // SAFETY: `value` is a whole `int`, which the call reads, of the size that is given.
    if unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), size) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A size as the kernel wants it.
pub(crate) fn socklen(size: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size).unwrap_or(libc::socklen_t::MAX)
}

/// The kernel says `EPERM` for another's queue as well as for a missing capability.
fn explain(number: u16, error: io::Error) -> io::Error {
    let taken = error.raw_os_error() == Some(libc::EBUSY) || table().is_ok_and(|rows| rows.iter().any(|row| row.number == number));
    if taken {
        return io::Error::new(io::ErrorKind::AddrInUse, format!("queue {number} is bound by another program"));
    }
    error
}

/// What the kernel dropped at a queue because nobody took it in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// More waited than `Settings::length`.
    pub full: u64,
    /// The socket's buffer was full.
    pub unread: u64,
}

/// A line of `/proc/net/netfilter/nfnetlink_queue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    number: u16,
    drops: Drops,
}

/// What the kernel has dropped so far at a queue of this thread's network namespace. `NotFound` if nobody has bound it.
pub fn drops(number: u16) -> io::Result<Drops> {
    let row = table()?.into_iter().find(|row| row.number == number);
    row.map(|row| row.drops).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("queue {number} is not bound")))
}

/// The first number from `wanted` on that no queue of this thread's network namespace has. It may be taken by the time it is used.
pub fn free_number(wanted: u16) -> io::Result<u16> {
    let taken: Vec<u16> = table()?.into_iter().map(|row| row.number).collect();
    // Zero is what rules without a number mean.
    let mut numbers = (wanted.max(1)..=u16::MAX).chain(1..wanted.max(1));
    numbers.find(|number| !taken.contains(number)).ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "every queue number is taken"))
}

fn table() -> io::Result<Vec<Row>> {
    // Of this thread: `/proc/net` is of the process's first one, which may be in another namespace.
    match std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue") {
        Ok(text) => Ok(rows(&text)),
        // The module is loaded when the first queue is asked for.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `number port waiting mode range full unread last 1`.
fn rows(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Row { number: u16::try_from(field(0)?).ok()?, drops: Drops { full: field(5)?, unread: field(6)? } })
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let text = "    7  12345     3 2  64     5     6        9  1\n65535      0     0 2 65531     0     0        0  1\n";
        let full = Row { number: 7, drops: Drops { full: 5, unread: 6 } };
        assert_eq!(rows(text), [full, Row { number: 65535, drops: Drops::default() }]);
    }

    #[test]
    fn a_packet_is_read_and_a_cut_one_is_not() {
        let mut message = Message::new(PACKET, 0, &header(9));
        message.put(attribute::HEADER, &[0, 0, 1, 2, 8, 0, 3]).put_be32(attribute::OUT, 5).put_be32(attribute::LENGTH, 1400);
        message.put(attribute::PAYLOAD, &[0x45, 1, 2]);
        let bytes = message.finish(0);
        let packet = parse(&bytes).expect("a packet");
        let expected = Packet { id: 258, hook: Hook::Output, length: 1400, payload: &[0x45, 1, 2], came_by: 0, leaves_by: 5, mark: 0 };
        assert_eq!(packet, expected);
        assert_eq!(parse(&bytes[..24]), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&Message::new(2, 0, &[0; 4]).finish(0)), None);
    }

    #[test]
    fn a_queue_that_is_taken_says_so_and_another_number_is_found() {
        let Some(armed) = Armed::received(b"go") else { panic!("no token") };
        // In a network namespace of its own, where no other test is.
        std::thread::spawn(move || {
            // SAFETY: only this thread's network namespace changes, and the thread ends here.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.expect("unshare");
            let settings = Settings { number: 40, length: 10, copy: 64 };
            let mut first = Queue::bind(&armed, settings).expect("free");
            let error = Queue::bind(&armed, settings).expect_err("taken");
            assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::AddrInUse, "queue 40 is bound by another program"));
            assert_eq!(free_number(40).expect("one"), 41);
            assert_eq!(drops(40).expect("bound"), Drops::default());
            assert_eq!(drops(41).expect_err("not bound").kind(), io::ErrorKind::NotFound);
            // Nothing is there, and a verdict on nothing does no harm.
            let mut inbox = first.inbox();
            assert!(!first.receive(&mut inbox).expect("empty"));
            first.accept(&armed, 3, None).and_then(|()| first.flush(&armed)).expect("sent");
            assert!(!first.receive(&mut inbox).expect("an error message"));
            assert_eq!(inbox.packets().count(), 0);
            drop(first);
            assert_eq!(free_number(40).expect("one"), 40);
        })
        .join()
        .expect("the thread in the namespace");
    }
}
