//! HTTP/1 through a proxy: what passes passes byte for byte, what is broken is broken as asked, and nobody is ever out of step.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use squall_proxy::events::Happened;
use squall_proxy::time::now;
use squall_proxy::{Direction, Options, Proxies, Route, RuleSpec};

/// An upstream that keeps every byte that it is sent, and answers each head's end with the next of its answers.
struct Upstream {
    address: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

fn upstream(answers: &'static [&'static str]) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap().to_string(), Arc::new(Mutex::new(Vec::new())));
    let kept = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, kept) = (stream.unwrap(), kept.clone());
            thread::spawn(move || {
                let (mut buffer, mut all, mut answered) = (vec![0; 65536], Vec::new(), 0);
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    all.extend_from_slice(&buffer[..count]);
                    kept.lock().unwrap().extend_from_slice(&buffer[..count]);
                    let heads = all.windows(4).filter(|window| window == b"\r\n\r\n").count();
                    while answered < heads {
                        let answer = answers[answered % answers.len()];
                        answered += 1;
                        if stream.write_all(answer.as_bytes()).is_err() || answer.ends_with("CLOSE") {
                            let _ = stream.shutdown(Shutdown::Both);
                            return;
                        }
                    }
                }
            });
        }
    });
    Upstream { address, seen }
}

impl Upstream {
    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }
}

struct Edge {
    proxies: Proxies,
    route: Route,
}

/// A proxy with these rules; with none, one that matches nothing, so that HTTP is read.
fn edge(upstream: &Upstream, rules: Value) -> Edge {
    let proxies = Proxies::start(&Options { workers: 2, seed: 1, events: 1000, ..Options::default() }).unwrap();
    let route = proxies.open("p", "127.0.0.1:0", &upstream.address).unwrap();
    let mut rules: Vec<RuleSpec> = serde_json::from_value(rules).unwrap();
    let never = json!({ "name": "never", "fault": "http.abort", "with": { "status": 500 }, "match": { "path": "/no/such/path" } });
    rules.push(serde_json::from_value(never).unwrap());
    route.set_rules(&rules, None).unwrap();
    Edge { proxies, route }
}

impl Edge {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.route.listen()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Everything that comes back until the connection ends.
    fn send(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        // A reset ends it too.
        let _ = stream.read_to_end(&mut got);
        String::from_utf8_lossy(&got).into_owned()
    }
}

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: shop\r\nX-Odd:  kept \r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn what_no_rule_matches_passes_byte_for_byte_in_both_directions() {
    let upstream =
        upstream(&["HTTP/1.1 200 Fine\r\nX-Odd:  kept \r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\n", OK]);
    let edge = edge(&upstream, json!([]));
    let post = "POST /b HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let got = edge.send(&format!("{GET}{post}"));
    assert_eq!(
        got,
        "HTTP/1.1 200 Fine\r\nX-Odd:  kept \r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    );
    assert_eq!(upstream.seen(), format!("{GET}{post}"));
}

#[test]
fn interim_answers_head_and_upgrades_are_understood() {
    const HEAD: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    const UPGRADE: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw bytes, GET / and all";
    let upstream = upstream(&[HEAD, UPGRADE]);
    let edge = edge(&upstream, json!([]));
    let mut client = edge.connect();
    client.write_all(b"HEAD /a HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    let mut got = vec![0; HEAD.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), HEAD);
    client.write_all(b"GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
    let mut got = vec![0; UPGRADE.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), UPGRADE);
    client.write_all(b"\x00\xff not HTTP").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(upstream.seen.lock().unwrap().ends_with(b"\x00\xff not HTTP"));
}

#[test]
fn what_is_ambiguous_is_refused_and_reaches_nobody() {
    let upstream = upstream(&[OK]);
    let edge = edge(&upstream, json!([]));
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let got = edge.send(request);
        assert!(got.starts_with("HTTP/1.1 400 "), "{request:?}: {got:?}");
    }
    assert_eq!(upstream.seen(), "");
}

#[test]
fn an_abort_answers_keeps_the_connection_and_never_asks_the_upstream() {
    let upstream = upstream(&[OK]);
    // Also where the target is in absolute form.
    let absolute = "POST http://shop/pay HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n";
    let rules = json!([{ "name": "no", "fault": "http.abort", "with": { "status": 503, "body": "later" }, "match": { "path": "/pay*", "method": ["POST"], "host": "shop" } }]);
    let edge = edge(&upstream, rules);
    let post = "POST /pay HTTP/1.1\r\nHost: shop\r\nContent-Length: 6\r\n\r\nsecret";
    let got = edge.send(&format!("{post}{GET}{absolute}"));
    let refused = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n\r\nlater";
    assert_eq!(got, format!("{refused}{OK}{refused}"));
    assert_eq!(upstream.seen(), GET);
    let arms = edge.route.arms();
    assert_eq!((arms[0].1.matched, arms[0].1.injected, arms[1].1.matched), (2, 2, 0));
    let decided =
        edge.proxies.events().after(0).into_iter().filter(|e| matches!(&e.what, Happened::Decided { rule, .. } if rule == "no")).count();
    assert_eq!(decided, 2);
}

#[test]
fn requests_and_responses_are_edited() {
    let upstream = upstream(&["HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: x\r\ncontent-length: 7\r\n\r\n{\"a\":1}"]);
    let rules = json!([
        { "fault": "http.headers", "with": { "request": { "set": { "x-odd": "new" } }, "response": { "remove": ["server"], "add": { "x-chaos": "yes" } } } },
        { "fault": "http.query", "with": { "set": { "b": "d" } } },
        { "fault": "http.body", "with": { "merge": { "a": 2, "b": [] } } },
        { "name": "request body", "fault": "http.body", "with": { "of": "request", "replace": "changed" } }
    ]);
    let edge = edge(&upstream, rules);
    let got = edge.send("POST /a?b=c HTTP/1.1\r\nHost: shop\r\nX-Odd: old\r\nAccept-Encoding: gzip\r\nContent-Length: 3\r\n\r\nold");
    assert_eq!(
        got,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-chaos: yes\r\ntransfer-encoding: chunked\r\n\r\ne\r\n{\"a\":2,\"b\":[]}\r\n0\r\n\r\n"
    );
    assert_eq!(upstream.seen(), "POST /a?b=d HTTP/1.1\r\nHost: shop\r\nx-odd: new\r\ncontent-length: 7\r\n\r\nchanged");
}

#[test]
fn a_response_is_delayed_cut_claimed_and_malformed() {
    let upstream = upstream(&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789"]);
    let one = |fault: &str, with: Value| {
        let edge = edge(&upstream, json!([{ "fault": fault, "with": with }]));
        let start = now();
        (edge.send(GET), now() - start)
    };
    let (got, took) = one("http.delay", json!({ "delay": "150ms" }));
    assert!(got.ends_with("0123456789") && took >= Duration::from_millis(150), "{took:?}");
    assert_eq!(one("http.drop", json!({ "after": "4B" })).0, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123");
    assert_eq!(one("http.drop", json!({ "cut": "reset" })).0, "");
    for (cut, kind) in [("reset", Some(std::io::ErrorKind::ConnectionReset)), ("close", None)] {
        let edge = edge(&upstream, json!([{ "fault": "http.drop", "with": { "after": "4B", "cut": cut } }]));
        let mut client = edge.connect();
        client.write_all(GET.as_bytes()).unwrap();
        assert_eq!(client.read_to_end(&mut Vec::new()).err().map(|error| error.kind()), kind, "{cut}");
    }
    assert_eq!(one("http.truncate", json!({ "after": "4B", "proper": true })).0, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n0123");
    let (got, _) = one("http.length", json!({ "by": 5 }));
    assert_eq!(got, "HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n0123456789");
    assert_eq!(one("http.malformed", json!({ "what": "header" })).0, "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n");
    assert!(one("http.encoding", json!({})).0.contains("content-encoding: gzip\r\n"));
    let (got, took) = one("http.slowBody", json!({ "perSecond": "50B" }));
    assert!(got.ends_with("0123456789") && took >= Duration::from_millis(195), "{took:?}");
}

#[test]
fn a_stream_is_broken_through_the_proxy_as_well() {
    let upstream = upstream(&[
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n",
    ]);
    let edge = edge(&upstream, json!([{ "fault": "stream.dropEvent", "with": {} }]));
    let got = edge.send(GET);
    assert!(got.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n") && got.ends_with("0\r\n\r\n"), "{got}");
    assert!(got.matches("data: ").count() < 2, "{got}");
}

#[test]
fn decisions_repeat_and_who_is_sticky_has_one_fate() {
    let upstream = upstream(&[OK]);
    let fates = |rule: Value, request: &dyn Fn(usize) -> String| -> Vec<bool> {
        let edge = edge(&upstream, json!([rule]));
        (0..60).map(|i| edge.send(&request(i)).starts_with("HTTP/1.1 500")).collect()
    };
    let half = json!({ "fault": "http.abort", "with": { "status": 500 }, "percent": "50%" });
    let first = fates(half.clone(), &|_| GET.to_owned());
    assert_eq!(first, fates(half, &|_| GET.to_owned()));
    let hits = first.iter().filter(|hit| **hit).count();
    assert!((20..=40).contains(&hits), "{hits}");
    let sticky = json!({ "fault": "http.abort", "with": { "status": 500 }, "percent": "50%", "sticky": { "header": "x-user" } });
    let users = fates(sticky, &|i| format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {}\r\n\r\n", i % 6));
    assert!((6..60).all(|i| users[i] == users[i % 6]), "{users:?}");
    let twice = json!({ "fault": "http.abort", "with": { "status": 500 }, "attempts": 2 });
    let paths = fates(twice, &|i| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", i % 2));
    assert_eq!(&paths[..6], [true, true, true, true, false, false]);
}

#[test]
fn rules_change_on_a_connection_that_is_open() {
    let upstream = upstream(&[OK]);
    let edge = edge(&upstream, json!([]));
    let mut client = edge.connect();
    let mut ask = || {
        client.write_all(GET.as_bytes()).unwrap();
        let mut got = [0; 12];
        client.read_exact(&mut got).unwrap();
        let mut rest = [0; 4096];
        while !String::from_utf8_lossy(&rest).contains("ok") && !String::from_utf8_lossy(&rest).contains("no!") {
            let _ = client.read(&mut rest).unwrap();
        }
        String::from_utf8_lossy(&got).into_owned()
    };
    assert_eq!(ask(), "HTTP/1.1 200");
    let rule: Vec<RuleSpec> = serde_json::from_value(json!([{ "fault": "http.abort", "with": { "status": 503, "body": "no!" } }])).unwrap();
    edge.route.set_rules(&rule, None).unwrap();
    assert_eq!(ask(), "HTTP/1.1 503");
    edge.route.set_rules(&[], None).unwrap();
    assert_eq!(ask(), "HTTP/1.1 200");
}

fn exchange(client: &mut TcpStream, request: &str, answer: &str) {
    client.write_all(request.as_bytes()).unwrap();
    let mut got = vec![0; answer.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), answer);
}

#[test]
fn connections_that_were_open_before_the_first_rule_follow_from_their_next_request_on() {
    const NO: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 2\r\n\r\nno";
    let upstream = upstream(&[OK]);
    let proxies = Proxies::start(&Options { workers: 2, seed: 1, events: 1000, ..Options::default() }).unwrap();
    let route = proxies.open("p", "127.0.0.1:0", &upstream.address).unwrap();
    let edge = Edge { proxies, route };
    let (mut used, mut unused, mut toxed, mut other) = (edge.connect(), edge.connect(), edge.connect(), edge.connect());
    exchange(&mut used, GET, OK);
    exchange(&mut toxed, GET, OK);
    exchange(&mut other, "\0not HTTP\r\n\r\n", OK);
    // All of them are relayed by now, also the one that has said nothing.
    crate::relay::wait_for("four connections", || edge.route.counters().open == 4);
    edge.route.set_toxics(vec![crate::relay::toxic("latency", Direction::Downstream, json!({ "latency": 20 }))]);
    exchange(&mut toxed, GET, OK);
    let rule = |rules: Value| edge.route.set_rules(&serde_json::from_value::<Vec<RuleSpec>>(rules).unwrap(), None).unwrap();
    rule(json!([{ "name": "no", "fault": "http.abort", "with": { "status": 503, "body": "no" } }]));
    for client in [&mut used, &mut unused, &mut toxed] {
        exchange(client, GET, NO);
        exchange(client, GET, NO);
    }
    // What is no HTTP goes on, and the log says that no rule reaches it.
    exchange(&mut other, "\0nor is this\r\n\r\n", OK);
    assert_eq!(edge.proxies.events().after(0).iter().filter(|event| event.what == Happened::Unread).count(), 1);
    rule(json!([{ "name": "no", "fault": "http.drop", "with": { "cut": "reset" }, "match": { "path": "/cut" } }]));
    exchange(&mut used, GET, OK);
    exchange(&mut used, GET, OK);
    used.write_all(b"GET /cut HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    let end = used.read_to_end(&mut Vec::new()).err().map(|error| error.kind());
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset));
    rule(json!([]));
    exchange(&mut unused, GET, OK);
    exchange(&mut toxed, GET, OK);
}

#[test]
fn a_bulk_transfer_that_the_kernel_moves_goes_on_when_the_first_rule_comes() {
    const SIZE: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = Upstream { address: listener.local_addr().unwrap().to_string(), seen: Arc::default() };
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 65536];
        while let Ok(1..) = stream.read(&mut buffer) {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
            stream.write_all(&vec![7; SIZE]).unwrap();
        }
    });
    let proxies = Proxies::start(&Options { workers: 1, seed: 1, events: 1000, ..Options::default() }).unwrap();
    let route = proxies.open("p", "127.0.0.1:0", &upstream.address).unwrap();
    let edge = Edge { proxies, route };
    let mut client = edge.connect();
    client.write_all(GET.as_bytes()).unwrap();
    let mut head = vec![0; format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").len()];
    client.read_exact(&mut head).unwrap();
    let mut body = vec![0; SIZE];
    let (first, rest) = body.split_at_mut(SIZE / 2);
    client.read_exact(first).unwrap();
    let rule = json!([{ "fault": "http.abort", "with": { "status": 503, "body": "no" } }]);
    edge.route.set_rules(&serde_json::from_value::<Vec<RuleSpec>>(rule).unwrap(), None).unwrap();
    client.read_exact(rest).unwrap();
    assert!(body.iter().all(|byte| *byte == 7));
    client.write_all(GET.as_bytes()).unwrap();
    let mut status = [0; 12];
    client.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 503");
}
