//! Large bodies through HTTP/1 in both directions, by length and by chunks, past a rule that does not match and through one that
//! changes the head: every byte arrives, and the process needs no more memory than for small ones.
//!
//! 64 MiB each by default. `SQUALL_PROXY_BODY_MIB=1024 cargo nextest run -p squall-proxy http_bodies` takes 1 GiB
//! each. The bound is the same, as memory must not depend on the length.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use squall_proxy::{Options, Proxies, RuleSpec};

/// What the peak of the process's resident memory may grow by while bodies pass, in KiB: buffers of 64 KiB at both ends and
/// within, and what the allocator keeps of them.
const GROWTH: u64 = 4 << 10;

fn length() -> u64 {
    std::env::var("SQUALL_PROXY_BODY_MIB").ok().map_or(64, |text| text.parse::<u64>().unwrap()) << 20
}

/// The bytes of every body, over and over. The length is a prime, so that no buffer's size hides a piece that is lost.
fn pattern() -> Vec<u8> {
    (0..65_521_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Length,
    Chunked,
}

impl Coding {
    fn field(self, length: u64) -> String {
        match self {
            Self::Length => format!("Content-Length: {length}"),
            Self::Chunked => "Transfer-Encoding: chunked".into(),
        }
    }
}

fn send(stream: &mut impl Write, coding: Coding, length: u64) -> std::io::Result<()> {
    let pattern = pattern();
    let mut left = length;
    while left > 0 {
        let piece = &pattern[..usize::try_from(left).unwrap_or(usize::MAX).min(pattern.len())];
        left -= piece.len() as u64;
        if coding == Coding::Chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
        }
        stream.write_all(piece)?;
        if coding == Coding::Chunked {
            stream.write_all(b"\r\n")?;
        }
    }
    if coding == Coding::Chunked { stream.write_all(b"0\r\n\r\n") } else { Ok(()) }
}

/// Takes this many bytes of a body that has passed `at` of them.
fn take(stream: &mut impl BufRead, pattern: &[u8], at: &mut u64, mut count: u64) {
    while count > 0 {
        let place = usize::try_from(*at % pattern.len() as u64).unwrap();
        let got = stream.fill_buf().unwrap();
        assert!(!got.is_empty(), "it ends after {at} bytes");
        let piece = got.len().min(pattern.len() - place).min(usize::try_from(count).unwrap_or(usize::MAX));
        assert!(got[..piece] == pattern[place..place + piece], "it is another at about {at}");
        stream.consume(piece);
        *at += piece as u64;
        count -= piece as u64;
    }
}

fn line(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_ascii_lowercase()
}

/// The lines of a head; none where the connection has ended.
fn head(stream: &mut impl BufRead) -> Vec<String> {
    std::iter::repeat_with(|| line(stream)).take_while(|line| !line.is_empty()).collect()
}

/// Reads a body as its head says, and compares it. How long it is.
fn receive(stream: &mut impl BufRead, head: &[String]) -> u64 {
    let (pattern, mut at) = (pattern(), 0);
    if let Some(length) = head.iter().find_map(|line| line.strip_prefix("content-length: ")) {
        take(stream, &pattern, &mut at, length.parse().unwrap());
    } else if head.iter().any(|line| line == "transfer-encoding: chunked") {
        loop {
            let size = u64::from_str_radix(&line(stream), 16).unwrap();
            take(stream, &pattern, &mut at, size);
            assert_eq!(line(stream), "");
            if size == 0 {
                break;
            }
        }
    }
    at
}

/// Takes what it is sent and says how long it was; or sends as much as it is asked for.
fn serve(stream: TcpStream) {
    let mut reader = BufReader::with_capacity(64 << 10, stream.try_clone().unwrap());
    let mut writer = stream;
    while let head = head(&mut reader)
        && !head.is_empty()
    {
        let got = receive(&mut reader, &head);
        let path = head[0].split(' ').nth(1).unwrap();
        let (coding, length) = match path.rsplit_once('/').unwrap() {
            ("/length", length) => (Coding::Length, length.parse().unwrap()),
            ("/chunked", length) => (Coding::Chunked, length.parse().unwrap()),
            _ => (Coding::Length, 0),
        };
        writer.write_all(format!("HTTP/1.1 200 OK\r\nX-Got: {got}\r\n{}\r\n\r\n", coding.field(length)).as_bytes()).unwrap();
        send(&mut writer, coding, length).unwrap();
    }
}

struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Client {
    fn new(address: &str) -> Self {
        let writer = TcpStream::connect(address).unwrap();
        writer.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self { reader: BufReader::with_capacity(64 << 10, writer.try_clone().unwrap()), writer }
    }

    fn upload(&mut self, coding: Coding, length: u64, field: &str) {
        self.writer.write_all(format!("PUT /take/0 HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", coding.field(length)).as_bytes()).unwrap();
        send(&mut self.writer, coding, length).unwrap();
        let head = head(&mut self.reader);
        assert!(head.contains(&format!("x-got: {length}")) && head.iter().any(|line| line.starts_with(field)), "{head:?}");
        assert_eq!(receive(&mut self.reader, &head), 0);
    }

    fn download(&mut self, coding: Coding, length: u64, field: &str) {
        let path = if coding == Coding::Length { "/length" } else { "/chunked" };
        self.writer.write_all(format!("GET {path}/{length} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let head = head(&mut self.reader);
        assert!(head.iter().any(|line| line.starts_with(field)), "{head:?}");
        assert_eq!(receive(&mut self.reader, &head), length);
    }
}

/// The most resident memory that the process had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The test runner gives each test a process of its own, in which nothing else takes memory. Client and upstream share it, and
/// keep no more than a buffer each.
fn pass(rules: Value, field: &str) {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap().to_string();
    thread::spawn(move || upstream.incoming().flatten().for_each(|stream| drop(thread::spawn(|| serve(stream)))));
    let proxies = Proxies::start(&Options { workers: 2, seed: 1, ..Options::default() }).unwrap();
    let route = proxies.open("p", "127.0.0.1:0", &address).unwrap();
    route.set_rules(&serde_json::from_value::<Vec<RuleSpec>>(rules).unwrap(), None).unwrap();
    let mut client = Client::new(route.listen());
    let mut all = |length: u64| {
        for coding in [Coding::Length, Coding::Chunked] {
            client.upload(coding, length, field);
            client.download(coding, length, field);
        }
    };
    // Every buffer has its size, and every page of the program that it takes is there.
    all(1 << 20);
    let (before, length) = (peak(), length());
    all(length);
    let growth = peak() - before;
    assert!(growth <= GROWTH, "bodies of {length} bytes took {growth} KiB more than those of 1 MiB");
}

#[test]
fn bodies_of_any_length_pass_in_constant_memory_beside_a_rule() {
    pass(json!([{ "fault": "http.abort", "with": { "status": 500 }, "match": { "path": "/no/such/path" } }]), "x-got: ");
}

#[test]
fn bodies_of_any_length_pass_in_constant_memory_through_a_rule_on_heads() {
    let edit = json!({ "request": { "set": { "x-chaos": "yes" } }, "response": { "set": { "x-chaos": "yes" } } });
    pass(json!([{ "fault": "http.headers", "with": edit }]), "x-chaos: yes");
}

#[test]
fn bodies_of_any_length_pass_in_constant_memory_through_faults_on_bodies() {
    // Each leaves bytes of this type as they are.
    pass(
        json!([
            { "fault": "http.truncate", "with": { "after": "1TB" } },
            { "fault": "data.missing", "with": { "fields": ["/a"] } },
            { "fault": "stream.stall", "with": { "after": 3 } }
        ]),
        "x-got: ",
    );
}
