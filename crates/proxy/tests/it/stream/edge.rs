//! A server that speaks the providers' formats, and the proxy in front of it with a rule for each scenario.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;
use squall_proxy::{Happened, Options, Proxies, Route, RuleSpec};

use super::scenario::Scenario;

const CHAT: &[u8] = include_bytes!("../../../src/stream/testdata/openai-chat.sse");
const TOOLS: &[u8] = include_bytes!("../../../src/stream/testdata/openai-tools.sse");
const RESPONSES: &[u8] = include_bytes!("../../../src/stream/testdata/openai-responses.sse");
const MESSAGES: &[u8] = include_bytes!("../../../src/stream/testdata/anthropic.sse");
pub(crate) const PLAIN: &[u8] = include_bytes!("../../../src/stream/testdata/plain.sse");

const ORDERS: &[u8] = include_bytes!("../../../src/data/testdata/orders.json");

/// The `last-event-id` of each request that came through, by scenario; empty where there was none.
type Log = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

pub(crate) struct Edge {
    log: Log,
    route: Route,
    proxies: Proxies,
}

impl Edge {
    pub(crate) fn start(scenarios: &[Scenario]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        let log = Log::default();
        let known = log.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = known.clone();
                // A client that leaves early is what some scenarios are for.
                std::thread::spawn(move || serve(stream, &log).ok());
            }
        });
        let proxies = Proxies::start(&Options::default()).unwrap();
        let route = proxies.open("model", "127.0.0.1:0", &upstream).unwrap();
        let rules: Vec<RuleSpec> = scenarios.iter().filter_map(rule).collect();
        route.set_rules(&rules, None).unwrap();
        Self { log, route, proxies }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.route.listen())
    }

    /// How many requests the rule of a scenario hit.
    pub(crate) fn hits(&self, scenario: &str) -> usize {
        let hit = |what: &Happened| matches!(what, Happened::Decided { rule, fault: Some(_), .. } if rule == scenario);
        self.proxies.events().after(0).iter().filter(|event| hit(&event.what)).count()
    }

    /// The `last-event-id` of each request that came through; empty where there was none.
    pub(crate) fn last_event_ids(&self, scenario: &str) -> Vec<String> {
        self.log.lock().unwrap().get(scenario).cloned().unwrap_or_default()
    }
}

fn rule(scenario: &Scenario) -> Option<RuleSpec> {
    let (fault, with) = scenario.fault.as_ref()?;
    let path = format!("/{}/*", scenario.name);
    Some(serde_json::from_value(json!({"name": scenario.name, "fault": fault, "with": with, "match": {"path": path}})).unwrap())
}

struct Request {
    path: String,
    last_event_id: String,
}

/// Reads a request with its body.
fn request(stream: &mut TcpStream) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(end) = head.parse(&bytes).unwrap() {
            let field = |name: &str| {
                let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
                field.map(|field| String::from_utf8_lossy(field.value).into_owned())
            };
            let length: usize = field("content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + length {
                return Ok(Request { path: head.path.unwrap().into(), last_event_id: field("last-event-id").unwrap_or_default() });
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(&piece[..length]),
        }
    }
}

/// Answers with a stream, a chunk of a few bytes after the other, or with JSON, and closes.
fn serve(mut stream: TcpStream, log: &Log) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let request = request(&mut stream)?;
    let (name, path) = request.path[1..].split_once('/').unwrap();
    if path == "orders" {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        stream.write_all(format!("{head}content-length: {}\r\n\r\n", ORDERS.len()).as_bytes())?;
        return stream.write_all(ORDERS);
    }
    let body = match path {
        "v1/chat/completions" if name.ends_with("Call") || name == "unknownTool" => TOOLS,
        "v1/chat/completions" => CHAT,
        "v1/responses" => RESPONSES,
        "v1/messages" => MESSAGES,
        "events" => PLAIN,
        other => panic!("nobody answers {other}"),
    };
    log.lock().unwrap().entry(name.to_owned()).or_default().push(request.last_event_id);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for piece in body.chunks(333) {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk)?;
    }
    stream.write_all(b"0\r\n\r\n")
}
