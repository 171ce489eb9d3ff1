//! `network.port-exhaustion`: no port is left for new connections.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    Claim, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, Undone,
    VerifyError,
};
use squall_sys::netns::Namespace;
use squall_sys::sysctl;
use squall_undo::Armed;

use super::interface::namespace;

/// Reserves the ports that connections are given by themselves.
#[derive(Debug)]
pub struct PortExhaustion;

/// How many are left.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortExhaustionArgs {
    /// So many ports of `net.ipv4.ip_local_port_range` can still be had, the highest ones. By default none.
    #[serde(default)]
    pub leave: u16,
}

/// What the setting said, and what it says now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortExhaustionUndo {
    namespace: Namespace,
    /// As it was, to the letter.
    before: String,
    /// What was added.
    added: String,
}

/// Ports that are given only to who asks for them. Rules TCP, UDP, SCTP and DCCP of IPv4 and IPv6 alike
/// (`Documentation/networking/ip-sysctl.rst`).
const RESERVED: &str = "ipv4/ip_local_reserved_ports";
/// From which ports are given.
const RANGE: &str = "ipv4/ip_local_port_range";

/// `1,3-5` as a set.
fn ports(text: &str) -> Option<BTreeSet<u16>> {
    let mut found = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        found.extend(from.trim().parse::<u16>().ok()?..=to.trim().parse().ok()?);
    }
    Some(found)
}

/// A set as the kernel writes it.
fn text(ports: &BTreeSet<u16>) -> String {
    let mut parts: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match parts.last_mut() {
            Some((_, to)) if *to != u16::MAX && *to + 1 == *port => *to = *port,
            _ => parts.push((*port, *port)),
        }
    }
    let part = |(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// What would be done.
struct Wanted {
    undo: PortExhaustionUndo,
    range: (u16, u16),
    left: usize,
}

fn wanted(args: &PortExhaustionArgs, namespace: Namespace) -> Result<Wanted, PlanError> {
    let wrong = |message: String| PlanError { message, hint: Some("`sysctl net.ipv4` shows the settings of ports".into()) };
    let settings = namespace.within(|| Ok((sysctl::read(RANGE)?, sysctl::read(RESERVED)?)));
    let (range, before) = settings.map_err(|error| wrong(format!("the settings of ports cannot be read: {error}")))?;
    let mut ends = range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(from)), Some(Ok(to))) = (ends.next(), ends.next()) else {
        return Err(wrong(format!("net.ipv4.ip_local_port_range says `{range}`, which is no range")));
    };
    let reserved = ports(&before).ok_or_else(|| wrong(format!("net.ipv4.ip_local_reserved_ports says `{before}`")))?;
    let free: BTreeSet<u16> = (from..=to).filter(|port| !reserved.contains(port)).collect();
    if free.len() <= usize::from(args.leave) {
        return Err(PlanError {
            message: format!("only {} ports of {from} to {to} are free as it is, and {} are to be left", free.len(), args.leave),
            hint: Some("leave fewer, such as `leave: 10`, or none".into()),
        });
    }
    let added = free.iter().copied().take(free.len() - usize::from(args.leave)).collect();
    Ok(Wanted { undo: PortExhaustionUndo { namespace, before, added: text(&added) }, range: (from, to), left: usize::from(args.leave) })
}

impl PortExhaustionUndo {
    /// The set that was added, and whether all of it is reserved now.
    fn state(&self) -> std::io::Result<(BTreeSet<u16>, BTreeSet<u16>)> {
        let read = |text: &str| ports(text).ok_or_else(|| std::io::Error::other(format!("`{text}` is no list of ports")));
        let now = sysctl::read(RESERVED)?;
        Ok((read(&self.added)?, read(&now)?))
    }

    fn revert_here(&self, armed: &Armed) -> std::io::Result<String> {
        let (added, now) = self.state()?;
        let before = ports(&self.before).unwrap_or_default();
        let ours: BTreeSet<u16> = before.union(&added).copied().collect();
        if now == ours {
            sysctl::write(armed, RESERVED, &self.before)?;
            return Ok(format!("net.ipv4.ip_local_reserved_ports is `{}` again", self.before));
        }
        if now.is_disjoint(&added) {
            return Ok("no port that was reserved for it is reserved any more, nothing to do".into());
        }
        if !now.is_superset(&added) {
            let now = text(&now);
            return Ok(format!("net.ipv4.ip_local_reserved_ports was set to `{now}` by somebody else meanwhile, and is left so"));
        }
        let rest = text(&now.difference(&added).copied().collect());
        sysctl::write(armed, RESERVED, &rest)?;
        Ok(format!("net.ipv4.ip_local_reserved_ports is `{rest}`: somebody else has changed it meanwhile, and that stays"))
    }

    /// What happens to whoever needs a port.
    fn tried(&self) -> std::io::Result<Effect> {
        let (added, now) = self.state()?;
        if !now.is_superset(&added) {
            return Ok(Effect { in_force: false, evidence: format!("net.ipv4.ip_local_reserved_ports is `{}`", text(&now)) });
        }
        // A port of each kind, without sending anything. With some left, one that is given is one of these.
        let given = [std::net::UdpSocket::bind("0.0.0.0:0").and_then(|s| s.local_addr()), {
            std::net::TcpListener::bind("0.0.0.0:0").and_then(|s| s.local_addr())
        }];
        let evidence = given.iter().map(|result| match result {
            Ok(address) => format!("port {} was given", address.port()),
            Err(error) => format!("no port was given: {error}"),
        });
        let evidence = format!("{} ports are reserved; UDP: {}", added.len(), evidence.collect::<Vec<_>>().join(", TCP: "));
        let in_force = given.iter().all(|result| result.as_ref().map_or_else(exhausted, |address| !added.contains(&address.port())));
        Ok(Effect { in_force, evidence })
    }
}

/// EADDRINUSE, EADDRNOTAVAIL, EAGAIN.
fn exhausted(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, WouldBlock};
    matches!(error.kind(), AddrInUse | AddrNotAvailable | WouldBlock)
}

impl Fault for PortExhaustion {
    type Args = PortExhaustionArgs;
    type Undo = PortExhaustionUndo;

    const META: Meta = Meta {
        name: "network.port-exhaustion",
        family: "network",
        summary: "No local port is left: new connections fail at once, those that are open go on",
        example: "\
fault: network.port-exhaustion
with: { leave: 0 }
for: 30s
",
        targets: &["host", "namespace", "container"],
        needs: &["root"],
        undone: Undone::Ledger,
        lasting: true,
    };

    fn plan(&self, args: &PortExhaustionArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let Wanted { undo, range, left } = wanted(args, namespace(target, host)?)?;
        let change = PlannedChange {
            what: format!("new outgoing connections of {}: {left} ports are left of {} to {}", target.label, range.0, range.1),
            mechanism: format!("adds {} to net.ipv4.ip_local_reserved_ports, for IPv4 and IPv6, TCP and UDP", undo.added),
            undo: format!("sets it to `{}` again, by the run, the watchdog or `squall recover`", undo.before),
        };
        let claims = vec![Claim(format!("net:{}:ports", undo.namespace.inode))];
        Ok(Plan { changes: vec![change], claims, irreversible: false })
    }

    async fn inject(&self, args: &PortExhaustionArgs, target: &Target, cx: &Cx<'_, PortExhaustionUndo>) -> Result<(), InjectError> {
        let failed = |error: PlanError| InjectError::Failed(error.message);
        let Wanted { undo, .. } = wanted(args, namespace(target, &HostFacts::default()).map_err(failed)?).map_err(failed)?;
        let armed = cx.arm(&undo)?;
        let parts = [undo.before.as_str(), undo.added.as_str()];
        let value = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",");
        let written = undo.namespace.within(|| sysctl::write(&armed, RESERVED, &value));
        written.map_err(|error| InjectError::Failed(format!("net.ipv4.ip_local_reserved_ports cannot be set: {error}")))
    }

    async fn verify(&self, undo: &PortExhaustionUndo) -> Result<Effect, VerifyError> {
        undo.namespace.within(|| undo.tried()).map_err(|error| VerifyError(format!("ports cannot be looked at: {error}")))
    }

    async fn revert(&self, undo: &PortExhaustionUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let Some(namespace) = undo.namespace.found() else {
            return Ok(Reverted { how: "the network namespace is gone, and its settings with it".into() });
        };
        let how = namespace.within(|| undo.revert_here(armed));
        let how = how.map_err(|error| RevertError(format!("net.ipv4.ip_local_reserved_ports cannot be set back: {error}")))?;
        Ok(Reverted { how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ports_are_read_and_written_as_the_kernel_does() {
        for list in ["", "8080", "1,3-5,65534-65535"] {
            assert_eq!(text(&ports(list).expect("read")), list);
        }
        assert_eq!(text(&ports("5,3-4, 9\n").expect("read")), "3-5,9");
        assert_eq!(ports("70000"), None);
    }
}
