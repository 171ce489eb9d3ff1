//! Which traffic a fault is on: peers, ports, protocol, direction, interface. What the user writes, and its checks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use squall_engine::ArgError;
use squall_model::Path;
use squall_sys::nft::Element;

/// Which of the target's traffic. Everything that is written must be met; what is left out is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// The other side: addresses, CIDR blocks or host names, IPv4 and IPv6 (`10.0.0.5`, `10.0.0.0/8`, `fd00::/8`,
    /// `db.internal`). A host name is looked up when the fault begins and every 5 s after. One with `^` before it is left out.
    /// Without this, every peer but those on the loopback interface (which a process, user or cgroup includes).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Ports on the other side: `5432`, `8000-8100`, `^22` (TCP, UDP, SCTP, DCCP, UDP-Lite).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_ports: Vec<PortRange>,
    /// Ports on the target's own side, as `remotePorts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_ports: Vec<PortRange>,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Packets that the target sends (`out`), that it gets (`in`), or both. Where it is left out: `both` for partition, reject
    /// and reset, `out` for the others, so that a round trip is delayed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Only what passes through the interface of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Include Squall's own line: SSH sessions in progress, new ones, and Squall's own connections. They are left out otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_own_line: bool,
}

/// Which way packets go, as the target sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Sent and received.
    Both,
    /// Sent.
    Out,
    /// Received.
    In,
}

impl Direction {
    /// Whether it includes what is sent.
    pub fn is_out(self) -> bool {
        self != Self::In
    }

    /// Whether it includes what is received.
    pub fn is_in(self) -> bool {
        self != Self::Out
    }
}

/// A protocol above IP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// Every one.
    #[default]
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and `ICMPv6`; neighbour discovery is left alone, as ARP is.
    Icmp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its numbers (IANA protocol numbers); none for every one.
    pub fn numbers(self) -> &'static [u8] {
        match self {
            Self::Any => &[],
            Self::Tcp => &[6],
            Self::Udp => &[17],
            Self::Icmp => &[1, 58],
            Self::Sctp => &[132],
        }
    }
}

/// Ports: one, from-to, or with `^` before it: all but those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
    /// Left out.
    pub not: bool,
}

impl PortRange {
    const EXPECTED: &'static str = "a port such as 5432, a range such as 8000-8100, or one of them with ^ before it";

    fn parse(text: &str) -> Option<Self> {
        let (not, rest) = text.trim().strip_prefix('^').map_or((false, text.trim()), |rest| (true, rest));
        let (from, to) = rest.split_once('-').unwrap_or((rest, rest));
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (from >= 1 && from <= to).then_some(Self { from, to, not })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.not { "^" } else { "" };
        if self.from == self.to { write!(f, "{not}{}", self.from) } else { write!(f, "{not}{}-{}", self.from, self.to) }
    }
}

impl Serialize for PortRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = PortRange;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PortRange::EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
                PortRange::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_u64<E: de::Error>(self, port: u64) -> Result<PortRange, E> {
                PortRange::parse(&port.to_string()).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(port), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for PortRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": format!("Ports: {}.", Self::EXPECTED),
            "oneOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": r"^\s*\^?[0-9]{1,5}(\s*-\s*[0-9]{1,5})?\s*$" }
            ],
            "examples": [5432, "8000-8100", "^22"]
        })
    }
}

/// A peer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A block of addresses; a single one is a block of one.
    Block(Element),
    /// To be looked up.
    Host(String),
}

impl Peer {
    /// An address, a CIDR block or a host name, and whether it is left out (`^`).
    pub fn parse(text: &str) -> Result<(Self, bool), String> {
        let (not, rest) = text.trim().strip_prefix('^').map_or((false, text.trim()), |rest| (true, rest.trim()));
        if let Ok(address) = rest.parse::<IpAddr>() {
            return Ok((Self::Block(single(address)), not));
        }
        if let Some((address, bits)) = rest.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an address"))?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= most);
            let bits = bits.ok_or_else(|| format!("the prefix length of `{rest}` must be 0 to {most}"))?;
            return Ok((Self::Block(block(address, bits)), not));
        }
        if is_host_name(rest) {
            Ok((Self::Host(rest.to_owned()), not))
        } else {
            Err(format!("`{rest}` is no address, CIDR block or host name"))
        }
    }

    /// Whether it is on the loopback interface.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Block(Element::Ipv4(from, _)) => from.is_loopback(),
            Self::Block(Element::Ipv6(from, _)) => from.is_loopback(),
            Self::Block(Element::Port(..)) => false,
            Self::Host(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

/// An address as an element of a set.
pub fn single(address: IpAddr) -> Element {
    match address {
        IpAddr::V4(a) => Element::Ipv4(a, a),
        IpAddr::V6(a) => a.to_ipv4_mapped().map_or(Element::Ipv6(a, a), |a| Element::Ipv4(a, a)),
    }
}

fn block(address: IpAddr, bits: u32) -> Element {
    match address {
        IpAddr::V4(a) => {
            let rest = u32::MAX.checked_shr(bits).unwrap_or(0);
            Element::Ipv4(Ipv4Addr::from(u32::from(a) & !rest), Ipv4Addr::from(u32::from(a) | rest))
        }
        IpAddr::V6(a) => {
            let rest = u128::MAX.checked_shr(bits).unwrap_or(0);
            Element::Ipv6(Ipv6Addr::from(u128::from(a) & !rest), Ipv6Addr::from(u128::from(a) | rest))
        }
    }
}

/// RFC 1123, with underscores, which people use. What consists of digits and dots alone is a wrong address, not a name.
fn is_host_name(text: &str) -> bool {
    let labels = || text.trim_end_matches('.').split('.');
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && labels().all(good) && !labels().all(|label| label.bytes().all(|b| b.is_ascii_digit()))
}

impl Scope {
    /// What the types cannot say. Paths are within the arguments of a fault, where the scope stands under `scope`.
    pub fn check(&self) -> Vec<ArgError> {
        let base = Path::default().key("scope");
        let error = |path: Path, message: String, hint: &str| ArgError { path, message, hint: Some(hint.to_owned()) };
        let mut errors = Vec::new();
        for (i, peer) in self.peers.iter().enumerate() {
            if let Err(message) = Peer::parse(peer) {
                let hint = "write it like `10.0.0.5`, `10.0.0.0/8`, `fd00::/8` or `db.internal`, with `^` before it to leave it out";
                errors.push(error(base.key("peers").index(i), message, hint));
            }
        }
        let with_ports = !self.remote_ports.is_empty() || !self.local_ports.is_empty();
        if with_ports && self.protocol == Protocol::Icmp {
            let hint = "leave the ports or the protocol out";
            errors.push(error(base.key("protocol"), "ICMP has no ports".into(), hint));
        }
        if let Some(name) = &self.interface
            && (name.is_empty() || name.len() > 15 || name.bytes().any(|b| b == b'/' || b.is_ascii_whitespace()))
        {
            let hint = "`ip link` lists the interfaces; a name has 1 to 15 characters";
            errors.push(error(base.key("interface"), format!("`{name}` is not the name of an interface"), hint));
        }
        errors
    }

    /// The peers, read: those that are meant, and those that are left out. What cannot be read was refused by `check`.
    pub fn read_peers(&self) -> (Vec<Peer>, Vec<Peer>) {
        let read: Vec<(Peer, bool)> = self.peers.iter().filter_map(|text| Peer::parse(text).ok()).collect();
        let those = |not: bool| read.iter().filter(|(_, n)| *n == not).map(|(peer, _)| peer.clone()).collect();
        (those(false), those(true))
    }

    /// The same with a direction, where the user wrote none.
    #[must_use]
    pub fn with_direction(&self, direction: Direction) -> Self {
        Self { direction: self.direction.or(Some(direction)), ..self.clone() }
    }

    /// Which way; both where nothing is said.
    pub fn way(&self) -> Direction {
        self.direction.unwrap_or(Direction::Both)
    }

    /// In words, for plans: `TCP to and from 10.0.0.0/8, remote port 5432, through eth0`.
    pub fn describe(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Any => "all packets",
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Icmp => "ICMP",
            Protocol::Sctp => "SCTP",
        };
        let way = match self.way() {
            Direction::Both => "to and from",
            Direction::Out => "to",
            Direction::In => "from",
        };
        let peers = if self.peers.is_empty() { "every peer".to_owned() } else { self.peers.join(", ") };
        let mut text = format!("{protocol} {way} {peers}");
        for (name, ports) in [("remote", &self.remote_ports), ("local", &self.local_ports)] {
            if !ports.is_empty() {
                let list: Vec<String> = ports.iter().map(ToString::to_string).collect();
                text += &format!(", {name} port {}", list.join(", "));
            }
        }
        if let Some(interface) = &self.interface {
            text += &format!(", through {interface}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_addresses_blocks_or_names() {
        let v4 = |a: [u8; 4], b: [u8; 4]| Peer::Block(Element::Ipv4(a.into(), b.into()));
        assert_eq!(Peer::parse("10.1.2.3/8"), Ok((v4([10, 0, 0, 0], [10, 255, 255, 255]), false)));
        assert_eq!(Peer::parse("^10.1.2.3"), Ok((v4([10, 1, 2, 3], [10, 1, 2, 3]), true)));
        assert_eq!(Peer::parse("0.0.0.0/0"), Ok((v4([0; 4], [255; 4]), false)));
        assert_eq!(Peer::parse("::ffff:10.0.0.1"), Ok((v4([10, 0, 0, 1], [10, 0, 0, 1]), false)));
        let (whole, _) = Peer::parse("::/0").expect("a block");
        assert_eq!(whole, Peer::Block(Element::Ipv6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from(u128::MAX))));
        assert_eq!(Peer::parse("db.internal"), Ok((Peer::Host("db.internal".into()), false)));
        for bad in ["", "^", "10.0.0", "10.0.0.0/33", "fd00::/129", "a b", "x/8", "-a", "300.1.1.1"] {
            assert!(Peer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_one_a_range_or_an_exclusion() {
        let read = |json: serde_json::Value| serde_json::from_value::<PortRange>(json);
        assert_eq!(read(serde_json::json!(5432)).expect("one").to_string(), "5432");
        assert_eq!(read(serde_json::json!("8000-8100")).expect("a range").to_string(), "8000-8100");
        assert_eq!(read(serde_json::json!("^22")).expect("not").to_string(), "^22");
        for bad in [serde_json::json!(0), serde_json::json!(65536), serde_json::json!("9-8"), serde_json::json!("ssh")] {
            let error = read(bad.clone()).expect_err("refused").to_string();
            assert!(error.contains("such as 5432"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_scope_that_means_nothing_is_refused_at_its_place() {
        let scope: Scope = serde_json::from_value(serde_json::json!({
            "peers": ["10.0.0.1", "10.0.0.300"], "protocol": "icmp", "remotePorts": [80], "interface": "a/b"
        }))
        .expect("read");
        let places: Vec<String> = scope.check().iter().map(|e| e.path.to_string()).collect();
        assert_eq!(places, ["scope.peers[1]", "scope.protocol", "scope.interface"]);
    }
}
