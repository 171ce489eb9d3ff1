//! What this kernel's `nf_tables` has: asked with transactions that the kernel checks and then forgets.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::error::NftError;
use super::table::{Chain, Expression, Reject, Rule};
use super::transaction::Transaction;
use crate::netlink::{Bus, Socket};

/// By what packets get to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Queueing {
    /// The expression `queue` (module `nft_queue`).
    Native,
    /// The target NFQUEUE of `iptables`, by way of `nft_compat`.
    Target,
    /// Not at all.
    Missing,
}

/// What this kernel has, for this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "a list of what is there and what is not")]
pub struct Support {
    /// Tables of the family `inet` that a process owns. Without, nothing else was asked.
    pub tables: bool,
    /// Why there are none: not root, no `nf_tables`, older than Linux 5.12.
    pub refusal: Option<String>,
    /// By what packets get to a queue.
    pub queue: Queueing,
    /// `socket mark` (module `nft_socket`).
    pub socket_mark: bool,
    /// `socket cgroupv2` (Linux 5.13), with cgroup v2 mounted.
    pub socket_cgroup: bool,
    /// `meta cgroup`: cgroup v1's `net_cls`.
    pub net_class: bool,
    /// `numgen random`.
    pub random: bool,
    /// `reject` in the family `inet`.
    pub reject: bool,
    /// `redirect`.
    pub redirect: bool,
}

/// The table that is asked about. It never comes into being.
const NAME: &str = "squall-asks";

/// What this kernel has, asked once. Nothing is changed by asking: no transaction is completed, and no chain of it is hooked in.
pub fn supports() -> Support {
    static SUPPORT: OnceLock<Support> = OnceLock::new();
    SUPPORT.get_or_init(ask).clone()
}

static QUEUEING: OnceLock<Queueing> = OnceLock::new();

/// Takes it from who has asked already, as a parent has for its child: asking costs some milliseconds. Without effect once
/// this process has asked itself.
pub fn assume(queueing: Queueing) {
    let _ = QUEUEING.set(queueing);
}

/// By what packets get to a queue. Asked once.
pub(super) fn queueing() -> Queueing {
    *QUEUEING.get_or_init(|| Socket::open(Bus::Netfilter).map_or(Queueing::Missing, |mut socket| ask_queueing(&mut socket)))
}

fn ask() -> Support {
    let none = |error: NftError| Support {
        tables: false,
        refusal: Some(error.to_string()),
        queue: Queueing::Missing,
        socket_mark: false,
        socket_cgroup: false,
        net_class: false,
        random: false,
        reject: false,
        redirect: false,
    };
    let mut socket = match Socket::open(Bus::Netfilter) {
        Ok(socket) => socket,
        Err(error) => return none(NftError::Socket(error)),
    };
    if let Err(error) = accepts(&mut socket, vec![Expression::Counter], Queueing::Missing) {
        return none(error);
    }
    let mut has = |expression| accepts(&mut socket, vec![expression], Queueing::Missing).is_ok();
    Support {
        tables: true,
        refusal: None,
        socket_mark: has(Expression::SocketMark(1)),
        socket_cgroup: has(Expression::CgroupV2("/".into())),
        net_class: has(Expression::NetClass(1)),
        random: has(Expression::Chance(0.5)),
        reject: has(Expression::Reject(Reject::PortUnreachable)),
        redirect: has(Expression::Redirect(1)),
        queue: *QUEUEING.get_or_init(|| ask_queueing(&mut socket)),
    }
}

fn ask_queueing(socket: &mut Socket) -> Queueing {
    let queue = || vec![Expression::Queue { number: 0, bypass: true }];
    if accepts(socket, queue(), Queueing::Native).is_ok() {
        Queueing::Native
    } else if accepts(socket, queue(), Queueing::Target).is_ok() {
        Queueing::Target
    } else {
        Queueing::Missing
    }
}

/// Whether the kernel would take such a rule.
fn accepts(socket: &mut Socket, expressions: Vec<Expression>, queueing: Queueing) -> Result<(), NftError> {
    let mut transaction = Transaction::new(NAME)?;
    transaction.new_table();
    transaction.new_chain(&Chain { name: "asks".into(), base: None, rules: Vec::new() })?;
    transaction.new_rule("asks", &Rule { expressions, comment: String::new() }, queueing)?;
    transaction.check(socket)
}
