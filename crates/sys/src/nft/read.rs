//! What tables there are, and what their rules have counted. Needs `CAP_NET_ADMIN`, but not the table's owner.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::linger;
use super::transaction::COMMENT;
use super::wire::attribute::{self, counter, expression, rule, table};
use super::wire::{TABLE_OWNER, message, request, request_any};
use crate::netlink::{Attributes, Bus, Reply, Socket, flags};

/// Between two looks at whether a table is gone.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Tries to read a list that is not changed meanwhile.
const ATTEMPTS: usize = 10;

/// What a rule has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCount {
    /// The rule's chain.
    pub chain: String,
    /// The rule's comment.
    pub comment: String,
    /// Packets that came as far as its (first) counter.
    pub packets: u64,
    /// Their bytes, from the network header on.
    pub bytes: u64,
}

/// A table that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// `NFPROTO_*`: 1 is `inet`, 2 `ip`, 10 `ip6`.
    pub family: u8,
    /// Its name.
    pub name: String,
    /// A process owns it.
    pub owned: bool,
}

/// The counters of a table of the family `inet` in this thread's network namespace, in the order of its chains and rules.
/// `None` if there is no such table.
pub fn counters(table: &str) -> io::Result<Option<Vec<RuleCount>>> {
    with_socket(|socket| {
        if !exists(socket, table)? {
            return Ok(None);
        }
        let mut ask = request(message::GET_RULE, flags::DUMP);
        ask.put_text(rule::TABLE, table);
        let replies = socket.dump(ask)?;
        Ok(Some(replies.iter().filter_map(count).collect()))
    })
}

/// Waits until there is no table of that name in this thread's network namespace; false if there is one for too long.
///
/// A process that ends loses its command line first and its sockets later: whoever looks for the carrier of a fault, and does not
/// find it any more, may find its table for another moment.
pub fn wait_until_gone(table: &str, within: Duration) -> io::Result<bool> {
    let deadline = crate::cpu_time::monotonic() + within;
    with_socket(|socket| {
        while exists(socket, table)? {
            if crate::cpu_time::monotonic() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(true)
    })
}

/// All tables in this thread's network namespace.
pub fn tables() -> io::Result<Vec<TableFacts>> {
    with_socket(|socket| {
        let mut facts = Vec::new();
        for _ in 0..ATTEMPTS {
            let before = generation(socket)?;
            let replies = socket.dump(request_any(message::GET_TABLE, flags::DUMP))?;
            facts = replies.iter().filter_map(table_facts).collect();
            if generation(socket)? == before {
                break;
            }
        }
        Ok(facts)
    })
}

fn with_socket<T>(work: impl FnOnce(&mut Socket) -> io::Result<T>) -> io::Result<T> {
    let mut socket = Socket::open(Bus::Netfilter)?;
    let result = work(&mut socket);
    // A table that is looked for is one that has just gone, often.
    linger::close_later(socket);
    result
}

/// Whether there is a table of the family `inet` with that name.
pub(super) fn exists(socket: &mut Socket, name: &str) -> io::Result<bool> {
    let mut ask = request(message::GET_TABLE, flags::ACK);
    ask.put_text(table::NAME, name);
    match socket.request(vec![ask]) {
        Ok(_) => Ok(true),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A number that every transaction raises.
fn generation(socket: &mut Socket) -> io::Result<Option<u64>> {
    let replies = socket.request(vec![request_any(message::GET_GENERATION, flags::ACK)])?;
    Ok(replies.iter().find_map(|reply| attributes(reply).find(attribute::GENERATION)?.network_number()))
}

/// What stands behind `struct nfgenmsg`.
fn attributes(reply: &Reply) -> Attributes<'_> {
    Attributes(reply.body.get(4..).unwrap_or_default())
}

fn table_facts(reply: &Reply) -> Option<TableFacts> {
    let attributes = attributes(reply);
    let flags = attributes.find(table::FLAGS).and_then(|a| a.network_number()).unwrap_or(0);
    let name = attributes.find(table::NAME)?.text();
    Some(TableFacts { family: *reply.body.first()?, name, owned: flags & u64::from(TABLE_OWNER) != 0 })
}

fn count(reply: &Reply) -> Option<RuleCount> {
    let attributes = attributes(reply);
    let expressions = attributes.find(rule::EXPRESSIONS)?.nested();
    let counter = expressions.into_iter().map(|e| e.nested()).find(|e| e.find(expression::NAME).is_some_and(|n| n.text() == "counter"))?;
    let counted = counter.find(expression::DATA)?.nested();
    let number = |kind| counted.find(kind).and_then(|a| a.network_number()).unwrap_or(0);
    let comment = attributes.find(rule::USER_DATA).and_then(|data| comment(data.bytes)).unwrap_or_default();
    let chain = attributes.find(rule::CHAIN)?.text();
    Some(RuleCount { chain, comment, packets: number(counter::PACKETS), bytes: number(counter::BYTES) })
}

/// The comment in a rule's user data: a row of type, length, bytes.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (bytes, next) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            return Some(String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned());
        }
        data = next;
    }
    None
}
