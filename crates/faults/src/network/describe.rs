//! Jobs and tables in words, for plans.

use squall_engine::Target;
use squall_sys::nft::{Element, Expression, Side, Table};

use super::job::{Action, NetworkJob, Refusal};
use super::netem;
use super::shape::{Distribution, Loss, Shape};

/// `all packets to 10.0.0.5 of payments (pid 1234)`.
pub(super) fn what(job: &NetworkJob, target: &Target) -> String {
    let spared = match job.lines.len() {
        0 => String::new(),
        lines => format!("; Squall's own line ({lines} connections or ports) is left alone"),
    };
    let loopback = if job.spare_loopback { "; the loopback interface is left alone" } else { "" };
    format!("{} of {}{loopback}{spared}", job.scope.describe(), target.label)
}

/// What is done, by what, and the rules that do it.
pub(super) fn mechanism(job: &NetworkJob, table: &Table) -> String {
    let carried = match (&job.action, &job.device) {
        (Action::Shape { shape }, None) => format!("{} by a child process that serves a queue (NFQUEUE)", shaped(shape)),
        (Action::Shape { shape }, Some(_)) => format!("{} by {}", shaped(shape), device(job)),
        (Action::Cut, _) => "dropped, and nobody is told".into(),
        (Action::Redirect { port }, _) => format!("new TCP connections are led to port {port} (destination NAT); those that exist stay"),
        (Action::Lose { probability }, _) => format!("{}% dropped at random", probability * 100.0),
        (Action::Refuse { with }, _) => format!("dropped, and the sender is told: {}", refusal(*with)),
        (Action::Reset { probability }, _) => {
            format!("TCP packets with data are answered with a reset, with a probability of {}%", probability * 100.0)
        }
    };
    let rules: Vec<String> = table.chains.iter().filter(|chain| chain.base.is_some()).flat_map(chain_rules).collect();
    format!("{carried}; nf_tables: table inet {}: {}", table.name, rules.join("; "))
}

fn chain_rules(chain: &squall_sys::nft::Chain) -> Vec<String> {
    let hook = chain.base.map_or_else(String::new, |base| format!("{:?}", base.hook).to_lowercase());
    chain
        .rules
        .iter()
        .map(|rule| format!("hook {hook}: {}", rule.expressions.iter().filter_map(expression).collect::<Vec<_>>().join(" ")))
        .collect()
}

/// As `nft` writes it. What every rule has (counter, where it goes on) is left out.
fn expression(expression: &Expression) -> Option<String> {
    let side = |side: &Side| if *side == Side::Source { "saddr" } else { "daddr" };
    let port = |side: &Side| if *side == Side::Source { "sport" } else { "dport" };
    let is_not = |not: &bool| if *not { "!= " } else { "" };
    Some(match expression {
        Expression::CameBy(name) => format!("iifname {name}"),
        Expression::LeavesBy(name) => format!("oifname {name}"),
        Expression::NotCameBy(name) => format!("iifname != {name}"),
        Expression::NotLeavesBy(name) => format!("oifname != {name}"),
        Expression::Family(family) => format!("nfproto {family:?}").to_lowercase(),
        Expression::Protocol(numbers) => {
            format!("l4proto {{ {} }}", numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(", "))
        }
        Expression::Address { side: s, set, not, .. } => format!("{} {}@{set}", side(s), is_not(not)),
        Expression::AddressIs(s, address) => format!("{} {address}", side(s)),
        Expression::Port { side: s, set, not } => format!("{} {}@{set}", port(s), is_not(not)),
        Expression::AddressWithin(s, from, to) => format!("{} {from}-{to}", side(s)),
        Expression::PortIs(s, number) => format!("{} {number}", port(s)),
        Expression::User(uid) => format!("skuid {uid}"),
        Expression::CgroupV2(path) => format!("socket cgroupv2 {path}"),
        Expression::NetClass(class) => format!("meta cgroup {class}"),
        Expression::SocketMark(mark) => format!("socket mark {mark:#x}"),
        Expression::Mark(mark) => format!("mark {mark:#x}"),
        _ => return None,
    })
}

/// `netem on an ifb device behind eth0`.
pub(super) fn device(job: &NetworkJob) -> String {
    job.device.as_ref().map_or_else(String::new, |undo| {
        let Action::Shape { shape } = &job.action else { return String::new() };
        netem::describe(undo, shape)
    })
}

fn refusal(with: Refusal) -> &'static str {
    match with {
        Refusal::Refused => "TCP reset, ICMP port unreachable",
        Refusal::HostUnreachable => "ICMP host unreachable",
        Refusal::NoRoute => "ICMP no route",
        Refusal::Prohibited => "ICMP administratively prohibited",
    }
}

/// `held 200ms ± 20ms (normal)`, and so on.
fn shaped(shape: &Shape) -> String {
    let mut parts = Vec::new();
    let percent = |share: f64| format!("{}%", (share * 1e6).round() / 1e4);
    if let Some(delay) = &shape.delay {
        let jitter =
            if delay.jitter.is_zero() { String::new() } else { format!(" ± {:?} ({})", delay.jitter, distribution(&delay.distribution)) };
        parts.push(format!("held {:?}{jitter}", delay.base));
    }
    match &shape.loss {
        Some(Loss::Random(share)) => parts.push(format!("{} lost", percent(share.probability))),
        Some(Loss::GilbertElliott { p, r, .. }) => {
            parts.push(format!("lost in bursts (Gilbert-Elliott, p {}, r {})", percent(*p), percent(*r)));
        }
        None => {}
    }
    parts.extend(shape.duplicate.map(|share| format!("{} sent twice", percent(share.probability))));
    parts.extend(shape.corrupt.map(|share| format!("a bit of {} flipped", percent(share.probability))));
    parts.extend(shape.reorder.map(|reorder| format!("{} sent at once, past the others", percent(reorder.share.probability))));
    parts.extend(shape.rate.map(|rate| format!("{} kbit/s at the most (burst {} bytes)", rate.bytes_per_second * 8 / 1000, rate.burst)));
    format!("{}, {} packets held at the most", parts.join(", "), shape.limit)
}

fn distribution(distribution: &Distribution) -> &'static str {
    match distribution {
        Distribution::Uniform => "uniform",
        Distribution::Normal => "normal",
        Distribution::Pareto => "Pareto",
        Distribution::ParetoNormal => "Pareto-normal",
        Distribution::Table(_) => "a table of the manifest",
    }
}

/// An element of a set: `10.0.0.5`, `10.0.0.0-10.255.255.255`.
pub(super) fn element(element: &Element) -> String {
    let (from, to) = match element {
        Element::Ipv4(a, b) => (a.to_string(), b.to_string()),
        Element::Ipv6(a, b) => (a.to_string(), b.to_string()),
        Element::Port(a, b) => (a.to_string(), b.to_string()),
    };
    if from == to { from } else { format!("{from}-{to}") }
}
