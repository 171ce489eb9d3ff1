//! The `icmp` probe, between two hosts.

use serde_json::{Value as Json, json};
use squall_model::Value;
use squall_testkit::net::{Family, Host, Lab};

use crate::support::{complaints, cx, error, kind, once};

/// Asks once, from a host.
fn ask(host: &Host, args: Json) -> Result<Value, String> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    host.within(|| runtime().block_on(once("icmp", args)))
}

fn rules(host: &Host, text: &str) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    host.run(&format!("nft -f {}", file.path().display()));
}

#[test]
fn a_ping_goes_there_and_back_by_both_kinds_of_socket() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    for range in ["0\t2147483647", "1\t0"] {
        // Whom the kernel gives its own sockets for pings; to nobody, and raw ones are used.
        a.within(|| std::fs::write("/proc/sys/net/ipv4/ping_group_range", range).expect("written"));
        for family in Family::BOTH {
            let to = |measure: &str| json!({ "host": b.address(family).to_string(), "measure": measure, "count": 3, "interval": "10ms" });
            for measure in ["latency", "longest"] {
                let Ok(Value::Number(time)) = ask(&a, to(measure)) else { panic!("{family:?} {range}") };
                assert!(time > 0.0 && time < 0.5, "{family:?} {range}: {time}");
            }
            assert_eq!(ask(&a, to("loss")), Ok(Value::Number(0.0)), "{family:?} {range}");
            assert_eq!(ask(&a, to("reachable")), Ok(Value::Number(1.0)), "{family:?} {range}");
        }
    }
}

#[test]
fn what_is_lost_is_counted() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    rules(
        &b,
        "table inet t {\n chain c {\n type filter hook input priority 0\n icmp type echo-request numgen inc mod 2 0 drop\n icmpv6 type echo-request numgen inc mod 2 0 drop\n }\n}\n",
    );
    for family in Family::BOTH {
        let args = json!({ "host": b.address(family).to_string(), "measure": "loss", "count": 10, "interval": "5ms", "within": "200ms" });
        assert_eq!(ask(&a, args), Ok(Value::Number(0.5)), "{family:?}");
    }
}

#[test]
fn a_host_that_does_not_answer_or_has_no_way_is_not_reachable() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    rules(&b, "table inet t {\n chain c {\n type filter hook input priority 0\n meta l4proto { icmp } drop\n }\n}\n");
    for address in [b.v4().to_string(), "203.0.113.1".to_owned()] {
        let to = |measure: &str| json!({ "host": address, "measure": measure, "within": "100ms" });
        assert_eq!(ask(&a, to("reachable")), Ok(Value::Number(0.0)), "{address}");
        assert_eq!(ask(&a, to("loss")), Ok(Value::Number(1.0)), "{address}");
        assert!(ask(&a, to("latency")).expect_err("no time").contains(&address));
    }
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused_with_a_hint() {
    for bad in [
        json!({ "host": "" }),
        json!({ "host": "http://a" }),
        json!({ "host": "::1", "family": "ipv4" }),
        json!({ "host": "a", "count": 0 }),
        json!({ "host": "a", "size": 4 }),
    ] {
        let complaints = complaints("icmp", &bad);
        assert!(complaints.contains("write") || complaints.contains("leave"), "{bad}: {complaints}");
    }
    let slow = kind("icmp").open(&json!({ "host": "a", "count": 100, "interval": "1s" }), &cx());
    assert!(slow.err().is_some_and(|error| error.contains("longer `timeout`")));
    assert!(error("icmp", json!({ "host": "no-such-host.invalid" })).await.contains("does not resolve"));
}
