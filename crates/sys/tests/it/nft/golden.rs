//! What nft makes of a table that we made.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Stdio;

use squall_sys::nft::{ChainKind, Element, Expression as E, Family, Hook, Owned, Reject, Rule, Set, SetKind, Side, Table};

use super::{armed, chain, command, in_namespace, listed, outgoing, rule, run};

/// A table with everything that nft has words for.
fn everything() -> Table {
    let v4 = |a: [u8; 4], b: [u8; 4]| Element::Ipv4(Ipv4Addr::from(a), Ipv4Addr::from(b));
    let v6 = |a: &str, b: &str| Element::Ipv6(a.parse::<Ipv6Addr>().expect("from"), b.parse().expect("to"));
    let four = vec![v4([192, 0, 2, 4], [192, 0, 2, 9]), v4([10, 0, 0, 0], [10, 255, 255, 255]), v4([192, 0, 2, 1], [192, 0, 2, 5])];
    let ports = vec![Element::Port(65535, 65535), Element::Port(8000, 8100), Element::Port(80, 80)];
    let set = |name: &str, kind, elements| Set { name: name.into(), kind, elements };
    Table {
        name: "golden".into(),
        sets: vec![
            set("four", SetKind::Ipv4, four),
            set("six", SetKind::Ipv6, vec![v6("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")]),
            set("ports", SetKind::Port, ports),
            set("none", SetKind::Ipv4, Vec::new()),
            set("single", SetKind::Ipv4, vec![v4([192, 0, 2, 1], [192, 0, 2, 1])]),
        ],
        chains: vec![
            chain("other", None, vec![rule("in other", [E::Counter])]),
            chain("out", Some((ChainKind::Filter, Hook::Output, 0)), [conditions(), actions()].concat()),
            chain("nat", Some((ChainKind::Nat, Hook::Output, -100)), vec![rule("redirect", [E::Protocol(vec![6]), E::Redirect(8080)])]),
            chain("in", Some((ChainKind::Filter, Hook::Input, -5)), Vec::new()),
            chain("pre", Some((ChainKind::Filter, Hook::Prerouting, -301)), Vec::new()),
            chain("through", Some((ChainKind::Filter, Hook::Forward, 10)), Vec::new()),
            chain("post", Some((ChainKind::Filter, Hook::Postrouting, 20)), Vec::new()),
            chain("way", Some((ChainKind::Route, Hook::Output, -150)), Vec::new()),
        ],
    }
}

fn conditions() -> Vec<Rule> {
    let address = |side, set: &str, family, not| E::Address { side, set: set.into(), family, not };
    let port = |side, not| E::Port { side, set: "ports".into(), not };
    let c = E::Counter;
    vec![
        rule("came by", [E::CameBy("lo".into()), c.clone()]),
        rule("leaves by", [E::LeavesBy("eth0".into()), c.clone()]),
        rule("not came by", [E::NotCameBy("lo".into()), c.clone()]),
        rule("not leaves by", [E::NotLeavesBy("a23456789012345".into()), c.clone()]),
        rule("IPv4", [E::Family(Family::V4), c.clone()]),
        rule("IPv6", [E::Family(Family::V6), c.clone()]),
        rule("one protocol", [E::Protocol(vec![6]), c.clone()]),
        rule("two protocols", [E::Protocol(vec![17, 6, 17]), c.clone()]),
        rule("source in", [address(Side::Source, "four", Family::V4, false), c.clone()]),
        rule("destination not in", [address(Side::Destination, "four", Family::V4, true), c.clone()]),
        rule("IPv6 source in", [address(Side::Source, "six", Family::V6, false), c.clone()]),
        rule("IPv6 destination not in", [E::Family(Family::V6), address(Side::Destination, "six", Family::V6, true), c.clone()]),
        rule("one address", [E::AddressIs(Side::Destination, [10, 1, 2, 3].into()), c.clone()]),
        rule("one IPv6 address", [E::AddressIs(Side::Source, "2001:db8::5".parse().expect("an address")), c.clone()]),
        rule("addresses", [E::AddressWithin(Side::Source, [10, 1, 2, 3].into(), [10, 1, 2, 9].into()), c.clone()]),
        rule("TCP port in", [E::Protocol(vec![6]), port(Side::Destination, false), c.clone()]),
        rule("port not in", [E::Protocol(vec![6, 17]), port(Side::Source, true), c.clone()]),
        rule("one port", [E::Protocol(vec![6, 17]), E::PortIs(Side::Destination, 53), c.clone()]),
        rule("port of whatever has ports", [E::PortIs(Side::Source, 80), c.clone()]),
        rule("port, though ICMP", [E::Protocol(vec![1, 6]), E::PortIs(Side::Destination, 80), c.clone()]),
        rule("SYN alone", [E::TcpFlags { mask: 0x12, value: 0x02 }, c.clone()]),
        rule("mark", [E::Mark(5), c.clone()]),
        rule("not mark", [E::NotMark(5), c.clone()]),
        rule("mark bits", [E::MarkBits { mask: 0xff00_0001, value: 0x5b00_0001 }, c.clone()]),
        rule("icmpv6 types", [E::IcmpV6Types(133, 137), c.clone()]),
        rule("user", [E::User(0), c.clone()]),
        rule("class", [E::NetClass(0x10_0001), c.clone()]),
        rule("socket mark", [E::SocketMark(77), c.clone()]),
        rule("one in a hundred", [E::Chance(0.01), c]),
    ]
}

fn actions() -> Vec<Rule> {
    let reject = |how| [E::Counter, E::Reject(how)];
    vec![
        rule("set mark", [E::SetMark(7)]),
        rule("accept", [E::Accept]),
        rule("drop", [E::Drop]),
        rule("return", [E::Return]),
        rule("jump", [E::Jump("other".into())]),
        rule("goto", [E::Goto("other".into())]),
        rule("reset", reject(Reject::TcpReset)),
        rule("port", reject(Reject::PortUnreachable)),
        rule("host", reject(Reject::HostUnreachable)),
        rule("net", reject(Reject::NoRoute)),
        rule("prohibited", reject(Reject::Prohibited)),
        rule(
            "a comment as long as nft has them, which is a hundred and twenty-eight bytes, and no more, so here they are, to the last.",
            [E::Counter],
        ),
    ]
}

const LISTED: &str = include_str!("everything.nft");

#[test]
fn nft_lists_every_expression_as_it_was_meant() {
    in_namespace(|| {
        let owned = Owned::create(&armed(), &everything()).expect("the table is made");
        let listed = listed("golden");
        assert!(listed == LISTED, "is listed otherwise:\n{listed}");
        drop(owned);
    });
}

#[test]
fn nft_makes_the_same_operations_of_what_it_lists() {
    let operations = |owner: bool| {
        let text = run("nft", &["--debug=netlink", "list", "table", "inet", "golden"]);
        assert_eq!(text.contains("flags owner"), owner);
        // The first part is the kernel's; handles are counted anew in each namespace.
        let rules: Vec<String> = text.split("table inet golden {").next().expect("debug").lines().map(str::to_owned).collect();
        assert!(rules.iter().filter(|l| l.contains('[')).count() > 80, "{rules:?}");
        rules
    };
    let ours = in_namespace(|| {
        let _owned = Owned::create(&armed(), &everything()).expect("the table is made");
        operations(true)
    });
    let theirs = in_namespace(|| {
        let mut nft = command("nft", &["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft starts");
        nft.stdin.take().expect("piped").write_all(LISTED.as_bytes()).expect("nft reads");
        assert!(nft.wait().expect("nft ends").success());
        assert_eq!(listed("golden"), LISTED);
        operations(false)
    });
    assert_eq!(ours.join("\n"), theirs.join("\n"));
}

#[test]
fn nft_shows_a_queue_by_whichever_way_it_goes() {
    in_namespace(|| {
        let rules = vec![rule("queue", [E::Queue { number: 5, bypass: true }])];
        let _owned = Owned::create(&armed(), &outgoing("golden-queue", rules)).expect("the table is made");
        let text = listed("golden-queue");
        // Native, and by way of `nft_compat`.
        assert!(
            text.contains("queue flags bypass to 5 comment \"queue\"") || text.contains("queue num 5 bypass comment \"queue\""),
            "{text}"
        );
    });
}
