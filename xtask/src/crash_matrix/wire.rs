//! The network that is broken: two hosts in namespaces of their own, and how the first of them looks.

use squall_testkit::net::{Host, Lab};

/// What the usual tools show of a host's network. Addresses and routes come in no order of their own after a link was down.
const LOOKS: [&str; 8] = [
    "nft list ruleset",
    "tc qdisc show",
    "tc filter show dev eth0 egress",
    "ip -o link show",
    "ip -o -4 addr show",
    "ip -o -6 addr show",
    "ip rule show",
    "ip route show table all",
];

pub struct Wire {
    /// Whose network is broken.
    pub here: Host,
    /// Whom it talks to.
    pub there: Host,
    before: Vec<Vec<String>>,
    _lab: Lab,
}

impl Wire {
    pub fn new() -> Self {
        let lab = Lab::new();
        let (here, there) = (lab.host("here"), lab.host("there"));
        // A foreign queueing discipline and a foreign table, which have to stay as they are.
        here.run("tc qdisc add dev eth0 root handle 7: htb default 1");
        here.run("tc class add dev eth0 parent 7: classid 7:1 htb rate 1gbit");
        here.run("nft add table inet foreign");
        here.run("nft add chain inet foreign watch { type filter hook output priority 0 ; }");
        here.run("nft add rule inet foreign watch ip daddr 192.0.2.1 drop");
        let mut wire = Self { here, there, before: Vec::new(), _lab: lab };
        wire.before = wire.look();
        wire
    }

    fn look(&self) -> Vec<Vec<String>> {
        let lines = |text: String| {
            let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
            lines.sort();
            lines
        };
        LOOKS.iter().map(|line| lines(String::from_utf8_lossy(&self.here.output(line).stdout).into_owned())).collect()
    }

    /// What is not as it was.
    pub fn differences(&self) -> Vec<String> {
        let now = self.look();
        let pairs = LOOKS.iter().zip(self.before.iter().zip(&now));
        let changed = pairs.filter(|(_, (before, now))| before != now);
        changed
            .map(|(what, (before, now))| {
                let gone: Vec<&String> = before.iter().filter(|line| !now.contains(line)).collect();
                let new: Vec<&String> = now.iter().filter(|line| !before.contains(line)).collect();
                format!("`{what}` lacks {gone:?} and has {new:?}")
            })
            .collect()
    }
}
