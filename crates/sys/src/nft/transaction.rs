//! A transaction: messages that are in force together, or not at all.

use std::collections::HashSet;
use std::io;

use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};

use super::compile::{compile, needs};
use super::error::{NftError, Part};
use super::interval::{self, Form};
use super::operation::{ANONYMOUS, Operation, Within};
use super::table::{Chain, ChainKind, Element, Expression, Hook, Rule, Set, SetKind, Table};
use super::wire::attribute::{self, chain, elements, rule, set, table};
use super::{Queueing, wire};
use crate::netlink::{Message, Socket, flags};

/// Names of tables, sets and chains: `NFT_NAME_MAXLEN` is 256, with the zero at the end.
const LONGEST_NAME: usize = 255;
/// What nft allows. The kernel's own limit is for all of a rule's user data.
const LONGEST_COMMENT: usize = 128;
/// Where `NFTNL_UDATA_RULE_COMMENT` stands in a rule's user data: a type, a length, text with a zero at its end.
pub(super) const COMMENT: u8 = 0;

/// What is to happen to one table.
#[derive(Debug)]
pub(super) struct Transaction {
    table: String,
    messages: Vec<(Message, Part)>,
    anonymous_sets: u32,
}

impl Transaction {
    pub(super) fn new(table: &str) -> Result<Self, NftError> {
        let transaction = Self { table: table.to_owned(), messages: Vec::new(), anonymous_sets: 0 };
        transaction.name("the name", table)?;
        Ok(transaction)
    }

    /// Makes the table and all that is in it.
    pub(super) fn create(table: &Table, queueing: Queueing) -> Result<Self, NftError> {
        let mut transaction = Self::new(&table.name)?;
        transaction.new_table();
        for set in &table.sets {
            transaction.new_set(set)?;
        }
        for chain in &table.chains {
            transaction.new_chain(chain)?;
        }
        transaction.check_references(table)?;
        for chain in &table.chains {
            for rule in &chain.rules {
                transaction.new_rule(&chain.name, rule, queueing)?;
            }
        }
        Ok(transaction)
    }

    pub(super) fn new_table(&mut self) {
        let mut new = wire::request(wire::message::NEW_TABLE, flags::CREATE | flags::EXCL);
        new.put_text(table::NAME, &self.table).put_be32(table::FLAGS, wire::TABLE_OWNER);
        self.push(new, Part::Table);
    }

    /// Removes the table.
    pub(super) fn remove(mut self) -> Self {
        let mut delete = wire::request(wire::message::DELETE_TABLE, 0);
        delete.put_text(table::NAME, &self.table);
        self.push(delete, Part::Removal);
        self
    }

    /// Removes all rules of the table, but neither chains nor sets.
    pub(super) fn remove_rules(mut self) -> Self {
        let mut delete = wire::request(wire::message::DELETE_RULE, 0);
        delete.put_text(rule::TABLE, &self.table);
        self.push(delete, Part::Removal);
        self
    }

    /// Empties a set and fills it again.
    pub(super) fn refill(mut self, name: &str, form: Form, elements: &[Element]) -> Result<Self, NftError> {
        let mut flush = wire::request(wire::message::DELETE_ELEMENTS, 0);
        flush.put_text(elements::TABLE, &self.table).put_text(elements::SET, name);
        self.push(flush, Part::Set(name.to_owned()));
        self.add_elements(name, form, elements)?;
        Ok(self)
    }

    fn new_set(&mut self, set: &Set) -> Result<(), NftError> {
        self.name("the name of a set", &set.name)?;
        let (key_type, length) = set.kind.key();
        let form = Form::of(set.kind, &set.elements);
        let intervals = if form.exact { 0 } else { wire::SET_INTERVAL };
        let mut new = wire::request(wire::message::NEW_SET, flags::CREATE | flags::EXCL);
        new.put_text(set::TABLE, &self.table).put_text(set::NAME, &set.name).put_be32(set::FLAGS, intervals);
        new.put_be32(set::KEY_TYPE, key_type).put_be32(set::KEY_LENGTH, length.into());
        self.anonymous_sets += 1;
        new.put_be32(set::ID, self.anonymous_sets);
        self.push(new, Part::Set(set.name.clone()));
        self.add_elements(&set.name, form, &set.elements)
    }

    fn add_elements(&mut self, name: &str, form: Form, elements: &[Element]) -> Result<(), NftError> {
        let points = form.points(elements).map_err(|e| {
            let what = if form.exact { "was made for single values" } else { "ranges go from the lower to the higher" };
            self.invalid(format!("the set `{name}`"), format!("holds {e:?}; it is of {:?}, and {what}", form.kind))
        })?;
        for add in interval::add(&self.table, name, &points) {
            self.push(add, Part::Set(name.to_owned()));
        }
        Ok(())
    }

    pub(super) fn new_chain(&mut self, chain: &Chain) -> Result<(), NftError> {
        self.name("the name of a chain", &chain.name)?;
        let mut new = wire::request(wire::message::NEW_CHAIN, flags::CREATE | flags::EXCL);
        new.put_text(chain::TABLE, &self.table).put_text(chain::NAME, &chain.name);
        let mut needs = Vec::new();
        if let Some(base) = chain.base {
            new.put_nested(chain::HOOK, |hook| {
                hook.put_be32(chain::HOOK_NUMBER, base.hook.number()).put_be32(chain::HOOK_PRIORITY, base.priority.cast_unsigned());
            });
            new.put_be32(chain::POLICY, wire::ACCEPT).put_text(chain::TYPE, base.kind.name());
            if base.kind == ChainKind::Nat {
                needs.push("nft_chain_nat");
            }
        }
        self.push(new, Part::Chain { name: chain.name.clone(), needs });
        Ok(())
    }

    pub(super) fn new_rule(&mut self, chain: &str, rule: &Rule, queueing: Queueing) -> Result<(), NftError> {
        let part = Part::Rule { chain: chain.to_owned(), comment: rule.comment.clone(), needs: needs(&rule.expressions) };
        if rule.comment.len() > LONGEST_COMMENT || rule.comment.contains('\0') {
            return Err(
                self.invalid(part.to_string(), format!("has a comment of {} bytes; it may have {LONGEST_COMMENT}", rule.comment.len()))
            );
        }
        let operations = compile(&rule.expressions, queueing).map_err(|why| self.invalid(part.to_string(), why))?;
        let mut with_sets = Vec::with_capacity(operations.len());
        for operation in operations {
            let id = match &operation {
                Operation::Lookup { within: Within::Bytes(bytes), .. } => Some(self.anonymous_set(bytes, &part)),
                _ => None,
            };
            with_sets.push((operation, id));
        }
        let mut new = wire::request(wire::message::NEW_RULE, flags::CREATE | flags::APPEND);
        new.put_text(rule::TABLE, &self.table).put_text(rule::CHAIN, chain);
        new.put_nested(rule::EXPRESSIONS, |list| {
            for (operation, id) in &with_sets {
                operation.put(list, *id);
            }
        });
        if !rule.comment.is_empty() {
            // At most 129.
            let length = u8::try_from(rule.comment.len() + 1).unwrap_or(u8::MAX);
            let data: Vec<u8> = [COMMENT, length].into_iter().chain(rule.comment.bytes()).chain([0]).collect();
            new.put(rule::USER_DATA, &data);
        }
        self.push(new, part);
        Ok(())
    }

    /// A set without a name, of bytes that are protocols, and its number within the transaction.
    fn anonymous_set(&mut self, bytes: &[u8], part: &Part) -> u32 {
        /// nft's number of the type `inet_proto`.
        const PROTOCOL: u32 = 12;
        self.anonymous_sets += 1;
        let id = self.anonymous_sets;
        let mut new = wire::request(wire::message::NEW_SET, flags::CREATE);
        new.put_text(set::TABLE, &self.table).put_text(set::NAME, ANONYMOUS).put_be32(set::FLAGS, wire::SET_ANONYMOUS);
        new.put_be32(set::KEY_TYPE, PROTOCOL).put_be32(set::KEY_LENGTH, 1);
        new.put_nested(set::DESCRIPTION, |d| {
            d.put_be32(set::DESCRIPTION_SIZE, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        });
        new.put_be32(set::ID, id);
        self.push(new, part.clone());
        let mut fill = wire::request(wire::message::NEW_ELEMENTS, flags::CREATE);
        fill.put_text(elements::TABLE, &self.table).put_text(elements::SET, ANONYMOUS).put_be32(elements::SET_ID, id);
        fill.put_nested(elements::ELEMENTS, |list| {
            for byte in bytes {
                list.put_nested(attribute::ELEMENT, |element| {
                    element.put_nested(elements::KEY, |key| {
                        key.put(attribute::data::VALUE, &[*byte]);
                    });
                });
            }
        });
        self.push(fill, part.clone());
        id
    }

    fn push(&mut self, message: Message, part: Part) {
        self.messages.push((message, part));
    }

    /// Sends all of it, and waits until it is in force.
    pub(super) fn commit(self, socket: &mut Socket) -> Result<(), NftError> {
        let table = self.table.clone();
        self.send(socket, true).map_err(|(part, error)| NftError::refused(&table, &part, error))
    }

    /// Lets the kernel look at all of it, and forget it. `Err` with the first part that it would refuse.
    pub(super) fn check(self, socket: &mut Socket) -> Result<(), (Part, io::Error)> {
        self.send(socket, false)
    }

    fn send(mut self, socket: &mut Socket, for_good: bool) -> Result<(), (Part, io::Error)> {
        // Only the last is acknowledged: answers to many would not fit into the socket. Errors are always told, and come first.
        let Some((last, last_part)) = self.messages.pop() else { return Ok(()) };
        self.messages.push((last.acknowledged(), last_part));
        let (mut messages, mut parts) = (vec![wire::batch_begin()], vec![Part::Transaction]);
        for (message, part) in self.messages {
            messages.push(message);
            parts.push(part);
        }
        if for_good {
            messages.push(wire::batch_end());
        }
        make_room(socket, messages.iter().map(Message::length).sum()).map_err(|error| (Part::Transaction, error))?;
        // The kernel says that it could not commit as if it were the first message's fault.
        socket.batch(messages, 1).map_err(|(at, error)| (parts.get(at).cloned().unwrap_or(Part::Transaction), error))?;
        Ok(())
    }

    fn check_references(&self, table: &Table) -> Result<(), NftError> {
        let sets: HashSet<(&str, SetKind)> = table.sets.iter().map(|s| (s.name.as_str(), s.kind)).collect();
        let chains: HashSet<&str> = table.chains.iter().map(|c| c.name.as_str()).collect();
        for (chain, rule) in table.chains.iter().flat_map(|c| c.rules.iter().map(move |r| (c, r))) {
            for expression in &rule.expressions {
                let missing = match expression {
                    Expression::Address { set, family, .. } if !sets.contains(&(set, (*family).into())) => {
                        format!("a set `{set}` of {family:?} addresses")
                    }
                    Expression::Port { set, .. } if !sets.contains(&(set, SetKind::Port)) => format!("a set `{set}` of ports"),
                    Expression::Jump(to) | Expression::Goto(to) if !chains.contains(to.as_str()) => format!("a chain `{to}`"),
                    _ => continue,
                };
                let what = format!("the rule \"{}\" in the chain `{}`", rule.comment, chain.name);
                return Err(self.invalid(what, format!("needs {missing}, which the table does not have")));
            }
        }
        Ok(())
    }

    fn name(&self, what: &str, name: &str) -> Result<(), NftError> {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
            return Err(self.invalid(what.to_owned(), format!("has {} bytes; it may have 1 to {LONGEST_NAME}", name.len())));
        }
        Ok(())
    }

    fn invalid(&self, what: String, why: String) -> NftError {
        NftError::Invalid { table: self.table.clone(), what, why }
    }
}

/// A batch is one datagram, and must fit into the socket's buffer.
fn make_room(socket: &Socket, bytes: usize) -> io::Result<()> {
    /// What every socket has (`net.core.wmem_default`), with room for the kernel's own part.
    const ALWAYS: usize = 96 * 1024;
    if bytes > ALWAYS {
        set_socket_send_buffer_size_force(socket, bytes).or_else(|_| set_socket_send_buffer_size(socket, bytes))?;
    }
    Ok(())
}

impl Hook {
    /// `NF_INET_*`.
    fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

impl ChainKind {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}
