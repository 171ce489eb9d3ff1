//! From a job to the table that the kernel is given.
//!
//! Packets are matched as the application sees them: in the hooks output and input, before destination NAT of what is sent and
//! after that of what is received. What is sent is matched before connection tracking, so that a packet that is sent on later
//! (see [`super::pass`]) passes tracking, translation and everybody's filters as the first and only one. Traffic that is only routed (of containers, say) is matched in the hook forward, where the
//! target is a whole namespace.

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

/// The sets of peers whose elements come from names.
pub fn peer_sets(job: &NetworkJob, resolved: &Resolved) -> Vec<Set> {
    let (meant, left_out) = job.scope.read_peers();
    let blocks = |peers: &[Peer], found: &[IpAddr]| {
        let written = peers.iter().filter_map(|peer| if let Peer::Block(block) = peer { Some(*block) } else { None });
        written.chain(found.iter().map(|address| single(*address))).collect::<Vec<Element>>()
    };
    let mut sets = Vec::new();
    for (name, peers, elements) in
        [("peers", &meant, blocks(&meant, &resolved.meant)), ("spared", &left_out, blocks(&left_out, &resolved.left_out))]
    {
        if peers.is_empty() {
            continue;
        }
        let of = |v4: bool| elements.iter().copied().filter(|e| matches!(e, Element::Ipv4(..)) == v4).collect();
        sets.push(Set { name: format!("{name}4"), kind: SetKind::Ipv4, elements: of(true) });
        sets.push(Set { name: format!("{name}6"), kind: SetKind::Ipv6, elements: of(false) });
    }
    sets
}

/// The whole table.
pub fn table(marker: &str, job: &NetworkJob, resolved: &Resolved, own_ports: &[Element], queues: Queues, pass: Option<&PassBit>) -> Table {
    let compiler = Compiler { job, pass, queues };
    let mut sets = peer_sets(job, resolved);
    for (name, ports) in [("remote", &job.scope.remote_ports), ("local", &job.scope.local_ports)] {
        for not in [false, true] {
            let elements: Vec<Element> = ports.iter().filter(|p| p.not == not).map(|p| Element::Port(p.from, p.to)).collect();
            if !elements.is_empty() {
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

struct Compiler<'a> {
    job: &'a NetworkJob,
    pass: Option<&'a PassBit>,
    queues: Queues,
}

impl Compiler<'_> {
    fn chains(&self, device_mark: u32) -> Vec<Chain> {
        let direction = self.job.scope.way();
        let everything = matches!(self.job.owner, Owner::Everything);
        let mut chains = Vec::new();
        if self.job.device.is_some() {
            let marked = vec![Rule { expressions: vec![Expression::SetMark(device_mark)], comment: "to the device".into() }];
            chains.push(Chain { name: "act".into(), base: None, rules: marked });
            chains.push(self.base("sent", Hook::Postrouting, LAST, self.matching(true, true)));
            return chains;
        }
        if let Action::Redirect { port } = self.job.action {
            return self.redirecting(port);
        }
        chains.push(Chain { name: "act-sent".into(), base: None, rules: self.action(true) });
        chains.push(Chain { name: "act-received".into(), base: None, rules: self.action(false) });
        let mut sent = Vec::new();
        if direction.is_out() {
            sent.extend(self.matching(true, true));
        }
        // A packet on the loopback interface is sent and received here: what is received is matched as it is sent, once.
        if direction.is_in() && everything && !self.job.spare_loopback {
            sent.extend(self.matching(false, true).into_iter().map(|rule| only_loopback(rule, true)));
        }
        chains.push(self.base("sent", Hook::Output, PRIORITY, sent));
        if direction.is_in() {
            chains.push(self.base("received", Hook::Input, PRIORITY, self.matching(false, false)));
        }
        if everything {
            let mut routed = Vec::new();
            if direction.is_out() {
                routed.extend(self.matching(true, false));
            }
            if direction.is_in() {
                routed.extend(self.matching(false, false));
            }
            chains.push(self.base("routed", Hook::Forward, PRIORITY, routed));
        }
        chains
    }

    /// New connections are led elsewhere where their destination is looked up: before they leave, and as they arrive.
    fn redirecting(&self, port: u16) -> Vec<Chain> {
        let direction = self.job.scope.way();
        let led = vec![Expression::Redirect(port)];
        let act = |name: &str| Chain {
            name: name.into(),
            base: None,
            rules: vec![Rule { expressions: led.clone(), comment: "led to the proxy".into() }],
        };
        let mut chains = vec![act("act-sent"), act("act-received")];
        let mut add = |name: &str, hook: Hook, out: bool| {
            let mut chain = self.base(name, hook, TRANSLATION, self.matching(out, out));
            chain.base = chain.base.map(|base| Base { kind: ChainKind::Nat, ..base });
            let passed = vec![Expression::Mark(PROXY_MARK), Expression::Accept];
            chain.rules.insert(0, Rule { expressions: passed, comment: "made by a fault proxy".into() });
            chains.push(chain);
        };
        if direction.is_out() {
            add("sent", Hook::Output, true);
        }
        if direction.is_in() {
            add("received", Hook::Prerouting, false);
        }
        chains
    }

    fn base(&self, name: &str, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
        let passed =
            |bit: &PassBit| Rule { expressions: vec![bit.has_passed(), Expression::Accept], comment: "sent on by this fault".into() };
        let spared = self.pass.map(passed).into_iter();
        let discovery = Rule { expressions: vec![DISCOVERY, Expression::Accept], comment: "neighbour discovery".into() };
        let mut all: Vec<Rule> = spared.chain([discovery]).collect();
        if hook != Hook::Forward {
            all.extend(own_line::exclusions(&self.job.lines));
        }
        all.extend(rules);
        Chain { name: name.into(), base: Some(Base { hook, priority, kind: ChainKind::Filter }), rules: all }
    }

    /// The rules that find the packets of one direction, in a chain where packets are being sent or received.
    fn matching(&self, out: bool, sending: bool) -> Vec<Rule> {
        let scope = &self.job.scope;
        let (meant, left_out) = scope.read_peers();
        let sides = if out { (Side::Destination, Side::Source) } else { (Side::Source, Side::Destination) };
        let families: Vec<Option<Family>> =
            if meant.is_empty() && left_out.is_empty() { vec![None] } else { vec![Some(Family::V4), Some(Family::V6)] };
        let act = match (&self.job.device, sending) {
            (Some(_), _) => "act",
            (None, true) => "act-sent",
            (None, false) => "act-received",
        };
        let mut rules = Vec::new();
        for family in families {
            let mut base = Vec::new();
            if let Some(name) = &scope.interface {
                base.push(if out { Expression::LeavesBy(name.clone()) } else { Expression::CameBy(name.clone()) });
            } else if self.job.spare_loopback || !sending {
                // What is received on the loopback interface was matched as it was sent.
                let everything = matches!(self.job.owner, Owner::Everything);
                if self.job.spare_loopback || everything {
                    base.push(if sending { Expression::NotLeavesBy("lo".into()) } else { Expression::NotCameBy("lo".into()) });
                }
            }
            if let Some(family) = family {
                let digit = if family == Family::V4 { 4 } else { 6 };
                let address = |name: &str, not| Expression::Address { side: sides.0, set: format!("{name}{digit}"), family, not };
                base.extend((!meant.is_empty()).then(|| address("peers", false)));
                base.extend((!left_out.is_empty()).then(|| address("spared", true)));
            }
            let wanted = if matches!(self.job.action, Action::Redirect { .. }) { Protocol::Tcp } else { scope.protocol };
            base.extend(protocol(wanted, !scope.remote_ports.is_empty() || !scope.local_ports.is_empty()));
            base.extend(ports("remote", &scope.remote_ports, sides.0));
            base.extend(ports("local", &scope.local_ports, sides.1));
            for owned in self.owned(out) {
                let done = [Expression::Counter, Expression::Goto(act.into())];
                let expressions = base.iter().cloned().chain(owned).chain(done).collect();
                rules.push(Rule { expressions, comment: comment(out, family) });
            }
        }
        rules
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
    both.map(|not| Expression::Port { side, set: port_set(name, not), not }).collect()
}

/// The set of the owner's own ports.
pub const OWN_PORTS: &str = "own";

/// Whether the owner's ports have to be followed.
pub fn with_own_ports(job: &NetworkJob) -> bool {
    job.owner.needs_ports() && job.device.is_none()
}
