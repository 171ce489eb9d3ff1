//! A queueing discipline or a class, and where it hangs.

use crate::netlink::{Message, flags};

use super::{Htb, HtbClass, Netem, Tbf};

/// `RTM_NEWQDISC`, `RTM_DELQDISC`, `RTM_NEWTCLASS`, `RTM_DELTCLASS`.
const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
const NEW_CLASS: u16 = 40;
const DELETE_CLASS: u16 = 41;
/// `TCA_KIND`, `TCA_OPTIONS`.
pub(super) const KIND: u16 = 1;
pub(super) const OPTIONS: u16 = 2;

/// `major:minor` of a discipline or a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

impl Handle {
    /// Nothing said.
    pub const NONE: Self = Self(0);
    /// In place of the discipline of the interface itself (`TC_H_ROOT`).
    pub const ROOT: Self = Self(0xffff_ffff);
    /// Where `clsact` and `ingress` hang (`TC_H_CLSACT`).
    pub const CLSACT: Self = Self(0xffff_fff1);
    /// Filters of `clsact` on what comes in (`TC_H_CLSACT` with `TC_H_MIN_INGRESS`).
    pub const INGRESS: Self = Self(0xffff_fff2);
    /// Filters of `clsact` on what goes out (`TC_H_MIN_EGRESS`).
    pub const EGRESS: Self = Self(0xffff_fff3);

    /// `major:minor`; the minor of a discipline is 0.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self((major as u32) << 16 | minor as u32)
    }
}

/// Whether something must be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It must not exist (`tc … add`).
    Add,
    /// It exists, and is given other parameters. What it holds stays (`tc … change`).
    Change,
}

impl Way {
    pub(super) const fn flags(self) -> u16 {
        match self {
            Self::Add => flags::REQUEST | flags::ACK | flags::EXCL | flags::CREATE,
            Self::Change => flags::REQUEST | flags::ACK,
        }
    }
}

/// A queueing discipline.
#[derive(Debug, Clone, PartialEq)]
pub struct Qdisc {
    /// Of the interface.
    pub interface: u32,
    /// [`Handle::ROOT`], a class, or [`Handle::CLSACT`].
    pub parent: Handle,
    /// Its own, `major:0`; [`Handle::NONE`] lets the kernel choose.
    pub handle: Handle,
    /// Which.
    pub kind: Kind,
}

/// The disciplines that Squall makes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `tc-netem(8)`.
    Netem(Box<Netem>),
    /// `tc-tbf(8)`.
    Tbf(Tbf),
    /// `tc-htb(8)`.
    Htb(Htb),
    /// `pfifo(8)`: so many packets.
    Pfifo {
        /// Packets.
        limit: u32,
    },
    /// No queue: a place for filters on both ways.
    Clsact,
    /// No queue: a place for filters on what comes in.
    Ingress,
}

impl Kind {
    /// The kernel's name for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Netem(_) => "netem",
            Self::Tbf(_) => "tbf",
            Self::Htb(_) => "htb",
            Self::Pfifo { .. } => "pfifo",
            Self::Clsact => "clsact",
            Self::Ingress => "ingress",
        }
    }
}

/// `struct tcmsg`.
pub(super) fn header(interface: u32, handle: Handle, parent: Handle, info: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (at, word) in [(4, interface), (8, handle.0), (12, parent.0), (16, info)] {
        bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

impl Qdisc {
    /// The place for filters of an interface.
    pub const fn clsact(interface: u32) -> Self {
        Self { interface, parent: Handle::CLSACT, handle: Handle::new(0xffff, 0), kind: Kind::Clsact }
    }

    /// The message that makes or changes it.
    pub fn message(&self, way: Way) -> Message {
        let mut message = Message::new(NEW_QDISC, way.flags(), &header(self.interface, self.handle, self.parent, 0));
        message.put_text(KIND, self.kind.name());
        match &self.kind {
            Kind::Netem(netem) => netem.put(&mut message),
            Kind::Tbf(tbf) => tbf.put(&mut message),
            Kind::Htb(htb) => htb.put(&mut message),
            // struct tc_fifo_qopt
            Kind::Pfifo { limit } => {
                message.put_u32(OPTIONS, *limit);
            }
            Kind::Clsact | Kind::Ingress => {}
        }
        message
    }

    /// The message that takes it away, with everything below it.
    pub fn removal(&self) -> Message {
        let head = header(self.interface, self.handle, self.parent, 0);
        let mut message = Message::new(DELETE_QDISC, flags::REQUEST | flags::ACK, &head);
        if matches!(self.kind, Kind::Clsact | Kind::Ingress) {
            message.put_text(KIND, self.kind.name());
        }
        message
    }
}

/// A class of `htb`.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Of the interface.
    pub interface: u32,
    /// A discipline or a class.
    pub parent: Handle,
    /// Its own.
    pub handle: Handle,
    /// What it may send.
    pub htb: HtbClass,
}

impl Class {
    /// The message that makes or changes it.
    pub fn message(&self, way: Way) -> Message {
        let mut message = Message::new(NEW_CLASS, way.flags(), &header(self.interface, self.handle, self.parent, 0));
        message.put_text(KIND, "htb");
        self.htb.put(&mut message);
        message
    }

    /// The message that takes it away.
    pub fn removal(&self) -> Message {
        Message::new(DELETE_CLASS, flags::REQUEST | flags::ACK, &header(self.interface, self.handle, self.parent, 0))
    }
}
