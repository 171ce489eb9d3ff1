//! Selectors, drawn from a seed, and what each of them means: said once more, without the product.

use std::net::IpAddr;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value as Json, json};

use super::traffic::{Flow, Place, View, Way};

/// What a user may write.
#[derive(Debug, Clone)]
pub struct Selector {
    pub owner: &'static str,
    pub late: bool,
    peers: &'static [&'static str],
    remote: &'static [&'static str],
    local: &'static [&'static str],
    protocol: &'static str,
    direction: &'static str,
    interface: &'static str,
}

/// See [`super::traffic`]: `there` is `10.0.0.1` and `fd00::1`, `other` is 2 there, `far` is `10.0.1.1` and `fd00:0:0:1::1`.
const PEERS: [&[&str]; 11] = [
    &[],
    &["10.0.0.1"],
    &["fd00::1"],
    &["10.0.0.1", "fd00::1"],
    &["10.0.0.0/24"],
    &["fd00::/64"],
    &["10.0.0.0/24", "^10.0.0.2"],
    &["^10.0.0.1"],
    &["^10.0.0.0/24", "fd00:0:0:1::/64", "10.0.0.0/8"],
    &["10.0.0.0/8", "fd00::/16", "^fd00::2"],
    &["0.0.0.0/0", "::/0", "^fd00:0:0:1::/64", "^10.0.1.1"],
];
const REMOTE: [&[&str]; 7] =
    [&[], &["7001"], &["7000-7999"], &["^7001"], &["7000-7999", "^7002"], &["7001", "7003", "8050"], &["8000-8100"]];
const LOCAL: [&[&str]; 6] = [&[], &["5001", "5003"], &["5000-5999"], &["^5001"], &["5000-6999", "^6002"], &["^5000-5999", "^6001"]];

impl Selector {
    /// So many, always the same from the same seed. Every fourth is a delay; owners take turns.
    pub fn some(seed: u64, count: usize, fits: impl Fn(&Self) -> bool) -> Vec<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut found = Vec::new();
        while found.len() < count {
            let owner = ["namespace", "process", "cgroup", "user"][found.len() % 4];
            // Not in step with the owners.
            let next = Self::draw(&mut random, owner, (found.len() / 4 + found.len()) % 4 == 3);
            found.extend(fits(&next).then_some(next));
        }
        found
    }

    fn draw(random: &mut StdRng, owner: &'static str, late: bool) -> Self {
        let ports = |random: &mut StdRng, of: &[&'static [&'static str]]| -> &'static [&'static str] {
            if random.random_bool(0.5) { of.choose(random).expect("some") } else { &[] }
        };
        let (remote, local) = (ports(random, &REMOTE), ports(random, &LOCAL));
        let protocols: &[&str] = if remote.is_empty() && local.is_empty() { &["", "udp", "tcp", "icmp"] } else { &["", "udp", "tcp"] };
        Self {
            owner,
            late,
            peers: PEERS.choose(random).expect("some"),
            remote,
            local,
            protocol: protocols.choose(random).expect("some"),
            direction: ["", "", "in", "out", "both"].choose(random).expect("some"),
            interface: ["", "", "", "eth0", "eth1", "lo"].choose(random).expect("some"),
        }
    }

    pub fn fault(&self) -> &'static str {
        if self.late { "network.latency" } else { "network.partition" }
    }

    /// As it is written.
    pub fn args(&self) -> Json {
        // Who injects for a user was started by the test, which has all sockets open.
        let mut scope = json!({ "peers": self.peers, "remotePorts": self.remote, "localPorts": self.local, "includeOwnLine": true });
        for (key, value) in [("protocol", self.protocol), ("direction", self.direction), ("interface", self.interface)] {
            if !value.is_empty() {
                scope[key] = value.into();
            }
        }
        if self.late { json!({ "delay": "100ms", "mechanism": "nfqueue", "scope": scope }) } else { json!({ "scope": scope }) }
    }

    /// Whether any of its packets is meant.
    pub fn includes(&self, flow: &Flow) -> bool {
        flow.views.iter().any(|(way, view)| self.misses(flow, *way, view).is_empty())
    }

    /// In which respects a flow is outside: those of the view that is nearest to being meant.
    pub fn outside_by(&self, flow: &Flow) -> Vec<&'static str> {
        let each = flow.views.iter().map(|(way, view)| self.misses(flow, *way, view));
        each.min_by_key(Vec::len).unwrap_or_default()
    }

    fn misses(&self, flow: &Flow, way: Way, view: &View) -> Vec<&'static str> {
        let everybody = self.owner == "namespace";
        let direction = match (self.direction, self.late) {
            ("", false) => "both",
            ("", true) => "out",
            (said, _) => said,
        };
        let (meant, left_out): (Vec<&str>, Vec<&str>) = self.peers.iter().partition(|peer| !peer.starts_with('^'));
        let same_family = |block: &&str| block.contains(':') == view.peer.is_ipv6();
        let peer = (meant.is_empty() || meant.iter().any(|block| within(view.peer, block)))
            && !left_out.iter().any(|block| within(view.peer, &block[1..]));
        let ports = self.remote.len() + self.local.len() > 0;
        let mut misses = Vec::new();
        let mut unless = |met: bool, why| misses.extend((!met).then_some(why));
        unless(peer || !meant.is_empty() && !meant.iter().any(same_family), "other peer");
        unless(meant.is_empty() || meant.iter().any(same_family), "other IP version");
        unless(among(self.remote, view.remote), "other remote port");
        unless(among(self.local, view.local), "other local port");
        unless((self.protocol.is_empty() || self.protocol == flow.protocol) && !(ports && flow.protocol == "icmp"), "other protocol");
        unless(direction == "both" || (direction == "out") == (way == Way::Out), "other direction");
        unless(self.interface.is_empty() || self.interface == view.interface, "other interface");
        unless(everybody || view.ours, "other owner");
        unless(!(everybody && self.interface.is_empty() && view.place == Place::Loopback), "loopback");
        misses
    }
}

fn among(ports: &[&str], port: u16) -> bool {
    let has = |text: &str| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        (from.parse().expect("a port")..=to.parse().expect("a port")).contains(&port)
    };
    let (left_out, meant): (Vec<&str>, Vec<&str>) = ports.iter().partition(|text| text.starts_with('^'));
    (meant.is_empty() || meant.into_iter().any(has)) && !left_out.into_iter().any(|text| has(&text[1..]))
}

/// Whether an address is in `address` or `address/bits`.
fn within(address: IpAddr, block: &str) -> bool {
    let (base, bits) = block.split_once('/').map_or((block, None), |(base, bits)| (base, Some(bits.parse::<u32>().expect("bits"))));
    match (address, base.parse().expect("an address")) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).checked_shr(32 - bits.unwrap_or(32)).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).checked_shr(128 - bits.unwrap_or(128)).unwrap_or(0) == 0,
        _ => false,
    }
}
