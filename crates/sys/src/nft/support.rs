//! What this kernel's `nf_tables` has: asked with transactions that the kernel checks and then forgets.

use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::error::{NftError, Part};
use super::table::{Chain, Expression, Reject, Rule};
use super::transaction::Transaction;
use super::wire::has_queue_target;
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

/// What this kernel has, asked once: some ten milliseconds for each thing that is missing. Nothing is changed by asking: no
/// transaction is completed, and no chain of it is hooked in.
pub fn supports() -> Support {
    static SUPPORT: OnceLock<Support> = OnceLock::new();
    SUPPORT.get_or_init(ask).clone()
}

static QUEUEING: OnceLock<Queueing> = OnceLock::new();

/// Takes it from who has asked already, as a parent has for its child. Without effect once this process has found out itself.
pub fn assume(queueing: Queueing) {
    let _ = QUEUEING.set(queueing);
}

/// By what packets get to a queue. Where nobody has asked or said, without a transaction: during one, every other fault would
/// wait.
pub(super) fn queueing(socket: &mut Socket) -> Queueing {
    *QUEUEING.get_or_init(|| {
        if !kernel_lists("nft_queue") && socket.request(vec![has_queue_target()]).is_ok() { Queueing::Target } else { Queueing::Native }
    })
}

/// Whether a module is loaded, or among those that came with this kernel, built in or not (`depmod(8)`). Many a machine does
/// not have those lists: containers, and kernels without modules.
fn kernel_lists(module: &str) -> bool {
    if Path::new("/sys/module").join(module).exists() {
        return true;
    }
    let release = rustix::system::uname();
    let lists = Path::new("/lib/modules").join(release.release().to_string_lossy().as_ref());
    let file = format!("/{module}.ko");
    ["modules.builtin", "modules.dep"].iter().any(|list| std::fs::read_to_string(lists.join(list)).is_ok_and(|text| text.contains(&file)))
}

/// The comments of rules that are asked about.
mod asked {
    pub const COUNTER: &str = "counter";
    pub const SOCKET_MARK: &str = "socket mark";
    pub const SOCKET_CGROUP: &str = "socket cgroup";
    pub const NET_CLASS: &str = "class";
    pub const RANDOM: &str = "random";
    pub const REJECT: &str = "reject";
    pub const REDIRECT: &str = "redirect";
    pub const QUEUE: &str = "queue";
    pub const QUEUE_TARGET: &str = "queue target";
}

fn ask() -> Support {
    let accepted = Socket::open(Bus::Netfilter).map_err(NftError::Socket).and_then(|mut socket| accepted(&mut socket));
    let (accepted, refusal) = match accepted {
        Ok(accepted) => (accepted, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let has = |what| accepted.contains(&what);
    let queue = match (has(asked::QUEUE), has(asked::QUEUE_TARGET)) {
        (true, _) => Queueing::Native,
        (false, true) => Queueing::Target,
        (false, false) => Queueing::Missing,
    };
    if refusal.is_none() {
        assume(queue);
    }
    Support {
        tables: refusal.is_none(),
        refusal,
        queue,
        socket_mark: has(asked::SOCKET_MARK),
        socket_cgroup: has(asked::SOCKET_CGROUP),
        net_class: has(asked::NET_CLASS),
        random: has(asked::RANDOM),
        reject: has(asked::REJECT),
        redirect: has(asked::REDIRECT),
    }
}

/// Which rules the kernel would take: all are asked about at once, then again without the first that it refuses.
fn accepted(socket: &mut Socket) -> Result<Vec<&'static str>, NftError> {
    let queue = Expression::Queue { number: 0, bypass: true };
    let mut rules = vec![
        (asked::COUNTER, Expression::Counter),
        (asked::SOCKET_MARK, Expression::SocketMark(1)),
        (asked::SOCKET_CGROUP, Expression::CgroupV2("/".into())),
        (asked::NET_CLASS, Expression::NetClass(1)),
        (asked::RANDOM, Expression::Chance(0.5)),
        (asked::REJECT, Expression::Reject(Reject::PortUnreachable)),
        (asked::REDIRECT, Expression::Redirect(1)),
        (asked::QUEUE, queue.clone()),
        (asked::QUEUE_TARGET, queue),
    ];
    loop {
        let mut transaction = Transaction::new(NAME)?;
        transaction.new_table();
        transaction.new_chain(&Chain { name: "asks".into(), base: None, rules: Vec::new() })?;
        rules.retain(|(comment, expression)| {
            let queueing = if *comment == asked::QUEUE { Queueing::Native } else { Queueing::Target };
            let rule = Rule { expressions: vec![expression.clone()], comment: (*comment).to_owned() };
            // Without cgroup v2 there is nothing to ask.
            transaction.new_rule("asks", &rule, queueing).is_ok()
        });
        match transaction.check(socket) {
            Ok(()) => return Ok(rules.into_iter().map(|(comment, _)| comment).collect()),
            Err((Part::Rule { comment, .. }, _)) if comment != asked::COUNTER => rules.retain(|(c, _)| *c != comment),
            Err((part, error)) => return Err(NftError::refused(NAME, &part, error)),
        }
    }
}
