//! Messages of HTTP/1 whose end is not where a length says: tunnels, upgrades, bodies up to the end of the connection, interim
//! and early answers, answers without a body. Each through a rule that does not match, and through one that changes the message.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use squall_proxy::{Options, Proxies, Route, RuleSpec};

/// An upstream that does this with each connection.
fn upstream(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A head with its empty line; what was read of one where the connection ends.
fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn rest(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    // A reset ends it too.
    let _ = stream.read_to_end(&mut got);
    String::from_utf8(got).unwrap()
}

fn expect(stream: &mut TcpStream, text: &str) {
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got).unwrap_or_else(|error| panic!("{text:?} did not come: {error}"));
    assert_eq!(String::from_utf8_lossy(&got), text);
}

struct Edge {
    route: Route,
    _proxies: Proxies,
}

impl Edge {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.route.listen()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

fn edge(upstream: &str, rules: Value) -> Edge {
    let proxies = Proxies::start(&Options { workers: 1, seed: 1, ..Options::default() }).unwrap();
    let route = proxies.open("p", "127.0.0.1:0", upstream).unwrap();
    let rules: Vec<RuleSpec> = serde_json::from_value(rules).unwrap();
    route.set_rules(&rules, None).unwrap();
    Edge { route, _proxies: proxies }
}

fn unmatched() -> Value {
    json!([{ "fault": "http.abort", "with": { "status": 500 }, "match": { "path": "/no/such/path" } }])
}

fn edited() -> Value {
    json!([{ "fault": "http.headers", "with": { "response": { "set": { "x-chaos": "yes" } } } }])
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_connect_tunnel_carries_any_bytes_and_a_refused_one_stays_http() {
    let upstream = upstream(|mut stream| {
        while head(&mut stream).starts_with("CONNECT no") {
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\nhello").unwrap();
        let mut copy = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut copy, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    });
    for (rules, field) in [(unmatched(), ""), (edited(), "x-chaos: yes\r\n")] {
        let edge = edge(&upstream, rules);
        let mut client = edge.connect();
        client.write_all(b"CONNECT no:1 HTTP/1.1\r\nHost: no:1\r\n\r\n").unwrap();
        expect(&mut client, &format!("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n{field}\r\nno"));
        // Bytes of the tunnel right behind the request, as of a client that does not wait.
        client.write_all(b"CONNECT db:1 HTTP/1.1\r\nHost: db:1\r\n\r\nGET / HTTP/1.1\r\n\r\n").unwrap();
        expect(&mut client, &format!("HTTP/1.1 200 Connection established\r\n{field}\r\nhelloGET / HTTP/1.1\r\n\r\n"));
        client.write_all(b"\0\x7f\r\n").unwrap();
        expect(&mut client, "\0\x7f\r\n");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client), "", "the end of either side is passed on");
    }
}

#[test]
fn an_upgrade_becomes_a_tunnel_when_it_is_granted_and_only_then() {
    const ASK: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let upstream = upstream(|mut stream| {
        head(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").unwrap();
        let mut copy = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut copy, &mut stream);
    });
    // The last two change what a tunnel does not have: a body, its length, its status.
    let changed = json!([{ "fault": "http.headers", "with": { "status": 500 } }, { "fault": "http.body", "with": { "replace": "x" } }]);
    for (rules, field) in [(unmatched(), ""), (edited(), "x-chaos: yes\r\n"), (changed, "")] {
        let only_upgrade = rules[0]["with"]["status"] == json!(500) && rules[0]["match"].is_null();
        let edge = edge(&upstream, rules);
        let mut client = edge.connect();
        client.write_all(ASK.as_bytes()).unwrap();
        if only_upgrade {
            let head = head(&mut client);
            assert!(head.starts_with("HTTP/1.1 500 Internal Server Error\r\n") && head.contains("chunked"), "{head}");
            expect(&mut client, "1\r\nx\r\n0\r\n\r\n");
        } else {
            expect(&mut client, &format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{field}\r\nok"));
        }
        client.write_all(ASK.as_bytes()).unwrap();
        expect(&mut client, &format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n{field}\r\n"));
        client.write_all(b"\x01raw").unwrap();
        expect(&mut client, "\x01raw");
    }
}

#[test]
fn a_body_up_to_the_end_of_the_connection_arrives_whole_and_ends_it() {
    const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
    let upstream = upstream(|mut stream| {
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n").unwrap();
        for piece in ["one ", "two ", "three"] {
            stream.write_all(piece.as_bytes()).unwrap();
        }
    });
    let body = json!([{ "fault": "http.body", "with": { "text": { "find": "two", "replace": "2" } } }]);
    for (rules, version, expected) in [
        (unmatched(), "1.1", format!("{PLAIN}\r\none two three")),
        (edited(), "1.1", format!("{PLAIN}x-chaos: yes\r\n\r\none two three")),
        // Where a client can take chunks, it need not guess whether the end is one.
        (body.clone(), "1.1", format!("{PLAIN}transfer-encoding: chunked\r\n\r\nb\r\none 2 three\r\n0\r\n\r\n")),
        (body, "1.0", format!("{PLAIN}connection: close\r\n\r\none 2 three")),
    ] {
        let edge = edge(&upstream, rules);
        let mut client = edge.connect();
        // The second request is answered by nobody: where the first answer ends, the connection does.
        client.write_all(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(rest(&mut client), expected);
    }
}

#[test]
fn a_client_that_takes_no_chunks_gets_none_where_the_body_changes() {
    let upstream = upstream(|mut stream| {
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").unwrap();
        rest(&mut stream);
    });
    let edge = edge(&upstream, json!([{ "fault": "http.body", "with": { "text": { "find": "b", "replace": "" } } }]));
    let mut client = edge.connect();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(rest(&mut client), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nac");
}

#[test]
fn a_client_that_waits_to_be_told_to_go_on_is_told_so_before_it_sends_its_body() {
    const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let upstream = upstream(|mut stream| {
        loop {
            let head = head(&mut stream);
            if head.is_empty() {
                return;
            }
            if head.to_ascii_lowercase().contains("expect: 100-continue") {
                stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
            stream.read_exact(&mut [0; 3]).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let body = json!([{ "fault": "http.body", "with": { "of": "request", "text": { "find": "a", "replace": "b" } } }]);
    for (rules, hints, field) in [(unmatched(), HINTS, ""), (edited(), HINTS, "x-chaos: yes\r\n"), (body, "", "")] {
        let edge = edge(&upstream, rules);
        let mut client = edge.connect();
        for _ in 0..2 {
            client.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").unwrap();
            expect(&mut client, &format!("{hints}{GO_ON}"));
            client.write_all(b"abc").unwrap();
            expect(&mut client, &format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{field}\r\nok"));
        }
    }
}

#[test]
fn an_answer_comes_before_the_whole_request_and_the_rest_of_that_is_no_request() {
    const REFUSED: &str = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n";
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let upstream = upstream(move |mut stream| {
        while let first = head(&mut stream)
            && !first.is_empty()
        {
            log.lock().unwrap().push(first);
            if stream.write_all(format!("{REFUSED}\r\nno").as_bytes()).is_err() {
                return;
            }
            // The length of the rest of its body, which a server that keeps its connection passes over.
            let _ = stream.read_exact(&mut vec![0; SMUGGLED.len()]);
        }
    });
    for (rules, field) in [(unmatched(), ""), (edited(), "x-chaos: yes\r\n")] {
        let edge = edge(&upstream, rules);
        let mut client = edge.connect();
        for _ in 0..2 {
            client.write_all(format!("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", SMUGGLED.len()).as_bytes()).unwrap();
            expect(&mut client, &format!("{REFUSED}{field}\r\nno"));
            client.write_all(SMUGGLED.as_bytes()).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client), "");
    }
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 4 && seen.iter().all(|head| head.starts_with("POST /big ")), "{seen:?}");
}

#[test]
fn an_answer_that_can_have_no_body_has_none_whatever_a_rule_makes_of_it() {
    const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\n";
    let upstream = upstream(|mut stream| {
        while let request = head(&mut stream)
            && !request.is_empty()
        {
            let answer = match request.split(' ').nth(1) {
                Some("/none") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/same") => "HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\n\r\n",
                _ if request.starts_with("HEAD") => "HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n",
                _ => OK,
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let abort = |status: u16| json!([{ "fault": "http.abort", "with": { "status": status, "body": "abc" }, "match": { "path": "/a" } }]);
    let status = json!([{ "fault": "http.headers", "with": { "status": 503 } }]);
    let body = json!([{ "fault": "http.body", "with": { "replace": "other" } }]);
    let typed = "content-type: text/plain; charset=utf-8\r\n";
    for (rules, request, expected) in [
        (abort(204), "GET /a", format!("HTTP/1.1 204 No Content\r\n{typed}\r\n")),
        (abort(304), "GET /a", format!("HTTP/1.1 304 Not Modified\r\n{typed}content-length: 3\r\n\r\n")),
        (abort(503), "HEAD /a", format!("{UNAVAILABLE}{typed}content-length: 3\r\n\r\n")),
        (status.clone(), "GET /none", format!("{UNAVAILABLE}content-length: 0\r\n\r\n")),
        (status.clone(), "GET /same", format!("{UNAVAILABLE}content-length: 0\r\n\r\n")),
        (status, "HEAD /b", format!("{UNAVAILABLE}content-length: 77\r\n\r\n")),
        (body.clone(), "GET /none", "HTTP/1.1 204 No Content\r\n\r\n".into()),
        (body.clone(), "GET /same", "HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\n\r\n".into()),
        (body, "HEAD /b", "HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n".into()),
        (edited(), "HEAD /b", "HTTP/1.1 200 OK\r\ncontent-length: 77\r\nx-chaos: yes\r\n\r\n".into()),
    ] {
        let edge = edge(&upstream, rules);
        let mut client = edge.connect();
        // Twice on one connection: what would be too much of the first answer would be the beginning of the second.
        for _ in 0..2 {
            client.write_all(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
            expect(&mut client, &expected);
        }
    }
}

#[test]
fn a_body_too_long_to_be_changed_passes_and_the_other_changes_are_made() {
    const LENGTH: usize = 9 << 20;
    let upstream = upstream(|mut stream| {
        let head = head(&mut stream);
        let mut body = vec![0; LENGTH];
        stream.read_exact(&mut body).unwrap();
        let same = head.contains("x-odd: new\r\n") && body.iter().all(|byte| *byte == b'a');
        stream.write_all(if same { OK.as_bytes() } else { b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" }).unwrap();
    });
    let rules = json!([
        { "fault": "http.headers", "with": { "request": { "set": { "x-odd": "new" } } } },
        { "fault": "http.body", "with": { "of": "request", "replace": "short" } }
    ]);
    let edge = edge(&upstream, rules);
    let mut client = edge.connect();
    client.write_all(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes()).unwrap();
    client.write_all(&vec![b'a'; LENGTH]).unwrap();
    expect(&mut client, OK);
}
