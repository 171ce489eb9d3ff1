//! A server that speaks the providers' formats, and carries out a fault on each answer over HTTP/1.1.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall_proxy::body::{Cut, Step, Steps};
use squall_proxy::stream::{Body, Compiled};

use super::scenario::Scenario;

/// Where the faults' randomness comes from.
pub(crate) const SEED: u64 = 7;

const CHAT: &[u8] = include_bytes!("../../../src/stream/testdata/openai-chat.sse");
const TOOLS: &[u8] = include_bytes!("../../../src/stream/testdata/openai-tools.sse");
const RESPONSES: &[u8] = include_bytes!("../../../src/stream/testdata/openai-responses.sse");
const MESSAGES: &[u8] = include_bytes!("../../../src/stream/testdata/anthropic.sse");
pub(crate) const PLAIN: &[u8] = include_bytes!("../../../src/stream/testdata/plain.sse");

/// How often each scenario was asked for, and from which event on.
type Log = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

pub(crate) struct Carrier {
    address: SocketAddr,
    log: Log,
}

impl Carrier {
    pub(crate) fn start(scenarios: Vec<Scenario>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let carrier = Self { address: listener.local_addr().unwrap(), log: Log::default() };
        let (scenarios, log) = (Arc::new(scenarios), carrier.log.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (scenarios, log) = (scenarios.clone(), log.clone());
                // A client that leaves early is what some scenarios are for.
                std::thread::spawn(move || serve(stream, &scenarios, &log).ok());
            }
        });
        carrier
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often a scenario was asked for.
    pub(crate) fn requests(&self, scenario: &str) -> usize {
        self.log.lock().unwrap().get(scenario).map_or(0, Vec::len)
    }

    /// The `last-event-id` of each request; empty where there was none.
    pub(crate) fn last_event_ids(&self, scenario: &str) -> Vec<String> {
        self.log.lock().unwrap().get(scenario).cloned().unwrap_or_default()
    }
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

fn serve(mut stream: TcpStream, scenarios: &[Scenario], log: &Log) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let request = request(&mut stream)?;
    let (name, path) = request.path[1..].split_once('/').unwrap();
    let scenario = scenarios.iter().find(|scenario| scenario.name == name).unwrap();
    log.lock().unwrap().entry(name.to_owned()).or_default().push(request.last_event_id);
    let body = match path {
        "v1/chat/completions" if scenario.fault.as_ref().is_some_and(|(kind, _)| *kind == "stream.malformedToolCall") => TOOLS,
        "v1/chat/completions" => CHAT,
        "v1/responses" => RESPONSES,
        "v1/messages" => MESSAGES,
        "events" => PLAIN,
        other => panic!("nobody answers {other}"),
    };
    let mut out = Steps::default();
    match scenario.compiled() {
        None => out.send(body),
        Some(Compiled::Answer(settings)) => {
            let answer = settings.answer(&request.path, SEED);
            let mut head = format!("HTTP/1.1 {} Refused\r\nconnection: close\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
            for (name, value) in answer.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(head.as_bytes())?;
            stream.write_all(b"\r\n")?;
            return stream.write_all(&answer.body);
        }
        Some(Compiled::Body(settings)) => {
            let mut fault = settings.fault(&Body { content_type: "text/event-stream", content_encoding: "", seed: SEED }).unwrap();
            fault.piece(body.into(), &mut out);
            fault.end(&mut out);
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")?;
    carry_out(stream, out)
}

fn carry_out(mut stream: TcpStream, mut out: Steps) -> std::io::Result<()> {
    while let Some(step) = out.next() {
        match step {
            Step::Send(bytes) => {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(&bytes);
                chunk.extend_from_slice(b"\r\n");
                stream.write_all(&chunk)?;
            }
            Step::Wait(time) => {
                // Until the time is over or the client leaves.
                stream.set_read_timeout(Some(time.max(Duration::from_nanos(1))))?;
                if matches!(stream.read(&mut [0; 16]), Ok(0)) {
                    return Ok(());
                }
            }
            Step::Hang => {
                stream.set_read_timeout(None)?;
                stream.read(&mut [0; 16])?;
                return Ok(());
            }
            Step::Cut(Cut::Close) => return stream.shutdown(Shutdown::Both),
            Step::Cut(Cut::Reset) => {
                return socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            Step::Finish => break,
        }
    }
    stream.write_all(b"0\r\n\r\n")
}
