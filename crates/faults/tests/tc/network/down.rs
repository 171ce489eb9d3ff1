//! `network.down`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use squall_engine::{AnyFault, Target};
use squall_faults::network::Down;
use squall_testkit::net::probe::ping;
use squall_testkit::net::{Host, InForce, Lab};
use squall_testkit::{eventually_ok, planned};

use super::picture;

fn fault() -> Arc<dyn AnyFault> {
    Arc::new(Down)
}

fn refused(host: &Host, args: &Json) -> (String, String) {
    refused_for(&host.target(), args)
}

fn refused_for(target: &Target, args: &Json) -> (String, String) {
    let error = planned(fault().as_ref(), args, target, &squall_sys::facts()).expect_err("refused");
    (error.message.clone(), error.hint.unwrap_or_else(|| panic!("{} has no hint", error.message)))
}

fn answers(from: &Host, to: &Host) -> bool {
    ping(from, to.v4().into(), 1, Duration::from_millis(10), Duration::from_millis(300)).iter().any(Option::is_some)
}

/// Routes, addresses and the like of every kind that goes lost.
fn furnish(here: &Host, there: &Host) {
    let (v4, v6) = (there.v4(), there.v6());
    // Not every kernel has VLANs; that of the virtual machine has.
    if here.output("ip link add link eth0 name eth0.10 type vlan id 10").status.success() {
        for line in [
            "ip link add link eth0 name eth0.11 type vlan id 11",
            "ip link set eth0.10 up",
            // The kernel sets all VLANs up along with what they stand on. One that never was up gets its queue by that, for good.
            "ip link set eth0.11 up",
            "ip link set eth0.11 down",
            "ip addr add 10.9.0.1/24 dev eth0.10",
            "ip addr add 2001:db8:9::1/64 dev eth0.10 nodad",
            "ip route add 10.10.0.0/16 via 10.9.0.2",
        ] {
            here.run(line);
        }
    }
    let lines = [
        "ip addr add 2001:db8::5/64 dev eth0 nodad".to_owned(),
        "ip addr add 2001:db8::6/128 dev eth0 preferred_lft 0 nodad".to_owned(),
        "ip addr add 2001:db8::7/64 dev eth0 noprefixroute nodad".to_owned(),
        "ip addr add 10.0.0.77/32 dev eth0".to_owned(),
        format!("ip route add default via {v4}"),
        format!("ip route add 192.0.2.0/24 via {v4} metric 50 mtu 1400"),
        format!("ip route add 198.51.100.0/24 via {v4} src 10.0.0.77 table 100"),
        "ip route add 203.0.113.0/24 via 192.0.2.9 dev eth0 onlink".to_owned(),
        format!("ip route add 172.16.0.0/16 nexthop via {v4} weight 2 nexthop via 10.0.0.9 weight 3"),
        "ip route add blackhole 172.17.0.0/16".to_owned(),
        format!("ip -6 route add default via {v6} metric 77"),
        format!("ip -6 route add 2001:db8:1::/48 via {v6} mtu 1300"),
        format!("ip -6 route add 2001:db8:2::/48 nexthop via {v6} nexthop via fd00::9"),
        "ip -6 route add unreachable 2001:db8:3::/48".to_owned(),
        "ip rule add from 10.0.0.77 lookup 100".to_owned(),
        "ip neigh add 10.0.0.55 lladdr 02:00:00:00:00:55 nud permanent dev eth0".to_owned(),
        "ip neigh add fd00::55 lladdr 02:00:00:00:00:55 nud permanent dev eth0".to_owned(),
        "ip neigh add proxy 10.0.0.66 dev eth0".to_owned(),
        "tc qdisc add dev eth0 root handle 1: htb default 10".to_owned(),
        "tc class add dev eth0 parent 1: classid 1:10 htb rate 100mbit".to_owned(),
    ];
    for line in lines {
        here.run(&line);
    }
}

/// With what is answered for. Of routes of IPv6 to one destination with one metric, the kernel lists the latest first or last as
/// it likes: their lines are in order here.
fn whole_picture(host: &Host) -> String {
    let text = picture(host) + &host.run("ip neigh show proxy") + &host.run("tc class show dev eth0");
    let (routes, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains(" pref medium"));
    let mut lines = rest;
    lines.extend(std::collections::BTreeSet::from_iter(routes));
    lines.join("\n")
}

fn settled(host: &Host) -> String {
    eventually_ok("addresses are settled", || {
        let text = host.run("ip addr");
        if text.contains("tentative") || text.contains("state LOWERLAYERDOWN") { Err(text) } else { Ok(()) }
    });
    whole_picture(host)
}

#[test]
fn all_that_the_kernel_forgets_comes_back_to_the_letter() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    furnish(&a, &b);
    let before = settled(&a);
    assert!(answers(&a, &b));
    let down = InForce::new(&fault(), &json!({ "interface": "eth0" }), &a.target());
    assert!(a.run("ip link show eth0").contains("state DOWN"));
    assert!(!a.run("ip -6 route").contains("2001:db8:1::") && !a.run("ip route").contains("192.0.2.0"), "the kernel has forgotten it");
    let how = down.revert();
    assert!(how.contains("eth0 is up again") && !how.contains("could not"), "{how}");
    eventually_ok("it is as it was", || {
        let after = whole_picture(&a);
        if after == before { Ok(()) } else { Err(format!("{how}\n--- before\n{before}\n--- after\n{after}")) }
    });
    assert!(answers(&a, &b));
}

#[test]
fn what_others_have_done_meanwhile_stays() {
    let lab = Lab::new();
    let (a, _b) = (lab.host("a"), lab.host("b"));
    let down = InForce::new(&fault(), &json!({ "interface": "eth0" }), &a.target());
    a.run("ip link set eth0 up");
    a.run("ip route add 192.0.2.0/24 dev eth0");
    assert!(!down.verify().in_force);
    let how = down.revert();
    assert!(how.contains("was up already"), "{how}");
    assert!(a.run("ip route").contains("192.0.2.0/24 dev eth0"));
    assert!(a.run("ip -6 addr show dev eth0").contains(&a.v6().to_string()), "the address that went lost is back");
}

#[test]
fn an_interface_or_a_namespace_that_is_gone_is_no_failure() {
    let lab = Lab::new();
    let (a, _b) = (lab.host("a"), lab.host("b"));
    a.run("ip link add gone type veth peer name gone1");
    a.run("ip link set gone up");
    let first = InForce::new(&fault(), &json!({ "interface": "gone" }), &a.target());
    let second = InForce::new(&fault(), &json!({ "interface": "eth0" }), &a.target());
    a.run("ip link del gone");
    assert!(first.revert().contains("gone is gone"));
    drop(a);
    drop(lab);
    assert!(second.revert().contains("eth0 is gone"));
}

#[test]
fn what_cannot_be_set_down_is_refused_with_the_next_step() {
    let lab = Lab::new();
    let a = lab.host("a");
    let (message, hint) = refused(&a, &json!({ "interface": "eht0" }));
    assert_eq!(message, "there is no interface `eht0`");
    assert!(hint.starts_with("did you mean `eth0`? There are lo, "), "{hint}");
    let (message, hint) = refused(&a, &json!({ "interface": "lo" }));
    assert!(message.contains("needs lo") && hint.contains("allowLoopback: true"), "{message}: {hint}");
    a.run("ip link add spare type veth peer name spare1");
    let (message, _) = refused(&a, &json!({ "interface": "spare" }));
    assert_eq!(message, "spare is down already");
    a.run("ip nexthop add id 7 dev eth0");
    let (message, hint) = refused(&a, &json!({ "interface": "eth0" }));
    assert!(message.contains("1 nexthop objects") && hint.contains("network.partition"), "{message}: {hint}");
    let user = Target { kind: "user".into(), id: "user:1".into(), label: "user daemon".into(), facts: json!({ "uid": 1 }) };
    let (message, _) = refused_for(&user, &json!({ "interface": "eth0" }));
    assert!(message.contains("shares its network"), "{message}");
    assert!(answers(&a, &a));
}

#[test]
fn loopback_goes_down_where_that_is_written_and_comes_back_whole() {
    let lab = Lab::new();
    let a = lab.host("a");
    let before = settled(&a);
    let down = InForce::new(&fault(), &json!({ "interface": "lo", "allowLoopback": true }), &a.target());
    assert!(a.run("ip link show lo").contains("state DOWN"));
    down.revert();
    eventually_ok("it is as it was", || {
        let after = whole_picture(&a);
        if after == before { Ok(()) } else { Err(format!("--- before\n{before}\n--- after\n{after}")) }
    });
}

/// Stands in for an SSH server: the test below starts a copy of this program under that name.
#[test]
fn be_an_ssh_server() {
    let Ok(address) = std::env::var("SQUALL_TEST_SSHD") else { return };
    let listener = std::net::TcpListener::bind(&address).expect("bound");
    let (_stream, _) = listener.accept().expect("somebody comes");
    let _ = std::io::read_to_string(std::io::stdin());
}

#[test]
fn the_interface_of_an_ssh_session_is_refused_unless_it_is_written() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("sshd");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("copied");
    let address = format!("{}:2222", a.v4());
    let mut server = a.command(&program);
    server.args(["--exact", "network::down::be_an_ssh_server"]).env("SQUALL_TEST_SSHD", &address);
    let mut server = server.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().expect("started");
    let mut session = None;
    eventually_ok("a session is there", || {
        session = b.within(|| std::net::TcpStream::connect(&address)).ok();
        if session.is_some() { Ok(()) } else { Err("refused".into()) }
    });
    eventually_ok("it is refused", || {
        match planned(fault().as_ref(), &json!({ "interface": "eth0" }), &a.target(), &squall_sys::facts()) {
            Err(error)
                if error.message.contains("reached over eth0") && error.hint.as_ref().is_some_and(|h| h.contains("includeOwnLine")) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    });
    let written = planned(fault().as_ref(), &json!({ "interface": "eth0", "includeOwnLine": true }), &a.target(), &squall_sys::facts());
    server.kill().expect("killed");
    server.wait().expect("reaped");
    written.expect("planned");
}
