//! The end of a fault: at once, also for clients that keep their sockets, and whoever died.

use std::time::{Duration, Instant};

use serde_json::json;
use squall_testkit::eventually;
use squall_testkit::net::Family;

use super::Bench;
use super::wire::{Kept, connect, framed, next, put, query};

/// Somebody else's rules on the client: with them the kernel tracks flows before, during and after the fault.
const FOREIGN: &str = "table inet foreign {\n\
    chain nat {\n type nat hook output priority -100\n ip daddr 10.255.0.1 udp dport 53 dnat ip to 10.0.0.1\n }\n\
    chain filter {\n type filter hook input priority filter\n ct state established counter accept\n }\n\
}\n";

fn with_foreign_rules(bench: &Bench) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), FOREIGN).expect("written");
    bench.client.run(&format!("nft -f {}", file.path().display()));
    rules(bench)
}

/// The rules of the client, without what counts on.
fn rules(bench: &Bench) -> String {
    bench.client.run("nft --stateless list ruleset")
}

#[expect(clippy::disallowed_methods, reason = "a test measures how long something takes")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_client_that_keeps_its_socket_is_broken_at_once_and_healed_at_once() {
    let bench = Bench::new();
    let before = with_foreign_rules(&bench);
    for family in Family::BOTH {
        let kept = Kept::new(&bench.client, bench.server.socket(family, 53));
        assert_eq!(kept.ask(1, "web.example.com"), Some((0, 1)), "{family:?}");
        let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"] } })).await;
        for id in 2..5 {
            assert_eq!(kept.ask(id, "web.example.com"), Some((3, 0)), "{family:?}");
            assert_eq!(kept.ask(id + 10, "db.example.com"), Some((0, 1)), "{family:?}");
        }
        let how = made.revert().await;
        assert!(how.contains("forgotten"), "{how}");
        let start = now();
        assert_eq!(kept.ask(5, "web.example.com"), Some((0, 1)), "{family:?}: {how}");
        assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
        assert_eq!(rules(&bench), before, "{family:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_kept_is_cut_and_a_new_one_is_broken_then_healed() {
    let bench = Bench::new();
    with_foreign_rules(&bench);
    let server = bench.server.socket(Family::V4, 53);
    let mut old = connect(&bench.client, server);
    put(&mut old, &framed(&query(1, "web.example.com")));
    assert_eq!(next(&mut old).expect("an answer"), (1, 0, 1));
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"] } })).await;
    put(&mut old, &framed(&query(2, "web.example.com")));
    assert!(next(&mut old).is_err(), "the old connection is cut");
    let mut new = connect(&bench.client, server);
    put(&mut new, &framed(&query(3, "web.example.com")));
    assert_eq!(next(&mut new).expect("an answer"), (3, 3, 0));
    made.revert().await;
    // Either side of it may see the end first.
    let _ = std::io::Write::write_all(&mut new, &framed(&query(4, "web.example.com")));
    assert!(next(&mut new).is_err(), "a connection to the resolver ends with it");
    let mut healed = connect(&bench.client, server);
    put(&mut healed, &framed(&query(5, "web.example.com")));
    assert_eq!(next(&mut healed).expect("an answer"), (5, 0, 1));
}

#[tokio::test]
async fn when_the_carrier_is_killed_new_queries_are_served_within_a_second_and_the_revert_heals_the_rest() {
    let bench = Bench::new();
    let before = with_foreign_rules(&bench);
    let kept = Kept::new(&bench.client, bench.server.socket(Family::V4, 53));
    let made = bench.inject("dns.timeout", json!({ "queries": { "names": ["web.example.com"] } })).await;
    assert_eq!(kept.ask(1, "db.example.com"), Some((0, 1)), "redirected");
    let pid = rustix::process::Pid::from_raw(made.carrier().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    let start = now();
    eventually("names are resolved again", || bench.short(Family::V4, "web.example.com A") == ["10.9.9.1"]);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(rules(&bench), before);
    let effect = made.verify().await;
    assert!(!effect.in_force && effect.evidence.contains("no table"), "{effect:?}");
    let how = made.revert().await;
    assert!(how.contains("no resolver"), "{how}");
    assert_eq!(kept.ask(2, "web.example.com"), Some((0, 1)), "{how}");
    // Once more, as somebody does who does not know.
    made.run.revert_undo(&made.fault, made.undo.clone()).await.expect("reverted again");
}

#[tokio::test]
async fn a_target_that_is_gone_is_reverted_without_an_error() {
    let bench = Bench::new();
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"] } })).await;
    drop(bench);
    let effect = made.verify().await;
    assert!(!effect.in_force, "{effect:?}");
    made.revert().await;
}

#[tokio::test]
async fn a_fault_is_there_and_gone_within_a_moment() {
    let bench = Bench::new();
    with_foreign_rules(&bench);
    let kept = Kept::new(&bench.client, bench.server.socket(Family::V4, 53));
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for id in 0..20 {
        let (fault, run) = (super::fault("dns.error"), squall_testkit::Execution::default());
        let start = now();
        run.inject(&fault, &json!({ "queries": { "names": ["web.example.com"] } }), &bench.target()).await.expect("injected");
        there.push(start.elapsed());
        assert_eq!(kept.ask(id, "web.example.com"), Some((3, 0)));
        let start = now();
        run.revert(&fault).await.expect("reverted");
        gone.push(start.elapsed());
        assert_eq!(kept.ask(id + 1000, "web.example.com"), Some((0, 1)));
    }
    there.sort();
    gone.sort();
    println!("there: median {:?}, longest {:?}; gone: median {:?}, longest {:?}", there[10], there[19], gone[10], gone[19]);
    // The bar is 50 ms on a quiet host; this one may be busy with other tests.
    assert!(there[10] < Duration::from_millis(250) && gone[10] < Duration::from_millis(250), "{there:?} {gone:?}");
}
