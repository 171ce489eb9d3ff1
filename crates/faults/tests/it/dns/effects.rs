//! Each fault, as clients see it: over UDP and TCP, IPv4 and IPv6, and only where it is meant.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpListener;

use serde_json::json;
use squall_testkit::net::Family;

use super::wire::{Kept, connect, framed, next, put, query};
use super::{Bench, fault};

const TRANSPORTS: [&str; 2] = ["+notcp", "+tcp"];

/// What is never touched by a fault on `web.example.com`.
fn others_are_served(bench: &Bench) {
    for family in Family::BOTH {
        for transport in TRANSPORTS {
            assert_eq!(bench.short(family, &format!("{transport} db.example.com A")), ["10.9.9.2"], "{family:?} {transport}");
            assert_eq!(bench.short(family, &format!("{transport} other.org AAAA")), ["fd99::3"], "{family:?} {transport}");
        }
    }
    assert_eq!(bench.getent("other.org"), (true, vec!["10.9.9.3".into(), "fd99::3".into()]));
}

/// In milliseconds, by a clock that is some of them wrong (`CLOCK_REALTIME_COARSE`).
fn query_time(dig: &str) -> u64 {
    let line = dig.lines().find_map(|line| line.strip_prefix(";; Query time: ")).unwrap_or_else(|| panic!("no time: {dig}"));
    line.split(' ').next().and_then(|n| n.parse().ok()).expect("milliseconds")
}

#[tokio::test]
async fn every_error_is_seen_and_names_that_do_not_match_are_served() {
    let bench = Bench::new();
    for (answer, seen) in [
        ("nxdomain", "NXDOMAIN"),
        ("servfail", "SERVFAIL"),
        ("refused", "REFUSED"),
        ("formerr", "FORMERR"),
        ("notimp", "NOTIMP"),
        ("noData", "NOERROR"),
    ] {
        let made = bench.inject("dns.error", json!({ "queries": { "names": ["WEB.example.com"] }, "answer": answer })).await;
        for family in Family::BOTH {
            for transport in TRANSPORTS {
                let said = bench.dig(family, &format!("{transport} +nocookie web.example.com A"));
                assert!(said.contains(&format!("status: {seen}")) && said.contains("ANSWER: 0,"), "{family:?} {transport}: {said}");
            }
        }
        if answer == "nxdomain" {
            others_are_served(&bench);
        }
        made.revert().await;
        assert_eq!(bench.short(Family::V4, "web.example.com A"), ["10.9.9.1"], "{answer} was reverted");
    }
}

#[tokio::test]
async fn getaddrinfo_finds_no_name_that_is_broken_and_all_others() {
    let bench = Bench::new();
    assert_eq!(bench.getent("web.example.com"), (true, vec!["10.9.9.1".into(), "fd99::1".into()]));
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["*.example.com", "^db.example.com"] } })).await;
    assert_eq!(bench.getent("web.example.com"), (false, Vec::new()));
    assert_eq!(bench.getent("db.example.com"), (true, vec!["10.9.9.2".into(), "fd99::2".into()]));
    others_are_served(&bench);
    made.revert().await;
    assert_eq!(bench.getent("web.example.com"), (true, vec!["10.9.9.1".into(), "fd99::1".into()]));
}

#[tokio::test]
async fn without_an_answer_clients_wait_and_give_up() {
    let bench = Bench::new();
    let made = bench.inject("dns.timeout", json!({ "queries": { "names": ["web.example.com"], "types": ["A"] } })).await;
    for family in Family::BOTH {
        for transport in TRANSPORTS {
            let said = bench.dig(family, &format!("{transport} web.example.com A"));
            assert!(said.contains("timed out") || said.contains("no servers could be reached"), "{family:?} {transport}: {said}");
            assert_eq!(bench.short(family, &format!("{transport} web.example.com AAAA")), ["fd99::1"], "another type");
        }
    }
    others_are_served(&bench);
    assert!(!bench.getent("web.example.com").1.contains(&"10.9.9.1".to_owned()));
    made.revert().await;
    assert_eq!(bench.getent("web.example.com"), (true, vec!["10.9.9.1".into(), "fd99::1".into()]));
}

#[tokio::test]
async fn answers_are_the_real_ones_and_come_later_by_the_delay() {
    let bench = Bench::new();
    let made = bench.inject("dns.latency", json!({ "queries": { "names": ["web.example.com"] }, "delay": "200ms" })).await;
    for family in Family::BOTH {
        for transport in TRANSPORTS {
            let said = bench.dig(family, &format!("{transport} web.example.com A"));
            assert!(said.contains("10.9.9.1") && (195..390).contains(&query_time(&said)), "{family:?} {transport}: {said}");
            let said = bench.dig(family, &format!("{transport} db.example.com A"));
            assert!(said.contains("10.9.9.2") && query_time(&said) < 190, "{family:?} {transport}: {said}");
        }
    }
    let evidence = made.verify().await.evidence;
    assert!(evidence.contains("10.9.9.1 after 2"), "{evidence}");
    made.revert().await;
    assert!(query_time(&bench.dig(Family::V4, "web.example.com A")) < 190);
}

#[tokio::test]
async fn wrong_addresses_are_given_by_type_and_other_types_are_served() {
    let bench = Bench::new();
    let args =
        json!({ "queries": { "names": ["web.example.com"] }, "a": ["192.0.2.7", "192.0.2.8"], "aaaa": ["2001:db8::7"], "ttl": "2s" });
    let made = bench.inject("dns.wrong-answer", args).await;
    for family in Family::BOTH {
        for transport in TRANSPORTS {
            assert_eq!(bench.short(family, &format!("{transport} web.example.com A")), ["192.0.2.7", "192.0.2.8"]);
            assert_eq!(bench.short(family, &format!("{transport} web.example.com AAAA")), ["2001:db8::7"]);
        }
    }
    assert!(bench.dig(Family::V4, "wEb.eXample.com A").contains("wEb.eXample.com.\t2\tIN\tA\t192.0.2."));
    let hints = bench.dig(Family::V4, "web.example.com TYPE65");
    assert!(hints.contains("status: NOERROR") && hints.contains("ANSWER: 0,"), "no address by another way: {hints}");
    assert_eq!(bench.short(Family::V4, "web.example.com MX"), ["10 mail.example.com."]);
    assert_eq!(bench.getent("web.example.com").1, ["192.0.2.7", "192.0.2.8", "2001:db8::7"]);
    others_are_served(&bench);
    made.revert().await;
    assert_eq!(bench.getent("web.example.com").1, ["10.9.9.1", "fd99::1"]);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_again_over_tcp() {
    let bench = Bench::new();
    let many: Vec<String> = (0..200).map(|n| format!("198.51.100.{n}")).collect();
    let made = bench.inject("dns.wrong-answer", json!({ "queries": { "names": ["web.example.com"] }, "a": many })).await;
    let said = bench.dig(Family::V6, "+ignore web.example.com A");
    assert!(said.contains("flags: qr tc rd ra"), "{said}");
    assert_eq!(bench.short(Family::V6, "web.example.com A").len(), 200);
    // What only passes through is as large as the server makes it: 1.6 KiB here, with EDNS, without, and over TCP.
    for options in ["+bufsize=4096", "+noedns", "+tcp", ""] {
        assert_eq!(bench.short(Family::V4, &format!("{options} big.example.com TXT")).len(), 8, "{options}");
    }
    made.revert().await;
}

#[tokio::test]
async fn random_addresses_are_those_of_documentation_and_differ() {
    let bench = Bench::new();
    let made = bench.inject("dns.random", json!({ "queries": { "names": ["web.example.com"] }, "count": 3 })).await;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let v4 = bench.short(Family::V4, "web.example.com A");
        assert!(
            v4.len() == 3 && v4.iter().all(|a| ["192.0.2.", "198.51.100.", "203.0.113."].iter().any(|net| a.starts_with(net))),
            "{v4:?}"
        );
        let v6 = bench.short(Family::V6, "+tcp web.example.com AAAA");
        assert!(v6.len() == 3 && v6.iter().all(|a| a.starts_with("2001:db8:")), "{v6:?}");
        seen.extend(v4.into_iter().chain(v6));
    }
    assert!(seen.len() >= 25, "{seen:?}");
    others_are_served(&bench);
    made.revert().await;
    assert_eq!(bench.short(Family::V4, "web.example.com A"), ["10.9.9.1"]);
}

#[tokio::test]
async fn a_share_of_the_queries_is_broken() {
    let bench = Bench::new();
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"], "percent": "30%" } })).await;
    let socket = Kept::new(&bench.client, bench.server.socket(Family::V4, 53));
    let broken = (0..1000_u16).filter(|id| socket.ask(*id, "web.example.com").expect("an answer").0 == 3).count();
    // The exact 99.99% interval of 1,000 draws at 30% is 245 to 357.
    assert!((245..=357).contains(&broken), "{broken}");
    made.revert().await;
}

#[tokio::test]
async fn only_queries_to_the_named_servers_and_ports_are_broken() {
    let bench = Bench::new();
    let server = bench.server.v6().to_string();
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["*"], "servers": [server] } })).await;
    assert!(bench.dig(Family::V6, "web.example.com A").contains("status: NXDOMAIN"));
    assert_eq!(bench.short(Family::V4, "web.example.com A"), ["10.9.9.1"]);
    made.revert().await;
    let more = ["--host-record=web.example.com,10.9.9.1".to_owned(), "--host-record=other.org,10.9.9.3".to_owned()];
    let _more = super::name_server(&bench.server, &[bench.server.v4().to_string()], 8600, &more);
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"], "ports": [8600] } })).await;
    assert!(bench.dig(Family::V4, "-p 8600 web.example.com A").contains("status: NXDOMAIN"));
    assert_eq!(bench.short(Family::V4, "-p 8600 other.org A"), ["10.9.9.3"]);
    assert_eq!(bench.short(Family::V4, "web.example.com A"), ["10.9.9.1"]);
    made.revert().await;
}

#[tokio::test]
async fn queries_in_one_connection_do_not_wait_for_one_that_is_held() {
    let bench = Bench::new();
    let made = bench.inject("dns.latency", json!({ "queries": { "names": ["web.example.com"] }, "delay": "300ms" })).await;
    let mut stream = connect(&bench.client, bench.server.socket(Family::V4, 53));
    let three: Vec<u8> =
        [(1, "web.example.com"), (2, "db.example.com"), (3, "other.org")].iter().flat_map(|(id, name)| framed(&query(*id, name))).collect();
    // A byte at a time at first: a message is whole only when its length says so.
    for byte in &three[..20] {
        put(&mut stream, &[*byte]);
    }
    put(&mut stream, &three[20..]);
    let order: Vec<u16> = (0..3).map(|_| next(&mut stream).expect("an answer").0).collect();
    assert_eq!(order, [2, 3, 1]);
    made.revert().await;
}

/// As a transfer of a zone is, and a server that ends connections that are idle.
#[tokio::test]
async fn several_answers_to_one_query_pass_and_the_end_of_the_server_s_connection_too() {
    let bench = Bench::new();
    let server = bench.server.socket(Family::V6, 5353);
    let listener = bench.server.within(|| TcpListener::bind(server).expect("bound"));
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut query = [0; 2];
        stream.read_exact(&mut query).expect("a length");
        let mut query = vec![0; u16::from_be_bytes(query).into()];
        stream.read_exact(&mut query).expect("a query");
        for answers in 1..=3_u16 {
            let head = [&query[..2], &[0x80, 0, 0, 0], &answers.to_be_bytes(), &[0; 4]].concat();
            // In two parts, each in the middle of something.
            let bytes = framed(&head);
            put(&mut stream, &bytes[..1]);
            put(&mut stream, &bytes[1..]);
        }
    });
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"], "ports": [5353] } })).await;
    let mut stream = connect(&bench.client, server);
    put(&mut stream, &framed(&query(9, "zone.example.com")));
    for answers in 1..=3 {
        assert_eq!(next(&mut stream).expect("an answer"), (9, 0, answers));
    }
    serving.join().expect("served");
    let end = next(&mut stream).expect_err("the end");
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof, "not a timeout: {end}");
    made.revert().await;
}

#[tokio::test]
async fn what_is_no_query_does_no_harm() {
    let bench = Bench::new();
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"] } })).await;
    let server = bench.server.socket(Family::V4, 53);
    let socket = Kept::new(&bench.client, server);
    let good = query(1, "web.example.com");
    for length in 0..good.len() {
        socket.send(&good[..length]);
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        socket.send(&bad);
    }
    socket.send(&[0xff; 1400]);
    // A length without a message, and a message that is none.
    let mut stream = connect(&bench.client, server);
    put(&mut stream, &[0, 0, 0, 3, 1, 2, 3, 0xff]);
    drop(stream);
    assert_eq!(socket.ask(0x7777, "web.example.com"), Some((3, 0)));
    assert_eq!(socket.ask(0x7778, "db.example.com"), Some((0, 1)));
    made.revert().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let bench = Bench::new();
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"] } })).await;
    // Nobody listens on the client itself: it would be told so by ICMP, and is told by SERVFAIL.
    let own = bench.client.socket(Family::V4, 53);
    assert_eq!(Kept::new(&bench.client, own).ask(1, "other.org"), Some((2, 0)));
    assert_eq!(Kept::new(&bench.client, own).ask(1, "web.example.com"), Some((3, 0)), "what matches is broken whoever was meant");
    made.revert().await;
    // And on another host, from where the refusal comes later.
    let made = bench.inject("dns.error", json!({ "queries": { "names": ["web.example.com"], "ports": [5399] } })).await;
    for family in Family::BOTH {
        assert_eq!(Kept::new(&bench.client, bench.server.socket(family, 5399)).ask(1, "other.org"), Some((2, 0)), "{family:?}");
    }
    made.revert().await;
}

#[test]
fn arguments_that_do_nothing_are_refused_with_a_hint() {
    let names = json!({ "names": ["a"] });
    for (name, bad) in [
        ("dns.error", json!({ "queries": { "names": [] } })),
        ("dns.latency", json!({ "queries": names, "delay": "0s" })),
        ("dns.latency", json!({ "queries": names, "delay": "10ms", "jitter": "20ms" })),
        ("dns.latency", json!({ "queries": names, "delay": "5m" })),
        ("dns.wrong-answer", json!({ "queries": names })),
        ("dns.wrong-answer", json!({ "queries": names, "a": ["192.0.2.1"], "ttl": "1500ms" })),
        ("dns.random", json!({ "queries": names, "from": ["10.0.0.0/40"] })),
        ("dns.random", json!({ "queries": names, "count": 0 })),
    ] {
        let errors = fault(name).check(&bad);
        assert!(errors.len() == 1 && errors[0].hint.is_some(), "{name} {bad}: {errors:?}");
    }
}
