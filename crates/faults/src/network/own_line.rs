//! Never our own line: the connections over which Squall, and whoever runs it, reaches this host.
//!
//! They are found where they are, in the network namespace that a fault acts in: SSH sessions and the port where new ones
//! come in, what Squall's ancestors have open (the shell's `sshd`, a CI agent, `mosh-server`), what came in at a port of Squall's
//! own, and the cluster's API. Squall's own outgoing connections are not among them: its probes are to feel the fault.

mod find;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use squall_sys::nft::{Expression, Rule, Side};
use squall_sys::sockets::{interface_of, interface_towards};

pub use find::connections;

/// Comments of rules are at most so long (`NFTNL_UDATA_COMMENT_MAXLEN` is 128).
const COMMENT: usize = 100;

/// A connection that no fault may touch, or a port where such connections come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    /// 6 TCP, 17 UDP.
    pub protocol: u8,
    /// This side. None: any.
    pub local: Option<SocketAddr>,
    /// The other side. None: any.
    pub peer: Option<SocketAddr>,
    /// Whose it is: `an SSH session (sshd-session: root@pts/0, process 812)`.
    pub why: String,
}

impl Line {
    /// For people: `TCP 10.0.0.5:22 to 10.0.0.9:50312, an SSH session (…)`.
    pub fn label(&self) -> String {
        let protocol = if self.protocol == 6 { "TCP" } else { "UDP" };
        let place = match (self.local, self.peer) {
            (Some(local), Some(peer)) => format!("{local} to {peer}"),
            (Some(local), None) if local.ip().is_unspecified() => format!("port {}", local.port()),
            (Some(local), None) => format!("port {} of {}", local.port(), local.ip()),
            (None, Some(peer)) => format!("to {peer}"),
            (None, None) => "everything".to_owned(),
        };
        format!("{protocol} {place}, {}", self.why)
    }

    fn rule(&self, local: Side, peer: Side) -> Rule {
        let mut expressions = vec![Expression::Protocol(vec![self.protocol])];
        for (side, address) in [(local, self.local), (peer, self.peer)] {
            let Some(address) = address else { continue };
            if !address.ip().is_unspecified() {
                expressions.push(Expression::AddressIs(side, address.ip().to_canonical()));
            }
            expressions.push(Expression::PortIs(side, address.port()));
        }
        expressions.push(Expression::Accept);
        let comment: String = format!("own line: {}", self.why).chars().take(COMMENT).collect();
        Rule { expressions, comment }
    }
}

/// Rules that let these lines pass, both ways, to be put before all others of a chain in output, input or forward.
pub fn exclusions(lines: &[Line]) -> Vec<Rule> {
    let both = |line: &Line| [line.rule(Side::Source, Side::Destination), line.rule(Side::Destination, Side::Source)];
    lines.iter().filter(|line| line.local.is_some() || line.peer.is_some()).flat_map(both).collect()
}

/// The interfaces that these lines run over, in the calling thread's network namespace: those that have the address of this
/// side, and those that the other side is reached by. A port that is open on all addresses is on none in particular.
pub fn interfaces(lines: &[Line]) -> io::Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for line in lines {
        if let Some(local) = line.local.filter(|local| !local.ip().is_unspecified()) {
            found.extend(interface_of(local.ip())?);
        }
        if let Some(peer) = line.peer {
            found.extend(interface_towards(peer.ip())?);
        }
    }
    Ok(found.into_iter().collect())
}
