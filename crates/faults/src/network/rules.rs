//! From a job to the table that the kernel is given.
//!
//! Packets are matched as the application sees them: in the hooks output and input, before destination NAT of what is sent and
//! after that of what is received. What is sent is matched before connection tracking, so that a packet that is sent on later
//! (see [`super::pass`]) passes tracking, translation and everybody's filters as the first and only one. Traffic that is only
//! routed (of containers, say) is matched in the hook forward, where the target is a whole namespace.
//!
//! Everybody's packets meet the chains that are hooked in. So a rule there begins with what tells most packets apart at the least
//! cost, the peer's address, and there is none for a family of addresses that no peer has. What is spared within the scope (our
//! own line, what has passed already) is looked at behind that, in the chain that acts.

use std::net::IpAddr;

use squall_engine::marks::PROXY_MARK;
use squall_sys::nft::{Base, Chain, ChainKind, Element, Expression, Family, Hook, Reject, Rule, Set, SetKind, Side, Table};

use super::job::{Action, NetworkJob, Refusal, Resolved, device_mark};
use super::own_line;
use super::owner::Owner;
use super::pass::PassBit;
use super::scope::{Peer, PortRange, Protocol, single};

/// Before connection tracking (-200) and what depends on it.
const PRIORITY: i32 = -250;
/// After source NAT (100): only the queueing disciplines see a mark that is set here.
const LAST: i32 = 300;
/// Where destination NAT is done (`NF_IP_PRI_NAT_DST`).
const TRANSLATION: i32 = -100;
/// What has ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
/// Types of `ICMPv6` (RFC 4861): what ARP is to IPv4.
const DISCOVERY: Expression = Expression::IcmpV6Types(133, 137);

/// Numbers of queues: of the one that Squall serves, and of one that nobody does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queues {
    /// Where packets are held.
    pub served: u16,
    /// Where packets vanish without anybody being told: a sender's `drop` would be an error (`EPERM`) to it.
    pub unheard: u16,
}

/// A row of peers, and how a rule tells a packet of theirs.
struct PeerList {
    /// Of their sets.
    name: &'static str,
    /// Left out rather than meant.
    not: bool,
    elements: Vec<Element>,
    /// Whether there are any, and whether they may be others later.
    is_written: bool,
    has_names: bool,
}

impl PeerList {
    /// Those that are meant, and those that are left out.
    fn both(job: &NetworkJob, resolved: &Resolved) -> [Self; 2] {
        let (meant, left_out) = job.scope.read_peers();
        let list = |name, not, peers: &[Peer], found: &[IpAddr]| {
            let written = peers.iter().filter_map(|peer| if let Peer::Block(block) = peer { Some(*block) } else { None });
            Self {
                name,
                not,
                elements: written.chain(found.iter().map(|address| single(*address))).collect(),
                is_written: !peers.is_empty(),
                has_names: peers.iter().any(|peer| matches!(peer, Peer::Host(_))),
            }
        };
        [list("peers", false, &meant, &resolved.meant), list("spared", true, &left_out, &resolved.left_out)]
    }

    fn of(&self, family: Family) -> Vec<Element> {
        let is_v4 = family == Family::V4;
        self.elements.iter().copied().filter(|e| matches!(e, Element::Ipv4(..)) == is_v4).collect()
    }

    /// The condition on the address of that side. `Err` where no packet of this family can meet it, `Ok(None)` where all do.
    fn condition(&self, side: Side, family: Family) -> Result<Option<Expression>, NoPacket> {
        if !self.is_written {
            return Ok(None);
        }
        if !self.has_names {
            match (self.of(family).as_slice(), self.not) {
                ([], false) => return Err(NoPacket),
                ([], true) => return Ok(None),
                // A comparison costs a fraction of a look into a set.
                ([Element::Ipv4(from, to)], false) => return Ok(Some(within(side, (*from).into(), (*to).into()))),
                ([Element::Ipv6(from, to)], false) => return Ok(Some(within(side, (*from).into(), (*to).into()))),
                _ => {}
            }
        }
        Ok(Some(Expression::Address { side, set: self.set(family), family, not: self.not }))
    }

    fn set(&self, family: Family) -> String {
        format!("{}{}", self.name, if family == Family::V4 { 4 } else { 6 })
    }

    /// Whether a rule looks into the family's set.
    fn needs_set(&self, family: Family) -> bool {
        matches!(self.condition(Side::Source, family), Ok(Some(Expression::Address { .. })))
    }
}

fn within(side: Side, from: IpAddr, to: IpAddr) -> Expression {
    if from == to { Expression::AddressIs(side, from) } else { Expression::AddressWithin(side, from, to) }
}

/// No packet of a family can be in scope.
struct NoPacket;

/// The sets of peers that rules look into, among them those whose elements come from names.
pub fn peer_sets(job: &NetworkJob, resolved: &Resolved) -> Vec<Set> {
    let mut sets = Vec::new();
    for list in PeerList::both(job, resolved) {
        for family in [Family::V4, Family::V6].into_iter().filter(|family| list.needs_set(*family)) {
            sets.push(Set { name: list.set(family), kind: family.into(), elements: list.of(family) });
        }
    }
    sets
}

/// The whole table.
pub fn table(marker: &str, job: &NetworkJob, resolved: &Resolved, own_ports: &[Element], queues: Queues, pass: Option<&PassBit>) -> Table {
    let compiler = Compiler { job, peers: PeerList::both(job, resolved), pass, queues };
    let mut sets = peer_sets(job, resolved);
    for (name, ports) in [("remote", &job.scope.remote_ports), ("local", &job.scope.local_ports)] {
        for not in [false, true] {
            let elements: Vec<Element> = ports.iter().filter(|p| p.not == not).map(|p| Element::Port(p.from, p.to)).collect();
            if !elements.is_empty() && single_port(ports, not).is_none() {
                sets.push(Set { name: port_set(name, not), kind: SetKind::Port, elements });
            }
        }
    }
    if job.owner.needs_ports() {
        sets.push(Set { name: OWN_PORTS.into(), kind: SetKind::Port, elements: own_ports.to_vec() });
    }
    Table { name: marker.to_owned(), sets, chains: compiler.chains(device_mark(marker)) }
}

fn port_set(name: &str, not: bool) -> String {
    if not { format!("{name}-spared") } else { format!("{name}-ports") }
}

/// Where packets in scope go: a chain that acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// On what this host sends.
    Sent,
    /// On what it gets.
    Received,
    /// On what it passes on. None of that is our own line.
    Routed,
}

impl Act {
    fn chain(self) -> &'static str {
        match self {
            Self::Sent => "act-sent",
            Self::Received => "act-received",
            Self::Routed => "act-routed",
        }
    }

    /// The comment of the rule that counts what is not spared.
    fn counted(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Routed => "received, to be passed on",
        }
    }
}

fn base(name: &str, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), base: Some(Base { hook, priority, kind: ChainKind::Filter }), rules }
}

struct Compiler<'a> {
    job: &'a NetworkJob,
    peers: [PeerList; 2],
    pass: Option<&'a PassBit>,
    queues: Queues,
}

impl Compiler<'_> {
    fn chains(&self, device_mark: u32) -> Vec<Chain> {
        let direction = self.job.scope.way();
        let everything = matches!(self.job.owner, Owner::Everything);
        if self.job.device.is_some() {
            let marked = vec![Rule { expressions: vec![Expression::SetMark(device_mark)], comment: "to the device".into() }];
            return vec![self.act(Act::Sent, marked), base("sent", Hook::Postrouting, LAST, self.matching(true, Act::Sent))];
        }
        if let Action::Redirect { port } = self.job.action {
            return self.redirecting(port);
        }
        let mut sent = Vec::new();
        if direction.is_out() {
            sent.extend(self.matching(true, Act::Sent));
        }
        // A packet on the loopback interface is sent and received here: what is received is matched as it is sent, once.
        if direction.is_in() && everything && !self.job.spare_loopback {
            sent.extend(self.matching(false, Act::Sent).into_iter().map(|rule| only_loopback(rule, true)));
        }
        // No chain without a rule: each costs every packet that meets it.
        let mut chains = Vec::new();
        let mut add = |act: Act, name: &str, hook: Hook, rules: Vec<Rule>| {
            if !rules.is_empty() {
                chains.push(self.act(act, self.action(act == Act::Sent)));
                chains.push(base(name, hook, PRIORITY, rules));
            }
        };
        add(Act::Sent, "sent", Hook::Output, sent);
        if direction.is_in() {
            add(Act::Received, "received", Hook::Input, self.matching(false, Act::Received));
        }
        if everything {
            let mut routed = Vec::new();
            if direction.is_out() {
                routed.extend(self.matching(true, Act::Routed));
            }
            if direction.is_in() {
                routed.extend(self.matching(false, Act::Routed));
            }
            add(Act::Routed, "routed", Hook::Forward, routed);
        }
        chains
    }

    /// New connections are led elsewhere where their destination is looked up: before they leave, and as they arrive.
    fn redirecting(&self, port: u16) -> Vec<Chain> {
        let direction = self.job.scope.way();
        let mut chains = Vec::new();
        let mut add = |act: Act, hook: Hook, out: bool| {
            let led = Rule { expressions: vec![Expression::Redirect(port)], comment: "led to the proxy".into() };
            let mut acts = self.act(act, vec![led]);
            let passed = vec![Expression::Mark(PROXY_MARK), Expression::Accept];
            acts.rules.insert(0, Rule { expressions: passed, comment: "made by a fault proxy".into() });
            let mut chain = base(act.counted(), hook, TRANSLATION, self.matching(out, act));
            chain.base = chain.base.map(|base| Base { kind: ChainKind::Nat, ..base });
            chains.extend([acts, chain]);
        };
        if direction.is_out() {
            add(Act::Sent, Hook::Output, true);
        }
        if direction.is_in() {
            add(Act::Received, Hook::Prerouting, false);
        }
        chains
    }

    /// What becomes of packets in scope: some are spared, the others are counted, and then it is done to them.
    fn act(&self, act: Act, done: Vec<Rule>) -> Chain {
        let passed =
            |bit: &PassBit| Rule { expressions: vec![bit.has_passed(), Expression::Accept], comment: "sent on by this fault".into() };
        let mut rules: Vec<Rule> = self.pass.map(passed).into_iter().collect();
        rules.push(Rule { expressions: vec![DISCOVERY, Expression::Accept], comment: "neighbour discovery".into() });
        if act != Act::Routed {
            rules.extend(own_line::exclusions(&self.job.lines));
        }
        rules.push(Rule { expressions: vec![Expression::Counter], comment: act.counted().into() });
        rules.extend(done);
        Chain { name: act.chain().into(), base: None, rules }
    }

    /// The rules that find the packets of one direction, and hand them to the chain that acts.
    fn matching(&self, out: bool, act: Act) -> Vec<Rule> {
        let scope = &self.job.scope;
        let sides = if out { (Side::Destination, Side::Source) } else { (Side::Source, Side::Destination) };
        let families: &[Option<Family>] =
            if self.peers.iter().any(|list| list.is_written) { &[Some(Family::V4), Some(Family::V6)] } else { &[None] };
        let mut rules = Vec::new();
        for family in families.iter().copied() {
            // What tells most packets apart goes first.
            let Ok(mut base) = self.addresses(sides.0, family) else { continue };
            let wanted = if matches!(self.job.action, Action::Redirect { .. }) { Protocol::Tcp } else { scope.protocol };
            base.extend(protocol(wanted, !scope.remote_ports.is_empty() || !scope.local_ports.is_empty()));
            base.extend(ports("remote", &scope.remote_ports, sides.0));
            base.extend(ports("local", &scope.local_ports, sides.1));
            base.extend(self.interface(out, act == Act::Sent));
            for owned in self.owned(out) {
                let expressions = base.iter().cloned().chain(owned).chain([Expression::Goto(act.chain().into())]).collect();
                rules.push(Rule { expressions, comment: comment(out, family) });
            }
        }
        rules
    }

    /// The conditions on the other side's address.
    fn addresses(&self, side: Side, family: Option<Family>) -> Result<Vec<Expression>, NoPacket> {
        let Some(family) = family else { return Ok(Vec::new()) };
        let mut conditions = Vec::new();
        for list in &self.peers {
            conditions.extend(list.condition(side, family)?);
        }
        // A family whose every address is meant.
        Ok(if conditions.is_empty() { vec![Expression::Family(family)] } else { conditions })
    }

    /// The condition on the interface.
    fn interface(&self, out: bool, sending: bool) -> Option<Expression> {
        if let Some(name) = &self.job.scope.interface {
            return Some(if out { Expression::LeavesBy(name.clone()) } else { Expression::CameBy(name.clone()) });
        }
        // What is received on the loopback interface was matched as it was sent.
        let everything = matches!(self.job.owner, Owner::Everything);
        let but_loopback = self.job.spare_loopback || (!sending && everything);
        let lo = || "lo".to_owned();
        but_loopback.then(|| if sending { Expression::NotLeavesBy(lo()) } else { Expression::NotCameBy(lo()) })
    }

    /// The conditions that a packet is the owner's: each of several ways to tell.
    fn owned(&self, out: bool) -> Vec<Vec<Expression>> {
        let owner = &self.job.owner;
        if matches!(owner, Owner::Everything) {
            return vec![Vec::new()];
        }
        let mut ways = vec![owner.conditions(out)];
        // The kernel does not tell whose a socket is that is not connected, or is only beginning to be: its port is known.
        if owner.needs_ports() {
            let side = if out { Side::Source } else { Side::Destination };
            let port = Expression::Port { side, set: OWN_PORTS.into(), not: false };
            ways.push(vec![Expression::Protocol(WITH_PORTS.to_vec()), port]);
        }
        if out {
            ways.extend(self.pass.into_iter().flat_map(PassBit::sent_on).map(|condition| vec![condition]));
        }
        ways
    }

    /// What is done. `sent`: by this host itself, which then must not be told.
    fn action(&self, sent: bool) -> Vec<Rule> {
        let rule = |expressions: Vec<Expression>, comment: &str| Rule { expressions, comment: comment.into() };
        let vanish = if sent { Expression::Queue { number: self.queues.unheard, bypass: false } } else { Expression::Drop };
        match &self.job.action {
            Action::Cut => vec![rule(vec![Expression::Counter, vanish], "lost")],
            Action::Lose { probability } => vec![rule(vec![Expression::Chance(*probability), Expression::Counter, vanish], "lost")],
            // Chains of another kind do it.
            Action::Redirect { .. } => Vec::new(),
            Action::Shape { .. } => {
                let queue = Expression::Queue { number: self.queues.served, bypass: true };
                vec![rule(vec![Expression::Counter, queue], "held")]
            }
            Action::Refuse { with } => {
                let tcp = vec![Expression::Protocol(vec![6]), Expression::Counter, Expression::Reject(Reject::TcpReset)];
                let reason = match with {
                    Refusal::Refused => Reject::PortUnreachable,
                    Refusal::HostUnreachable => Reject::HostUnreachable,
                    Refusal::NoRoute => Reject::NoRoute,
                    Refusal::Prohibited => Reject::Prohibited,
                };
                let rest = rule(vec![Expression::Counter, Expression::Reject(reason)], "refused");
                if *with == Refusal::Refused { vec![rule(tcp, "refused"), rest] } else { vec![rest] }
            }
            Action::Reset { probability } => {
                // PSH: the last segment of what an application has written.
                let mut data = vec![Expression::Protocol(vec![6]), Expression::TcpFlags { mask: 0x0c, value: 0x08 }];
                data.extend((*probability < 1.0).then_some(Expression::Chance(*probability)));
                data.extend([Expression::Counter, Expression::Reject(Reject::TcpReset)]);
                vec![rule(data, "reset")]
            }
        }
    }
}

/// The same rule for the loopback interface alone.
fn only_loopback(mut rule: Rule, leaves: bool) -> Rule {
    let name = "lo".to_owned();
    rule.expressions.retain(|e| !matches!(e, Expression::CameBy(_) | Expression::NotLeavesBy(_) | Expression::NotCameBy(_)));
    rule.expressions.insert(0, if leaves { Expression::LeavesBy(name) } else { Expression::CameBy(name) });
    rule
}

fn comment(out: bool, family: Option<Family>) -> String {
    let family = match family {
        None => "",
        Some(Family::V4) => " IPv4",
        Some(Family::V6) => " IPv6",
    };
    format!("{}{family}", if out { "sent" } else { "received" })
}

fn protocol(protocol: Protocol, with_ports: bool) -> Option<Expression> {
    match protocol.numbers() {
        [] if with_ports => Some(Expression::Protocol(WITH_PORTS.to_vec())),
        [] => None,
        numbers => Some(Expression::Protocol(numbers.to_vec())),
    }
}

fn ports(name: &str, ports: &[PortRange], side: Side) -> Vec<Expression> {
    let is_there = |not: bool| ports.iter().any(|p| p.not == not);
    let both = [false, true].into_iter().filter(|not| is_there(*not));
    let condition = |not| match single_port(ports, not) {
        Some(port) => Expression::PortIs(side, port),
        None => Expression::Port { side, set: port_set(name, not), not },
    };
    both.map(condition).collect()
}

/// The port, if just one is meant: a comparison costs less than a look into a set.
fn single_port(ports: &[PortRange], not: bool) -> Option<u16> {
    let mut chosen = ports.iter().filter(|p| p.not == not);
    match (chosen.next(), chosen.next()) {
        (Some(only), None) if !not && only.from == only.to => Some(only.from),
        _ => None,
    }
}

/// The set of the owner's own ports.
pub const OWN_PORTS: &str = "own";

/// Whether the owner's ports have to be followed.
pub fn with_own_ports(job: &NetworkJob) -> bool {
    job.owner.needs_ports() && job.device.is_none()
}
