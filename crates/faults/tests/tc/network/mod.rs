//! What the tests share.

mod down;
mod mtu;
mod netem;
mod port_exhaustion;

use squall_testkit::net::Host;
use squall_undo::Armed;

/// The token that a child gets from its parent: these tests stand in for the ledger.
pub fn armed() -> Armed {
    Armed::received(b"go").expect("the token")
}

/// All that `ip` and `tc` tell of a host, but for what traffic and time change.
pub fn picture(host: &Host) -> String {
    let lines = [
        "ip -d link",
        "ip addr",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
        "ip neigh show nud permanent",
        "tc qdisc",
    ];
    lines.iter().map(|line| format!("{line}\n{}\n", host.run(line))).collect()
}
