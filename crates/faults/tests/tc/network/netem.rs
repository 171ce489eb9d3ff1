//! Shaping by the kernel. On hosts without netem, tbf alone; `cargo xtask vm-test --package squall-faults --test tc` has netem.

use std::time::Duration;

use squall_faults::network::netem::{Counters, TcUndo, counters, describe, inject, needs, plan_undo, revert};
use squall_faults::network::{Delay, Distribution, Rate, Shape};
use squall_sys::link;
use squall_sys::tc::{Handle, Part, Traffic};
use squall_testkit::eventually_ok;
use squall_testkit::net::probe::{Bulk, Flood, Train};
use squall_testkit::net::{Family, Host, Lab};

use super::{armed, picture};

const MARK: u32 = 0x5c00_0077;
const OTHER: u32 = 0x5c00_0078;

fn rate(bytes_per_second: u64) -> Shape {
    Shape { rate: Some(Rate { bytes_per_second, burst: 2000 }), limit: 1000, seed: 1, ..Shape::default() }
}

fn delay(base: Duration) -> Shape {
    let delay = Delay { base, jitter: Duration::ZERO, correlation: 0.0, distribution: Distribution::Uniform };
    Shape { delay: Some(delay), limit: 1000, seed: 1, ..Shape::default() }
}

/// Packets that match leave with the mark, as the fault's own rules see to.
fn mark(host: &Host, matching: &str, mark: u32) {
    let table = format!("marks{mark}");
    host.run(&format!("nft add table inet {table}"));
    host.run(&format!("nft add chain inet {table} out {{ type filter hook postrouting priority 0 ; }}"));
    host.run(&format!("nft add rule inet {table} out {matching} meta mark set {mark}"));
}

fn planned(host: &Host, interface: &str, marker: &str, mark: u32) -> TcUndo {
    let interface = host.within(|| link::interfaces().expect("listed").into_iter().find(|i| i.name == interface).expect("there"));
    plan_undo(&host.namespace(), &interface, marker, mark).expect("planned")
}

fn put_in_force(host: &Host, interface: &str, marker: &str, mark: u32, shape: &Shape) -> TcUndo {
    let undo = planned(host, interface, marker, mark);
    inject(&armed(), &undo, shape).expect("injected");
    undo
}

/// As a process does that has read the undo from the ledger.
fn reverted(undo: &TcUndo) -> String {
    let text = serde_json::to_string(undo).expect("JSON");
    revert(&serde_json::from_str(&text).expect("read back"), &armed()).expect("reverted")
}

fn counted(undo: &TcUndo) -> Counters {
    counters(undo).expect("counted")
}

/// Disciplines, classes and filters of an interface, byte for byte, without what traffic changes.
fn bytes(host: &Host, interface: &str) -> Vec<Vec<u8>> {
    host.within(|| {
        let index = link::interfaces().expect("listed").into_iter().find(|i| i.name == interface).expect("there").index;
        let mut traffic = Traffic::open().expect("a socket");
        let mut rows = traffic.qdiscs(index).expect("qdiscs");
        rows.extend(traffic.classes(index).expect("classes"));
        for parent in [Handle::EGRESS, Handle::INGRESS, Handle::new(1, 0)] {
            rows.extend(traffic.filters(index, parent).expect("filters"));
        }
        rows.iter().map(squall_sys::tc::Row::unchanging).collect()
    })
}

#[test]
fn a_rate_holds_for_marked_packets_of_both_families_and_for_no_others() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    mark(&a, "meta l4proto udp", MARK);
    // A short queue: the second flood is not to wait behind the first.
    let undo = put_in_force(&a, "eth0", "squall-rate-1", MARK, &Shape { limit: 20, ..rate(125_000) });
    let flood = Flood { bytes_per_second: 250_000.0, lasting: Duration::from_secs(3), warm_up: Duration::from_millis(500) };
    for family in [Family::V4, Family::V6] {
        let arrived = flood.run(&a, &b, family);
        // tbf counts the 14 bytes of the Ethernet header too.
        let expected = 125_000.0 * 1500.0 / 1514.0;
        assert!((arrived / expected - 1.0).abs() < 0.03, "{family:?}: {arrived} bytes/s");
    }
    let before = counted(&undo);
    assert!(before.sent > 0 && before.overlimits > 0, "{before:?}");
    let unmarked = Bulk { lasting: Duration::from_millis(500) }.run(&a, &b, Family::V4);
    assert!(unmarked > 2_000_000.0, "{unmarked} bytes/s");
    assert_eq!(counted(&undo).redirected, before.redirected, "TCP has no mark");
    reverted(&undo);
    let freed = Flood { bytes_per_second: 1_000_000.0, lasting: Duration::from_secs(1), warm_up: Duration::from_millis(100) };
    assert!(freed.run(&a, &b, Family::V4) > 900_000.0);
}

#[test]
fn each_packet_comes_by_once_with_its_mark_and_a_foreign_tree_stays_byte_for_byte() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    for line in [
        "tc qdisc add dev eth0 root handle 1: htb default 10",
        "tc class add dev eth0 parent 1: classid 1:1 htb rate 800mbit",
        "tc class add dev eth0 parent 1:1 classid 1:10 htb rate 400mbit ceil 800mbit",
        "tc class add dev eth0 parent 1:1 classid 1:20 htb rate 100mbit prio 1",
        "tc qdisc add dev eth0 parent 1:20 handle 20: pfifo limit 500",
        "tc qdisc add dev eth0 clsact",
        "tc filter add dev eth0 egress protocol ip pref 7 u32 match ip dport 4242 0xffff flowid 1:10",
        "tc filter add dev eth0 ingress protocol ip pref 8 u32 match ip sport 4243 0xffff flowid 1:10",
    ] {
        a.run(line);
    }
    // `fw` and u32's `match mark` are not in every kernel.
    let by_mark = format!("4,32 0 0 4294963220,21 0 1 {MARK},6 0 0 4294967295,6 0 0 0");
    let words =
        ["filter", "add", "dev", "eth0", "parent", "1:", "protocol", "all", "pref", "1", "bpf", "bytecode", &by_mark, "flowid", "1:20"];
    assert!(a.command("tc").args(words).status().expect("tc").success());
    mark(&a, "udp dport 9000", MARK);
    let (before, text) = (bytes(&a, "eth0"), picture(&a));
    let undo = put_in_force(&a, "eth0", "squall-tree-1", MARK, &rate(50_000_000));
    assert!(!undo.clsact && describe(&undo, &rate(1)).contains("there already"));
    for family in [Family::V4, Family::V6] {
        let journey = Train::new(200, 1000.0).port(9000).grace(Duration::from_millis(300)).run(&a, &b, family);
        assert!(journey.lost().is_empty() && journey.duplicates() == 0, "{family:?}: {journey:?}");
    }
    let counters = counted(&undo);
    assert_eq!((counters.redirected, counters.sent, counters.dropped), (400, 400, 0), "each comes by once");
    let class = a.run("tc -s class show dev eth0 classid 1:20");
    assert!(class.contains(" 400 pkt"), "the tree has seen the mark of each: {class}");
    let during = bytes(&a, "eth0");
    assert!(before.iter().all(|row| during.contains(row)) && during.len() == before.len() + 1, "one filter more, nothing else");
    let how = reverted(&undo);
    assert!(how.contains("removed the filter") && how.contains("removed the ifb device"), "{how}");
    assert_eq!(bytes(&a, "eth0"), before);
    assert_eq!(picture(&a), text);
    assert!(reverted(&undo).contains("nothing to do"));
}

#[test]
fn filters_of_others_come_first_act_once_and_may_keep_packets() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    mark(&a, "udp dport 9000-9001", MARK);
    for line in [
        "ip link add spare type ifb",
        "ip link set spare up",
        "tc qdisc add dev eth0 clsact",
        "tc filter add dev eth0 egress protocol ip pref 7 u32 match ip dport 9000 0xffff action mirred egress mirror dev spare continue",
        "tc filter add dev eth0 egress protocol ip pref 8 u32 match ip dport 9001 0xffff action mirred egress mirror dev spare",
    ] {
        a.run(line);
    }
    let undo = put_in_force(&a, "eth0", "squall-others-1", MARK, &rate(50_000_000));
    let train = |port| Train::new(50, 1000.0).port(port).grace(Duration::from_millis(200)).run(&a, &b, Family::V4);
    assert!(train(9000).lost().is_empty());
    let seen = a.run("tc -s filter show dev eth0 egress pref 7");
    assert!(seen.contains(" 50 pkt"), "an action that goes on acts on each packet once: {seen}");
    assert_eq!(counted(&undo).redirected, 50);
    assert!(train(9001).lost().is_empty());
    assert_eq!(counted(&undo).redirected, 50, "what ends classification keeps packets, and the counters say so");
    reverted(&undo);
}

#[test]
fn loopback_is_shaped_as_well() {
    let lab = Lab::new();
    let a = lab.host("a");
    mark(&a, "udp dport 9000", MARK);
    let text = picture(&a);
    let undo = put_in_force(&a, "lo", "squall-lo-1", MARK, &rate(50_000_000));
    for family in [Family::V4, Family::V6] {
        let journey = Train::new(50, 1000.0).size(1000).port(9000).grace(Duration::from_millis(300)).run(&a, &a, family);
        assert!(journey.lost().is_empty(), "{family:?}: {journey:?}");
    }
    assert_eq!(counted(&undo).redirected, 100);
    reverted(&undo);
    assert_eq!(picture(&a), text);
}

#[test]
fn nothing_that_waits_for_a_rate_is_lost_at_the_revert() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    mark(&a, "meta l4proto udp", MARK);
    // What the train sends within a fifth of a second needs seven.
    let undo = put_in_force(&a, "eth0", "squall-let-out-1", MARK, &rate(2000));
    let (journey, how) = std::thread::scope(|scope| {
        let train = scope.spawn(|| Train::new(100, 500.0).grace(Duration::from_secs(2)).run(&a, &b, Family::V4));
        eventually_ok("many wait", || {
            let backlog = counted(&undo).backlog;
            if backlog > 50 { Ok(()) } else { Err(format!("{backlog} wait")) }
        });
        let how = reverted(&undo);
        (train.join().expect("the train"), how)
    });
    assert!(journey.lost().is_empty(), "{how}: lost {:?}", journey.lost());
    assert!(!how.contains("still waited"), "{how}");
}

#[test]
fn two_on_one_interface_go_in_either_order_and_leave_nothing() {
    for first in [0, 1] {
        let lab = Lab::new();
        let (a, b) = (lab.host("a"), lab.host("b"));
        mark(&a, "udp dport 9000", MARK);
        mark(&a, "udp dport 9001", OTHER);
        let text = picture(&a);
        let one = put_in_force(&a, "eth0", "squall-two-1", MARK, &rate(50_000_000));
        let two = put_in_force(&a, "eth0", "squall-two-2", OTHER, &rate(50_000_000));
        assert_ne!(one.device, two.device);
        Train::new(30, 1000.0).port(9000).grace(Duration::from_millis(100)).run(&a, &b, Family::V4);
        Train::new(20, 1000.0).port(9001).grace(Duration::from_millis(100)).run(&a, &b, Family::V4);
        assert_eq!((counted(&one).redirected, counted(&two).redirected), (30, 20));
        let order = if first == 0 { [&one, &two] } else { [&two, &one] };
        assert!(reverted(order[0]).contains("left the clsact of eth0, which has 1 filters"));
        assert_eq!(counted(order[1]).redirected, if first == 0 { 20 } else { 30 });
        reverted(order[1]);
        assert_eq!(picture(&a), text);
    }
}

#[test]
fn a_revert_takes_what_is_left_and_nothing_of_others() {
    let lab = Lab::new();
    let a = lab.host("a");
    let text = picture(&a);
    // Armed and not yet made.
    let undo = planned(&a, "eth0", "squall-part-1", MARK);
    assert!(reverted(&undo).contains("nothing to do"));
    // Somebody took the filter and its place away.
    inject(&armed(), &undo, &rate(1000)).expect("injected");
    a.run("tc qdisc del dev eth0 clsact");
    assert_eq!(counters(&undo).expect_err("gone").kind(), std::io::ErrorKind::NotFound);
    assert!(reverted(&undo).contains(&undo.device));
    assert_eq!(picture(&a), text);
    // Somebody uses the place meanwhile.
    inject(&armed(), &undo, &rate(1000)).expect("injected");
    a.run("tc filter add dev eth0 ingress protocol ip pref 8 u32 match ip sport 4243 0xffff flowid 1:10");
    assert!(reverted(&undo).contains("left the clsact"));
    a.run("tc qdisc del dev eth0 clsact");
    assert_eq!(picture(&a), text);
    // A device of somebody else with that name.
    a.run(&format!("ip link add {} type ifb", undo.device));
    let theirs = picture(&a);
    let error = inject(&armed(), &undo, &rate(1000)).expect_err("the name is taken");
    assert!(error.to_string().contains(&undo.device), "{error}");
    reverted(&undo);
    assert_eq!(picture(&a), theirs);
    // The namespace is gone.
    drop(a);
    drop(lab);
    assert!(reverted(&undo).contains("is gone"));
}

#[test]
fn a_place_of_somebody_else_and_an_ifb_are_refused() {
    let lab = Lab::new();
    let a = lab.host("a");
    a.run("tc qdisc add dev eth0 ingress");
    a.run("ip link add ifb7 type ifb");
    let refused = |name: &str| {
        let interface = a.within(|| link::interfaces().expect("listed").into_iter().find(|i| i.name == name).expect("there"));
        let error = plan_undo(&a.namespace(), &interface, "squall-refused-1", MARK).expect_err("refused");
        assert!(error.hint.is_some(), "{error}");
        error.message
    };
    assert!(refused("eth0").contains("ingress discipline of somebody else"));
    assert!(refused("ifb7").contains("ifb device itself"));
}

#[test]
fn delays_come_from_netem_or_the_kernel_says_that_it_has_none() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    mark(&a, "udp dport 9000", MARK);
    let text = picture(&a);
    let shape = delay(Duration::from_millis(100));
    assert!(needs(&shape).contains(&"netem"));
    let undo = planned(&a, "eth0", "squall-delay-1", MARK);
    let made = inject(&armed(), &undo, &shape);
    if Part::Netem.available().expect("looked") {
        made.expect("injected");
        for family in [Family::V4, Family::V6] {
            let delays = Train::new(200, 500.0).port(9000).run(&a, &b, family).delays();
            assert_eq!(delays.len(), 200, "{family:?}");
            let median = squall_testkit::net::statistics::quantile(&squall_testkit::net::statistics::sorted(delays), 0.5);
            assert!((median - 100.0).abs() < 1.0, "{family:?}: {median} ms");
        }
        // With a rate as well: the bucket is within netem.
        reverted(&undo);
        let both = Shape { rate: rate(1_000_000).rate, ..shape };
        inject(&armed(), &undo, &both).expect("injected");
        let device = a.run(&format!("tc qdisc show dev {}", undo.device));
        assert!(["netem 1: root", "tbf 2: parent 1:1", "pfifo 3: parent 2:1"].iter().all(|part| device.contains(part)), "{device}");
        let journey = Train::new(200, 500.0).port(9000).run(&a, &b, Family::V4);
        assert!(journey.lost().is_empty(), "{journey:?}");
    } else {
        let error = made.expect_err("no netem");
        assert!(error.to_string().starts_with(&format!("netem on {}", undo.device)), "{error}");
    }
    reverted(&undo);
    assert_eq!(picture(&a), text);
}
