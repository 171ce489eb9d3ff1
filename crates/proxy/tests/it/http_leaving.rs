//! Clients that leave while a rule makes them wait, and clients that only seem to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use squall_proxy::{Happened, Options, Proxies, Route, RuleSpec};
use squall_testkit::eventually;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers each request, and keeps its connections.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(OK);
                }
            });
        }
    });
    address
}

struct Edge {
    proxies: Proxies,
    route: Route,
}

impl Edge {
    /// A proxy that delays every request.
    fn start(listen: &str, delay: &str) -> Self {
        let proxies = Proxies::start(&Options { workers: 1, ..Options::default() }).unwrap();
        let route = proxies.open("p", listen, &upstream()).unwrap();
        let edge = Self { proxies, route };
        edge.set(json!([{ "fault": "http.delay", "with": { "delay": delay } }]));
        edge
    }

    fn set(&self, rules: Value) {
        self.route.set_rules(&serde_json::from_value::<Vec<RuleSpec>>(rules).unwrap(), None).unwrap();
    }

    fn waits(&self, requests: usize) {
        let decided = |what: &Happened| matches!(what, Happened::Decided { fault: Some(_), .. });
        eventually("the delay", || self.proxies.events().after(0).iter().filter(|e| decided(&e.what)).count() == requests);
    }

    /// The connection is given back, and the log says why.
    fn lets_go(&self) {
        eventually("the end of the connection", || self.route.counters().open == 0);
        let last = self.proxies.events().after(0).pop().unwrap();
        let Happened::Closed { because: Some(because), .. } = last.what else { panic!("{last:?}") };
        assert_eq!(because, "the client left while a rule made it wait");
    }
}

#[test]
fn a_reset_ends_an_exchange_that_waits() {
    let edge = Edge::start("127.0.0.1:0", "1h");
    for rule in [
        json!([{ "fault": "http.delay", "with": { "delay": "1h" } }]),
        json!([{ "fault": "http.delay", "with": { "delay": "1h", "at": "response" } }]),
    ] {
        edge.set(rule);
        let before = edge.route.counters().accepted;
        let mut client = TcpStream::connect(edge.route.listen()).unwrap();
        client.write_all(GET).unwrap();
        edge.waits(usize::try_from(before).unwrap() + 1);
        // Bytes that nobody has read yet do not hide it.
        client.write_all(GET).unwrap();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        edge.lets_go();
    }
}

#[test]
fn who_only_finished_sending_gets_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", directory.path().join("p.sock").display());
    // Longer than it takes to look twice whether the client is there.
    let edge = Edge::start("127.0.0.1:0", "2500ms");
    let mut client = TcpStream::connect(edge.route.listen()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(GET).unwrap();
    client.shutdown(Shutdown::Write).unwrap();

    let other = Edge::start(&unix, "2500ms");
    let mut neighbour = UnixStream::connect(directory.path().join("p.sock")).unwrap();
    neighbour.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    neighbour.write_all(GET).unwrap();
    neighbour.shutdown(Shutdown::Write).unwrap();
    for (mut got, edge) in [(Vec::new(), &edge), (Vec::new(), &other)] {
        if edge.route.listen().starts_with("unix:") {
            neighbour.read_to_end(&mut got).unwrap();
        } else {
            client.read_to_end(&mut got).unwrap();
        }
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(OK));
        eventually("the end of the connection", || edge.route.counters().open == 0);
    }
}

#[test]
fn a_unix_socket_that_is_closed_ends_an_exchange_that_waits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.sock");
    let edge = Edge::start(&format!("unix:{}", path.display()), "1h");
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(GET).unwrap();
    edge.waits(1);
    drop(client);
    edge.lets_go();
}

/// Its host forgets a closed socket after 60 seconds; this client asks its own to do so after one.
const CLOSER: &str = "
import socket, sys
host, port = sys.argv[1].rsplit(':', 1)
client = socket.create_connection((host, int(port)))
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
client.sendall(b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')
sys.stdin.read()
client.close()
";

#[test]
fn a_connection_that_was_closed_in_order_ends_an_exchange_that_waits_once_its_host_has_forgotten_it() {
    let edge = Edge::start("127.0.0.1:0", "1h");
    #[expect(clippy::disallowed_methods, reason = "the standard library has no TCP_LINGER2, so the client is a program")]
    let mut client = Command::new("python3").args(["-c", CLOSER, edge.route.listen()]).stdin(Stdio::piped()).spawn().unwrap();
    edge.waits(1);
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());
    edge.lets_go();
}
