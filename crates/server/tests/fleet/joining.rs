//! Joining, trust, the red button, and what strangers send.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use squall_model::RunId;
use squall_testkit::{Victim, eventually};

use crate::process::{Process, here};

/// A server on a port of this host's loopback, and a place for agents.
struct Place {
    scratch: tempfile::TempDir,
    server: Process,
    url: String,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let scratch = tempfile::Builder::new().prefix("squall-joining-").tempdir().expect("a directory");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let (url, listen) = (format!("https://127.0.0.1:{port}"), format!("127.0.0.1:{port}"));
        let state = scratch.path().join("server").to_string_lossy().into_owned();
        let server = Process::start(here(), &["serve", "--state", &state, "--listen", &listen, "--url", &url]);
        server.said();
        Self { scratch, server, url, port }
    }

    fn token(&mut self) -> String {
        self.server.call(json!({ "do": "token" }))["token"].as_str().expect("a token").to_owned()
    }

    /// An agent whose state is in a directory of this name, and what it says first.
    fn agent(&self, url: &str, directory: &str, name: &str, token: &str) -> (Process, Value) {
        let state = self.scratch.path().join(directory).to_string_lossy().into_owned();
        let mut args = vec!["agent", "--server", url, "--name", name, "--state", &state];
        if !token.is_empty() {
            args.extend(["--join", token]);
        }
        let agent = Process::start(here(), &args);
        let said = agent.said();
        (agent, said)
    }

    fn linked(&mut self, count: u64) {
        let server = std::sync::Mutex::new(&mut self.server);
        eventually("so many are linked", || server.lock().expect("free").call(json!({ "do": "connected" }))["connected"] == json!(count));
    }
}

pub fn join_and_refuse() {
    let (mut own, mut other) = (Place::new(), Place::new());
    let token = own.token();
    // A token says which server it is of: nobody else gets to see it.
    let (_, said) = own.agent(&other.url, "a", "web-1", &token);
    assert!(said["error"].as_str().is_some_and(|error| error.contains("another server than the token's")), "{said}");
    let (first, said) = own.agent(&own.url, "a", "web-1", &token);
    assert_eq!(said, json!({ "ready": "web-1" }));
    own.linked(1);
    let identity = own.scratch.path().join("a/agent/identity.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&identity).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Used up; and the name is taken.
    let (_, said) = own.agent(&own.url, "b", "web-2", &token);
    assert!(said["error"].as_str().is_some_and(|error| error.contains("used up")), "{said}");
    let again = own.token();
    let (_, said) = own.agent(&own.url, "b", "web-1", &again);
    assert!(said["error"].as_str().is_some_and(|error| error.contains("has joined already")), "{said}");
    // It comes back by its certificate alone; another server has nothing to say to it, and hears nothing of it.
    drop(first);
    own.linked(0);
    let (stray, said) = own.agent(&other.url, "a", "web-1", "");
    assert_eq!(said, json!({ "ready": "web-1" }));
    own.linked(1);
    assert_eq!(other.server.call(json!({ "do": "connected" }))["connected"], json!(0));
    // Forgotten, its certificate is good for nothing.
    own.server.call(json!({ "do": "forget", "host": "web-1" }));
    own.linked(0);
    drop(stray);
    let (_gone, _) = own.agent(&own.url, "a", "web-1", "");
    std::thread::sleep(Duration::from_secs(1));
    own.linked(0);
}

pub fn red_button() {
    let mut place = Place::new();
    let token = place.token();
    let (_agent, _) = place.agent(&place.url, "a", "web-1", &token);
    place.linked(1);
    let victim = Victim::sleeper();
    let run = |number: u64| RunId::new(1_700_000_000_000 + u64::from(std::process::id()) * 1000 + number, 1);
    let inject = |number: u64| json!({ "do": "inject", "host": "web-1", "run": run(number), "process": victim.name(), "leaseMs": 10_000 });
    let said = place.server.call(inject(1));
    assert!(said["answer"]["done"].is_object(), "{said}");
    assert_eq!(victim.state(), Some('T'));
    // The same again is the same, and no second injection.
    assert!(place.server.call(inject(1))["answer"]["done"].is_object());
    let stopped = place.server.call(json!({ "do": "stop", "block": true }));
    assert_eq!((&stopped["reverted"], &stopped["failed"]), (&json!(1), &json!([])), "{stopped}");
    assert!(stopped["tookUs"].as_u64().is_some_and(|took| took < 1_000_000), "{stopped}");
    assert_ne!(victim.state(), Some('T'));
    let refused = |said: &Value, why: &str| assert!(said["error"].as_str().is_some_and(|error| error.contains(why)), "{said}");
    refused(&place.server.call(inject(1)), "put back");
    refused(&place.server.call(inject(2)), "stop file");
    place.server.call(json!({ "do": "unblock", "host": "web-1" }));
    assert!(place.server.call(inject(3))["answer"]["done"].is_object());
    // A run that no beat names any more is put back.
    place.server.call(json!({ "do": "leave", "run": run(3) }));
    eventually("it runs again", || victim.state() != Some('T'));
}

pub fn malformed() {
    let mut place = Place::new();
    let token = place.token();
    let (_agent, _) = place.agent(&place.url, "a", "web-1", &token);
    place.linked(1);
    for number in 0_u32..300 {
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", place.port)) else { continue };
        let garbage: Vec<u8> = (0..number * 7 % 1500).map(|at| at.wrapping_mul(number).to_le_bytes()[1]).collect();
        let head: &[u8] = match number % 3 {
            0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _ => b"GET /agent/v1/link HTTP/1.1\r\n\r\n",
        };
        let _ = stream.write_all(head).and_then(|()| stream.write_all(&garbage));
    }
    place.linked(1);
}
