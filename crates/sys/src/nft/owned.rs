//! Tables that live as long as the process that made them.

use std::collections::HashMap;

use squall_undo::Armed;

use super::error::NftError;
use super::interval::Form;
use super::read::exists;
use super::support::queueing;
use super::table::{Element, Expression, Table};
use super::transaction::Transaction;
use super::{Queueing, linger};
use crate::netlink::{Bus, Socket};

/// A table in force, in the network namespace of the thread that made it. It is gone when this is dropped, and when the
/// process ends in whatever way: the kernel ties it to the socket. Nobody else can change it meanwhile.
#[derive(Debug)]
pub struct Owned {
    /// Until it is removed.
    socket: Option<Socket>,
    table: String,
    sets: HashMap<String, Form>,
}

impl Owned {
    /// Makes a table, in one transaction: all of it is in force when this returns, or none of it.
    pub fn create(armed: &Armed, table: &Table) -> Result<Self, NftError> {
        let _ = armed;
        let queues = table.chains.iter().flat_map(|c| &c.rules).flat_map(|r| &r.expressions).any(|e| matches!(e, Expression::Queue { .. }));
        let mut socket = Socket::open(Bus::Netfilter).map_err(NftError::Socket)?;
        let queueing = if queues { queueing(&mut socket) } else { Queueing::Missing };
        Transaction::create(table, queueing)?.commit(&mut socket)?;
        let sets = table.sets.iter().map(|s| (s.name.clone(), Form::of(s.kind, &s.elements))).collect();
        Ok(Self { socket: Some(socket), table: table.name.clone(), sets })
    }

    /// Gives a set other elements. No packet sees it empty or half full.
    pub fn replace(&mut self, armed: &Armed, set: &str, elements: &[Element]) -> Result<(), NftError> {
        let _ = armed;
        let Some(form) = self.sets.get(set) else {
            let (what, why) = (format!("the set `{set}`"), "does not exist".to_owned());
            return Err(NftError::Invalid { table: self.table.clone(), what, why });
        };
        let refill = Transaction::new(&self.table)?.refill(set, *form, elements)?;
        self.socket.as_mut().map_or(Ok(()), |socket| refill.commit(socket))
    }

    /// Takes all rules away, and leaves the chains hooked in: the table does nothing any more, and can only be removed.
    ///
    /// For tables that queue. As a chain is taken out of its hook, by whomever, the kernel drops what waits in every queue of the
    /// network namespace (`nf_queue_nf_hook_drop`). After this, what waits can be let go first.
    pub fn disarm(&mut self, armed: &Armed) -> Result<(), NftError> {
        let _ = armed;
        let disarm = Transaction::new(&self.table)?.remove_rules();
        self.socket.as_mut().map_or(Ok(()), |socket| disarm.commit(socket))
    }

    /// Takes the table away. No packet meets it any more when this returns. See [`settle`](super::settle) for what a process does before it
    /// ends.
    pub fn remove(mut self, armed: &Armed) -> Result<(), NftError> {
        let _ = armed;
        self.end()
    }

    fn end(&mut self) -> Result<(), NftError> {
        let Some(mut socket) = self.socket.take() else { return Ok(()) };
        let removed = Transaction::new(&self.table)?.remove().commit(&mut socket);
        if removed.is_ok() {
            linger::close_later(socket);
        }
        // Otherwise the kernel does it as the socket is closed.
        removed
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.table
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // As the socket is closed in any case, there is nothing to be done about an error.
        let _ = self.end();
    }
}

/// Removes a table of the family `inet` that nobody owns. `Ok(false)` if there is none of that name.
pub fn delete(armed: &Armed, name: &str) -> Result<bool, NftError> {
    let _ = armed;
    let mut socket = Socket::open(Bus::Netfilter).map_err(NftError::Socket)?;
    if !exists(&mut socket, name).map_err(NftError::Socket)? {
        return Ok(false);
    }
    let removed = Transaction::new(name)?.remove().commit(&mut socket);
    linger::close_later(socket);
    match removed {
        // Somebody else was quicker.
        Err(error) if error.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Ok(false),
        done => done.map(|()| true),
    }
}
