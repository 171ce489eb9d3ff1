//! Any bytes as what a client says on a connection of HTTP/1, through the proxy, to an upstream that is good: nobody is ever out
//! of step. Each answer belongs to its request, the upstream sees the requests that the client made, in order and well formed,
//! and never one that a rule answers.
//!
//! An input is six bytes (which rules, which two answers, where the client's bytes are cut, how much fits in between, at which
//! point the upstream answers) and what the client says.
#![no_main]

mod cuts;

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::Duration;

use cuts::Cuts;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use squall_proxy::RuleSpec;
use squall_proxy::fuzzing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

static RULES: LazyLock<Vec<Vec<RuleSpec>>> = LazyLock::new(|| {
    let blocked = json!({"name": "blocked", "fault": "http.abort", "with": {"status": 418, "body": "no"}, "match": {"path": "/blocked*"}});
    let more = [
        json!([]),
        json!([{"fault": "http.headers", "with": {"request": {"set": {"x-a": "b"}}, "response": {"set": {"x-c": "d"}, "remove": ["x-gone"]}}}]),
        json!([{"fault": "http.headers", "with": {"status": 503}}]),
        json!([{"fault": "http.body", "with": {"replace": "another body"}}]),
        json!([{"fault": "http.body", "with": {"of": "request", "text": {"find": "[a-m]", "replace": "$0$0"}}}]),
        json!([{"fault": "http.truncate", "with": {"after": "3B", "proper": true}}, {"fault": "http.query", "with": {"set": {"q": "1"}}}]),
        json!([{"fault": "http.abort", "with": {"status": 418}, "match": {"body": {"/a": 1}}}]),
    ];
    let with_blocked = more.into_iter().map(|mut rules| {
        rules.as_array_mut().expect("a list").insert(0, blocked.clone());
        serde_json::from_value(rules).expect("rules")
    });
    with_blocked.collect()
});

/// How the upstream answers.
const ANSWERS: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nX-Gone: 1\r\nX-Target: @\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Target: @\r\n\r\n3;x=y\r\nabc\r\nA\r\nHTTP/1.1 4\r\n0\r\nTrailer: t\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nX-Target: @\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nX-Target: @\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nX-Target: @\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-Target: @\r\n\r\nup to the end",
    "HTTP/1.1 200 OK\r\nX-Target: @\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0 200 OK\r\nX-Target: @\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nX-Target: @\r\nContent-Length: 40000\r\n\r\n#",
];

/// A message as this target reads it, which is with `httparse`.
struct Message {
    method: String,
    target: String,
    status: u16,
    x_target: Option<String>,
    /// Where its head ends, and its body. None where the body's end is not there, or nowhere.
    head: usize,
    end: Option<usize>,
    until_close: bool,
    closes: bool,
}

/// What stands at the start of these bytes.
enum Found {
    Message(Message),
    More,
    Wrong,
}

/// Reads the message at the start of these bytes: a request, or the answer to one with this method. `given`: the proxy has passed
/// them on.
fn message(bytes: &[u8], asked: Option<&str>, given: bool) -> Found {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut message = Message {
        method: String::new(),
        target: String::new(),
        status: 0,
        x_target: None,
        head: 0,
        end: None,
        until_close: false,
        closes: false,
    };
    let (parsed, fields) = if asked.is_some() {
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(bytes);
        message.status = response.code.unwrap_or_default();
        message.closes = response.version == Some(0);
        (parsed, response.headers)
    } else {
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(bytes);
        message.method = request.method.unwrap_or_default().to_owned();
        message.target = request.path.unwrap_or_default().to_owned();
        message.closes = request.version == Some(0);
        (parsed, request.headers)
    };
    match parsed {
        Ok(httparse::Status::Complete(size)) => message.head = size,
        Ok(httparse::Status::Partial) => return Found::More,
        Err(_) => return Found::Wrong,
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let (mut length, mut chunked) = (None, false);
    for field in fields.iter() {
        match field.name.to_ascii_lowercase().as_str() {
            "content-length" => length = text(field.value).parse::<u64>().ok(),
            "transfer-encoding" => chunked = true,
            "x-target" => message.x_target = Some(text(field.value)),
            "connection" => message.closes |= text(field.value).to_ascii_lowercase().contains("close"),
            _ => {}
        }
    }
    let none = asked == Some("HEAD") || matches!(message.status, 100..=199 | 204 | 304);
    let rest = &bytes[message.head..];
    let body = match (none, chunked, length) {
        (true, ..) => Some(0),
        // A body that breaks has no end. Its head may have been answered.
        (_, true, _) => unchunked(rest).unwrap_or_else(|()| {
            assert!(!given, "the upstream, or the client, is given a body that is none");
            None
        }),
        (_, _, Some(length)) => usize::try_from(length).ok().filter(|length| *length <= rest.len()),
        _ if asked.is_some() => {
            message.until_close = true;
            Some(rest.len())
        }
        _ => Some(0),
    };
    message.end = body.map(|body| message.head + body);
    Found::Message(message)
}

/// How many bytes a chunked body takes; none where it is not all here.
fn unchunked(bytes: &[u8]) -> Result<Option<usize>, ()> {
    let mut at = 0;
    loop {
        match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((line, 0))) => {
                at += line;
                break;
            }
            Ok(httparse::Status::Complete((line, size))) => {
                let data = usize::try_from(size).ok().and_then(|size| (at + line).checked_add(size)).ok_or(())?;
                match bytes.get(data..) {
                    None | Some([] | [b'\r']) => return Ok(None),
                    Some([b'\r', b'\n', ..]) => at = data + 2,
                    Some(_) => return Err(()),
                }
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        }
    }
    // Trailers, up to an empty line.
    loop {
        let Some(length) = bytes[at..].windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        at += length + 2;
        if length == 0 {
            return Ok(Some(at));
        }
    }
}

/// An upstream that passes over what is right and answers it. What is wrong never comes.
async fn upstream(mut stream: DuplexStream, answers: [&'static str; 2], early: bool) -> Vec<String> {
    let (mut bytes, mut seen, mut answered) = (Vec::new(), Vec::new(), false);
    loop {
        let found = message(&bytes, None, true);
        if let Found::Wrong = found {
            panic!("the upstream is given what is none: {:?}", String::from_utf8_lossy(&bytes));
        }
        if let Found::Message(request) = found {
            if !answered && (early || request.end.is_some()) {
                assert!(!is_blocked(&request.target), "the upstream was asked for what is blocked");
                assert_ne!(request.method, "", "a request");
                answered = true;
                seen.push(request.target.clone());
                let answer = answers[seen.len() % 2];
                if !answer_to(&mut stream, &request, answer).await || answer.contains("Connection: close") || answer.ends_with("the end") {
                    return seen;
                }
            }
            if let Some(end) = request.end {
                bytes.drain(..end);
                answered = false;
                continue;
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ => return seen,
        }
    }
}

async fn answer_to(stream: &mut DuplexStream, request: &Message, answer: &str) -> bool {
    let target = request.target.replace(['\r', '\n'], "");
    let answer = answer.replace('#', &"x".repeat(40_000)).replace('@', &target);
    if request.method == "CONNECT" {
        return stream.write_all(format!("HTTP/1.1 403 No\r\nX-Target: {target}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.is_ok();
    }
    let answer = if request.method == "HEAD" { head_of(&answer) } else { &answer };
    stream.write_all(answer.as_bytes()).await.is_ok()
}

/// All heads of an answer, without its body.
fn head_of(answer: &str) -> &str {
    let target = answer.find("X-Target").unwrap_or_default();
    let end = answer[target..].find("\r\n\r\n").map_or(answer.len(), |end| target + end + 4);
    &answer[..end]
}

/// Whether the first rule is for this target, in whichever form.
fn is_blocked(target: &str) -> bool {
    let scheme = target.find("://").filter(|at| target[..*at].bytes().all(|byte| byte.is_ascii_alphabetic()));
    let path = scheme.map_or(target, |at| {
        let rest = &target[at + 3..];
        rest.find(['/', '?']).map_or("/", |slash| &rest[slash..])
    });
    path.split('?').next().is_some_and(|path| path.starts_with("/blocked"))
}

fuzz_target!(|input: &[u8]| {
    let [rules, one, other, cuts, room, early, said @ ..] = input else { return };
    if said.starts_with(b"PRI * HTTP/2.0") {
        return;
    }
    let rules_of = &RULES[usize::from(*rules) % RULES.len()];
    let answers = [*one, *other].map(|index| ANSWERS[usize::from(index) % ANSWERS.len()]);
    let room = [16, 64, 1000, 64 << 10][usize::from(*room) % 4];
    thread_local! {
        static RUNTIME: RefCell<tokio::runtime::Runtime> =
            RefCell::new(tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));
    }
    let (got, seen) = RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let ((client, near), (far, server)) = (duplex(room), duplex(room));
            let (mut reader, mut writer) = tokio::io::split(client);
            let write = async {
                let mut start = 0;
                for end in Cuts::of(said.len(), *cuts) {
                    if writer.write_all(&said[start..end]).await.is_err() {
                        return;
                    }
                    start = end;
                    if cuts % 2 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                // The proxy may have ended it.
                let _ = writer.shutdown().await;
            };
            let read = async {
                let mut got = Vec::new();
                // What came until then counts.
                let _ = reader.read_to_end(&mut got).await;
                got
            };
            let serve = async { fuzzing::session(rules_of, near, far).await.expect("rules that are good") };
            let all = async { tokio::join!(write, read, serve, upstream(server, answers, early % 2 == 1)) };
            let ((), got, (), seen) = tokio::time::timeout(Duration::from_secs(5), all).await.expect("an end");
            (got, seen)
        })
    });
    in_step(said, &got, &seen);
});

/// Each answer belongs to its request, and the upstream was asked what the client asked.
fn in_step(mut said: &[u8], mut got: &[u8], seen: &[String]) {
    let mut asked = seen.iter();
    while !got.is_empty() {
        while let Some(rest) = said.strip_prefix(b"\r\n") {
            said = rest;
        }
        let request = match message(said, None, false) {
            Found::Message(request) => request,
            // Nobody said that it is one but the proxy, which may only refuse it.
            Found::More | Found::Wrong => return refused(got, seen, asked.len()),
        };
        let (response, interim) = loop {
            match message(got, Some(&request.method), true) {
                Found::Message(response) if matches!(response.status, 100..=199) => got = &got[response.head..],
                Found::Message(response) => break (Some(response), false),
                Found::More => break (None, true),
                Found::Wrong => panic!("the client is given what is none: {:?}", String::from_utf8_lossy(got)),
            }
        };
        let Some(response) = response else {
            assert!(interim);
            break;
        };
        match (response.status, &response.x_target) {
            (400, None) => return refused(got, seen, asked.len()),
            (418, None) => {}
            (_, Some(target)) => {
                // A rule may have changed the query.
                let path = |target: &str| target.split('?').next().unwrap_or_default().to_owned();
                assert!(
                    path(target).contains(path(&request.target).as_str()) || request.target.contains("://"),
                    "{target} answers {}",
                    request.target
                );
                let upstream = asked.next().expect("the upstream was asked");
                assert_eq!(upstream, target, "the answer to another request");
            }
            (status, None) => panic!("an answer from nowhere: {status}"),
        }
        let Some(end) = response.end else {
            // Cut short: nothing can follow.
            break;
        };
        got = &got[end..];
        if response.closes || request.closes || response.until_close {
            assert!(got.is_empty(), "more behind the last answer");
        }
        match request.end {
            Some(end) => said = &said[end..],
            None => {
                assert!(got.is_empty(), "an answer to the rest of a request");
                break;
            }
        }
    }
    assert!(asked.len() <= 1, "requests that nobody made");
}

/// The last that comes is a refusal; of what was refused the upstream has heard nothing.
fn refused(got: &[u8], seen: &[String], unanswered: usize) {
    assert!(got.starts_with(b"HTTP/1.1 400 Bad Request\r\n"), "accepted: {:?}", String::from_utf8_lossy(got));
    let Found::Message(response) = message(got, Some("GET"), true) else { panic!("a whole answer") };
    assert_eq!(response.end, Some(got.len()), "more behind a refusal");
    assert_eq!(unanswered, 0, "the upstream heard of it: {seen:?}");
}
