//! A netlink socket: requests, batches and dumps, each waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::{NETFILTER, SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

use super::Message;

/// How long the kernel may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Enough for any message that the kernel sends at once (`NLMSG_GOODSIZE` is at most 32 KiB for dumps).
const BUFFER: usize = 64 * 1024;

/// A message from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `nlmsg_type`.
    pub kind: u16,
    /// What follows `struct nlmsghdr`: the family's fixed header and attributes.
    pub body: Vec<u8>,
}

/// The subsystem to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// Links, addresses, routes, queueing disciplines (`rtnetlink(7)`).
    Route,
    /// `nf_tables`, `nfnetlink_queue`.
    Netfilter,
    /// Sockets (`sock_diag(7)`).
    Sockets,
}

/// A socket in the network namespace of the thread that opened it, for as long as it is open.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one.
    pub fn open(bus: Bus) -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        let protocol = match bus {
            Bus::Route => None,
            Bus::Netfilter => Some(NETFILTER),
            Bus::Sockets => Some(SOCK_DIAG),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Sends requests one after another and waits for the answer to each. The first that fails ends it.
    pub fn request(&mut self, messages: Vec<Message>) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        for message in messages {
            self.sequence += 1;
            let sequence = self.sequence;
            self.send(&message.finish(sequence))?;
            self.collect(|s| s == sequence, &mut replies, 1)?;
        }
        Ok(replies)
    }

    /// Sends messages as one datagram, and waits for `answers` acknowledgements. The first error is returned, with the place
    /// of its message in the row.
    pub fn batch(&mut self, messages: Vec<Message>, answers: usize) -> Result<Vec<Reply>, (usize, io::Error)> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            bytes.extend_from_slice(&message.finish(self.sequence));
        }
        let last = self.sequence;
        self.send(&bytes).map_err(|e| (0, e))?;
        let mut replies = Vec::new();
        self.collect_at(|s| (first..=last).contains(&s), &mut replies, answers).map_err(|(s, e)| (s.saturating_sub(first) as usize, e))?;
        Ok(replies)
    }

    /// Asks for everything (the message has the flag `DUMP`).
    pub fn dump(&mut self, message: Message) -> io::Result<Vec<Reply>> {
        self.request(vec![message])
    }

    /// Sends bytes as they are, without waiting.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    fn collect(&mut self, ours: impl Fn(u32) -> bool, replies: &mut Vec<Reply>, answers: usize) -> io::Result<()> {
        self.collect_at(ours, replies, answers).map_err(|(_, error)| error)
    }

    fn collect_at(&mut self, ours: impl Fn(u32) -> bool, replies: &mut Vec<Reply>, mut answers: usize) -> Result<(), (u32, io::Error)> {
        while answers > 0 {
            let (length, _) = match recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => continue,
                received => received.map_err(|e| (0, e.into()))?,
            };
            let mut rest = &self.buffer[..length];
            while let Some((head, _)) = rest.split_first_chunk::<16>() {
                let size = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
                let kind = u16::from_ne_bytes([head[4], head[5]]);
                let sequence = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
                let Some(body) = rest.get(16..size) else { break };
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
                if !ours(sequence) {
                    continue;
                }
                match kind {
                    ERROR => {
                        let code = body.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                        if code != 0 {
                            return Err((sequence, io::Error::from_raw_os_error(-code)));
                        }
                        answers = answers.saturating_sub(1);
                    }
                    DONE => {
                        let code = body.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                        if code < 0 {
                            return Err((sequence, io::Error::from_raw_os_error(-code)));
                        }
                        answers = answers.saturating_sub(1);
                    }
                    _ => replies.push(Reply { kind, body: body.to_vec() }),
                }
            }
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
