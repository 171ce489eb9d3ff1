//! DNS faults beside others: other DNS faults, local resolvers, other people's redirections, and what the namespace lacks.

use serde_json::json;
use squall_testkit::net::Family;
use squall_testkit::planned;

use super::{Bench, name_server};

/// In milliseconds, by a clock that is some of them wrong (`CLOCK_REALTIME_COARSE`).
fn query_time(dig: &str) -> u64 {
    let line = dig.lines().find_map(|line| line.strip_prefix(";; Query time: ")).unwrap_or_else(|| panic!("no time: {dig}"));
    line.split(' ').next().and_then(|n| n.parse().ok()).expect("milliseconds")
}

#[tokio::test]
async fn three_faults_at_once_are_each_in_force_and_end_in_any_order() {
    let bench = Bench::new();
    let slow = bench.inject("dns.latency", json!({ "queries": { "names": ["*"] }, "delay": "150ms" })).await;
    let wrong = bench.inject("dns.wrong-answer", json!({ "queries": { "names": ["web.example.com"] }, "a": ["192.0.2.1"] })).await;
    let error = bench.inject("dns.error", json!({ "queries": { "names": ["db.example.com"] } })).await;
    for transport in ["+notcp", "+tcp"] {
        let web = bench.dig(Family::V4, &format!("{transport} web.example.com A"));
        assert!(web.contains("192.0.2.1") && (145..290).contains(&query_time(&web)), "{web}");
        let db = bench.dig(Family::V6, &format!("{transport} db.example.com A"));
        assert!(db.contains("NXDOMAIN") && (145..290).contains(&query_time(&db)), "{db}");
        let other = bench.dig(Family::V4, &format!("{transport} other.org A"));
        assert!(other.contains("10.9.9.3") && (145..290).contains(&query_time(&other)), "{other}");
    }
    slow.revert().await;
    assert!(query_time(&bench.dig(Family::V4, "web.example.com A")) < 140);
    // The place of the first is free again.
    let again = bench.inject("dns.latency", json!({ "queries": { "names": ["*"] }, "delay": "150ms" })).await;
    wrong.revert().await;
    let web = bench.dig(Family::V4, "web.example.com A");
    assert!(web.contains("10.9.9.1") && (145..290).contains(&query_time(&web)), "{web}");
    again.revert().await;
    assert!(bench.dig(Family::V4, "db.example.com A").contains("NXDOMAIN"));
    error.revert().await;
    assert_eq!(bench.short(Family::V4, "db.example.com A"), ["10.9.9.2"]);
}

#[tokio::test]
async fn a_fault_behind_another_that_answers_says_that_it_has_no_effect() {
    let bench = Bench::new();
    let first = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"] } })).await;
    let (fault, run) = (super::fault("dns.timeout"), squall_testkit::Execution::default());
    let undo = run.inject(&fault, &json!({ "queries": { "names": ["web.example.com"] } }), &bench.target()).await.expect("injected");
    let effect = fault.verify(&undo).await.expect("looked at");
    assert!(!effect.in_force && effect.evidence.contains("NXDOMAIN"), "{effect:?}");
    first.revert().await;
    assert!(fault.verify(&undo).await.expect("looked at").in_force);
    run.revert(&fault).await.expect("reverted");
}

#[tokio::test]
async fn a_resolver_on_the_target_itself_does_not_double_a_delay() {
    let bench = Bench::new();
    let upstream = format!("--server={}", bench.server.v4());
    let _local = name_server(&bench.client, &["127.0.0.53".to_owned()], 53, &[upstream, "--cache-size=0".to_owned()]);
    let made =
        bench.inject_on("dns.latency", json!({ "queries": { "names": ["web.example.com"] }, "delay": "200ms" }), &bench.namespace()).await;
    for transport in ["+notcp", "+tcp"] {
        let said = bench.client.run(&format!("dig {transport} +tries=1 +time=2 @127.0.0.53 web.example.com A"));
        assert!(said.contains("10.9.9.1") && (195..390).contains(&query_time(&said)), "{transport}: {said}");
        let said = bench.client.run(&format!("dig {transport} +tries=1 +time=2 @127.0.0.53 other.org A"));
        assert!(said.contains("10.9.9.3") && query_time(&said) < 140, "{transport}: {said}");
    }
    made.revert().await;
}

/// As Docker does for its own resolver at 127.0.0.11.
#[tokio::test]
async fn somebody_elses_redirection_of_port_53_still_works_behind_the_fault() {
    let bench = Bench::new();
    let records = ["web.example.com,10.8.8.1", "other.org,10.9.9.3"].map(|r| format!("--host-record={r}"));
    let _local = name_server(&bench.client, &["127.0.0.1".to_owned()], 5300, &records);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let rules = "table ip docker {\n chain output {\n type nat hook output priority -100\n\
                 ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.1:5300\n ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.1:5300\n }\n}\n";
    std::fs::write(file.path(), rules).expect("written");
    bench.client.run(&format!("nft -f {}", file.path().display()));
    let ask = |line: &str| bench.client.run(&format!("dig +tries=1 +time=2 @127.0.0.11 {line}"));
    assert!(ask("web.example.com A").contains("10.8.8.1"));
    let made = bench.inject_on("dns.error", json!({ "queries": { "names": ["web.example.com"] } }), &bench.namespace()).await;
    for transport in ["+notcp", "+tcp"] {
        assert!(ask(&format!("{transport} web.example.com A")).contains("NXDOMAIN"), "{transport}");
        assert!(ask(&format!("{transport} other.org A")).contains("10.9.9.3"), "{transport}");
    }
    made.revert().await;
    assert!(ask("web.example.com A").contains("10.8.8.1"));
}

#[tokio::test]
async fn a_host_without_ipv6_is_served() {
    let bench = Bench::new();
    bench.client.within(|| {
        for name in ["all", "default", "lo"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1").expect("switched off");
        }
    });
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"] } })).await;
    assert!(bench.dig(Family::V4, "web.example.com A").contains("NXDOMAIN"));
    made.revert().await;
    assert_eq!(bench.short(Family::V4, "web.example.com A"), ["10.9.9.1"]);
}

#[tokio::test]
async fn without_a_loopback_the_fault_is_refused_with_the_next_step() {
    let bench = Bench::new();
    bench.client.run("ip link set lo down");
    let error = bench.refused("dns.error", json!({ "queries": { "names": ["web.example.com"] } })).await;
    assert!(error.contains("ip link set lo up"), "{error}");
}

#[tokio::test]
async fn a_namespace_is_broken_also_where_its_name_servers_cannot_be_reached() {
    let bench = Bench::new();
    let made = bench.inject_on("dns.error", json!({ "queries": { "names": ["web.example.com"] } }), &bench.namespace()).await;
    let evidence = made.verify().await.evidence;
    assert!(evidence.contains("NXDOMAIN"), "{evidence}");
    assert_eq!(bench.getent("web.example.com"), (false, Vec::new()));
    made.revert().await;
}

#[tokio::test]
async fn a_process_has_the_name_servers_of_its_own_file_system() {
    let bench = Bench::new();
    let args = json!({ "queries": { "names": ["web.example.com"] } });
    let plan = planned(super::fault("dns.error").as_ref(), &args, &bench.target(), &squall_sys::facts()).expect("planned");
    let servers = format!("{}, {}", bench.server.v4(), bench.server.v6());
    assert!(plan.changes[0].mechanism.contains(&servers), "{plan:?}");
    let made = bench.inject("dns.error", args).await;
    let evidence = made.verify().await.evidence;
    assert!(evidence.contains(&format!("to {}:53: NXDOMAIN", bench.server.v4())), "{evidence}");
    made.revert().await;
}

#[test]
fn a_plan_says_what_is_made_and_changes_nothing() {
    let bench = Bench::new();
    let before = bench.client.run("nft list ruleset");
    let args = json!({ "queries": { "names": ["*.example.com"], "types": ["A"], "percent": "30%" }, "answer": "servfail" });
    let plan = planned(super::fault("dns.error").as_ref(), &args, &bench.namespace(), &squall_sys::facts()).expect("planned");
    let change = &plan.changes[0];
    assert!(change.what.starts_with("30% of the DNS queries for *.example.com (A) of network namespace"), "{}", change.what);
    assert!(change.mechanism.starts_with("answered with SERVFAIL by a resolver of Squall's own"), "{}", change.mechanism);
    assert_eq!(bench.client.run("nft list ruleset"), before);
}
