//! Making, changing and taking away, and looking.

use std::io;

use squall_undo::Armed;

use crate::netlink::{Bus, Message, Socket, flags};

use super::dump::Row;
use super::qdisc::header;
use super::{Class, Filter, FilterId, Handle, Qdisc, Way};

/// `RTM_GETQDISC`, `RTM_GETTCLASS`, `RTM_GETTFILTER`.
const QDISCS: u16 = 38;
const CLASSES: u16 = 42;
const FILTERS: u16 = 46;

/// Traffic control of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Traffic {
    socket: Socket,
}

impl Traffic {
    /// Opens it in the namespace of this thread.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Bus::Route)? })
    }

    /// Makes or changes a discipline. `ENOENT` where the kernel has no such kind.
    pub fn set_qdisc(&mut self, _: &Armed, qdisc: &Qdisc, way: Way) -> io::Result<()> {
        self.socket.request(vec![qdisc.message(way)]).map(drop)
    }

    /// Takes a discipline away, with everything below it.
    pub fn remove_qdisc(&mut self, _: &Armed, qdisc: &Qdisc) -> io::Result<()> {
        self.socket.request(vec![qdisc.removal()]).map(drop)
    }

    /// Makes or changes a class.
    pub fn set_class(&mut self, _: &Armed, class: &Class, way: Way) -> io::Result<()> {
        self.socket.request(vec![class.message(way)]).map(drop)
    }

    /// Takes a class away.
    pub fn remove_class(&mut self, _: &Armed, class: &Class) -> io::Result<()> {
        self.socket.request(vec![class.removal()]).map(drop)
    }

    /// Makes a filter. `EEXIST` where there is one with its preference and handle.
    pub fn add_filter(&mut self, _: &Armed, filter: &Filter) -> io::Result<()> {
        self.socket.request(vec![filter.message()]).map(drop)
    }

    /// Makes a filter and, before it, the place for it, with one system call: no death comes between them.
    pub fn add_filter_and_clsact(&mut self, _: &Armed, filter: &Filter) -> io::Result<()> {
        let messages = vec![Qdisc::clsact(filter.id.interface).message(Way::Add), filter.message()];
        self.socket.batch(messages, 2).map(drop).map_err(|(_, error)| error)
    }

    /// Takes a filter away.
    pub fn remove_filter(&mut self, _: &Armed, filter: &FilterId) -> io::Result<()> {
        self.socket.request(vec![filter.removal()]).map(drop)
    }

    /// The disciplines of an interface.
    pub fn qdiscs(&mut self, interface: u32) -> io::Result<Vec<Row>> {
        // The kernel tells those of all interfaces.
        let mut all = self.dump(QDISCS, interface, Handle::NONE)?;
        all.retain(|row| row.interface == interface);
        Ok(all)
    }

    /// The classes of an interface.
    pub fn classes(&mut self, interface: u32) -> io::Result<Vec<Row>> {
        self.dump(CLASSES, interface, Handle::NONE)
    }

    /// The filters of one place of an interface; none where there is no such place.
    pub fn filters(&mut self, interface: u32, parent: Handle) -> io::Result<Vec<Row>> {
        let mut all = self.dump(FILTERS, interface, parent)?;
        all.retain(|row| row.interface == interface && row.handle != Handle::NONE);
        Ok(all)
    }

    fn dump(&mut self, kind: u16, interface: u32, parent: Handle) -> io::Result<Vec<Row>> {
        let message = Message::new(kind, flags::REQUEST | flags::DUMP, &header(interface, Handle::NONE, parent, 0));
        Ok(self.socket.dump(message)?.into_iter().filter_map(Row::read).collect())
    }
}
