//! `network.mtu`.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use squall_engine::AnyFault;
use squall_faults::network::Mtu;
use squall_testkit::net::{Host, InForce, Lab};
use squall_testkit::{eventually_ok, planned};

use super::picture;

fn fault() -> Arc<dyn AnyFault> {
    Arc::new(Mtu)
}

fn refused(host: &Host, args: &Json) -> (String, String) {
    let error = planned(fault().as_ref(), args, &host.target(), &squall_sys::facts()).expect_err("refused");
    (error.message, error.hint.expect("a hint"))
}

fn same(host: &Host, before: &str) {
    eventually_ok("it is as it was", || {
        let after = picture(host);
        if after == before { Ok(()) } else { Err(format!("--- before\n{before}\n--- after\n{after}")) }
    });
}

#[test]
fn vlans_and_routes_that_the_kernel_makes_smaller_come_back_too() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    let v6 = b.v6();
    // Not every kernel has VLANs; that of the virtual machine has.
    let vlans = a.output("ip link add link eth0 name eth0.10 mtu 1450 type vlan id 10").status.success();
    if vlans {
        a.run("ip link set eth0.10 up");
        a.run("ip link add link eth0 name eth0.11 mtu 1290 type vlan id 11");
        a.run("ip link add link eth0.10 name inner mtu 1440 type vlan id 20");
    }
    for line in
        [&format!("ip -6 route add 2001:db8:1::/48 via {v6} mtu 1420"), &format!("ip -6 route add 2001:db8:2::/48 via {v6} mtu 1290")]
    {
        a.run(line);
    }
    a.within(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/mtu", "1460").expect("set"));
    eventually_ok("addresses are settled", || if a.run("ip addr").contains("tentative") { Err("not yet".into()) } else { Ok(()) });
    let before = picture(&a);
    let mtu = InForce::new(&fault(), &json!({ "interface": "eth0", "mtu": 1300 }), &a.target());
    let during = a.run("ip link");
    let smaller = if vlans { 3 } else { 1 };
    assert_eq!(during.matches("mtu 1300 ").count(), smaller, "eth0, and the two above it that were longer: {during}");
    let how = mtu.revert();
    assert!(how.contains("the MTU of eth0 is 1500 again") && how.contains("eth0.10 is 1450") == vlans, "{how}");
    same(&a, &before);
    assert_eq!(a.within(|| std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/mtu").expect("read")), "1460\n");
}

#[test]
fn longer_is_possible_as_well() {
    let lab = Lab::new();
    let a = lab.host("a");
    let before = picture(&a);
    let mtu = InForce::new(&fault(), &json!({ "interface": "eth0", "mtu": 9000 }), &a.target());
    assert!(a.run("ip link show eth0").contains("mtu 9000 "));
    mtu.revert();
    same(&a, &before);
}

#[test]
fn an_mtu_that_somebody_else_has_set_meanwhile_is_left() {
    let lab = Lab::new();
    let a = lab.host("a");
    let mtu = InForce::new(&fault(), &json!({ "interface": "eth0", "mtu": 1300 }), &a.target());
    a.run("ip link set eth0 mtu 1350");
    assert!(!mtu.verify().in_force);
    let how = mtu.revert();
    assert!(how.contains("set to 1350 by somebody else meanwhile, and is left so"), "{how}");
    assert!(a.run("ip link show eth0").contains("mtu 1350 "));
}

#[test]
fn what_the_interface_or_ipv6_does_not_take_is_refused() {
    let lab = Lab::new();
    let a = lab.host("a");
    let before = picture(&a);
    let with = |mtu: u32| json!({ "interface": "eth0", "mtu": mtu });
    let (message, hint) = refused(&a, &with(70_000));
    assert!(message == "eth0 takes no MTU of 70000" && hint == "write 68 to 65535", "{message}: {hint}");
    let (message, hint) = refused(&a, &with(1279));
    assert!(message.contains("takes IPv6 off eth0") && hint.contains("1280 or more"), "{message}: {hint}");
    assert!(refused(&a, &with(1500)).0.contains("is 1500 already"));
    assert!(refused(&a, &json!({ "interface": "eth1", "mtu": 1300 })).1.contains("did you mean `eth0`?"));
    assert_eq!(picture(&a), before);
    // Without IPv6 there is nothing that would go lost.
    a.within(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").expect("set"));
    let mtu = InForce::new(&fault(), &with(600), &a.target());
    assert!(a.run("ip link show eth0").contains("mtu 600 "));
    mtu.revert();
    assert!(a.run("ip link show eth0").contains("mtu 1500 "));
}
