//! Who may ask, what is refused, and in which words.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::{Value, json};

use super::field::{Answer, Field, ask, get_page};

fn is_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
    assert_eq!(answer.body["status"], json!(status), "{answer:?}");
    let hints = answer.body["errors"].as_array().into_iter().flatten().filter(|error| error["hint"].is_string()).count();
    assert!(answer.body["hint"].is_string() || hints > 0 || status == 413, "it says what to do: {answer:?}");
}

#[test]
fn what_cannot_be_meant_is_refused_as_a_problem_that_says_what_to_write() {
    let field = Field::new();
    let agent = field.agent(&["--deny", "cpu.load", "--longest", "5m"]);
    for (body, status) in [
        (r#"{"target""#, 400),
        (r#"{"latencyMs": 5}"#, 422),
        (r#"{"target": "checkout", "latency": 5}"#, 422),
        (r#"{"target": "checkout", "latencyMs": "fast"}"#, 422),
        (r#"{"target": "checkout"}"#, 422),
        (r#"{"target": "checkout", "failureRate": 7}"#, 422),
        (r#"{"target": "checkout", "latencyMs": 5, "path": "cart"}"#, 422),
        (r#"{"target": "checkout", "latencyMs": 5, "duration": "6m"}"#, 422),
        (r#"{"target": "no-such-process-runs-here", "memoryStress": 5}"#, 422),
        (r#"{"target": "x", "memoryStress": 5, "process": {"nam": "y"}}"#, 422),
    ] {
        is_problem(&agent.ask("POST", "/faults", body), status);
    }
    let denied = agent.set(&json!({ "target": "host", "cpuStress": 5 }));
    assert!(denied.status == 422 && denied.body["detail"] == json!("`cpu.load` is not allowed here"), "{denied:?}");
    is_problem(&agent.ask("GET", "/nowhere", ""), 404);
    is_problem(&agent.ask("PUT", "/faults", ""), 405);
    is_problem(&agent.ask("GET", "/faults?tarjet=x", ""), 400);
    is_problem(&agent.ask("POST", "/faults", &"x".repeat(70_000)), 413);
    assert_eq!((field.faults().len(), field.runs()), (0, 0));
    let deleted = agent.ask("DELETE", "/faults?target=nobody", "");
    assert_eq!((deleted.status, &deleted.body["reverted"]), (200, &json!([])), "ended already is as good");
}

#[test]
fn outside_of_its_windows_nothing_is_set() {
    let field = Field::new();
    let (agent, service) = (field.agent(&["--closed", "the year-end freeze"]), field.service("checkout"));
    let refused = agent.set(&json!({ "target": "checkout", "failureRate": 1 }));
    assert!(refused.status == 422 && refused.body["detail"] == json!("the year-end freeze"), "{refused:?}");
    assert_eq!(get_page(&service, "/cart").0, 200);
}

#[test]
fn tcp_asks_for_the_token_of_the_file_that_only_its_owner_can_read() {
    let field = Field::new();
    let token_file = field.path("token");
    let agent = field.agent(&["--tcp", "127.0.0.1:0", "--token-file", &token_file.display().to_string()]);
    assert_eq!(std::fs::metadata(&token_file).expect("made").permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&token_file).expect("a token");
    let over_tcp = |headers: &str| ask(TcpStream::connect(&agent.address).expect("connected"), "GET", "/faults", headers, "");
    for bad in ["", "authorization: Bearer x\r\n", "authorization: Basic eDp5\r\n", &format!("authorization: {token}\r\n")] {
        let refused = over_tcp(bad);
        is_problem(&refused, 401);
        assert!(refused.head.contains("www-authenticate: bearer"), "{refused:?}");
    }
    assert_eq!(over_tcp(&format!("authorization: Bearer {}\r\n", token.trim())).status, 200);
    assert_eq!(agent.ask("GET", "/faults", "").status, 200, "the socket needs none");
}

#[test]
fn other_hosts_cannot_be_let_in_and_tcp_without_a_token_neither() {
    let field = Field::new();
    let token = field.path("token").display().to_string();
    let error = field.try_agent(&["--tcp", "0.0.0.0:0", "--token-file", &token]).err().expect("refused");
    assert!(error.contains("is not a loopback address"), "{error}");
    let error = field.try_agent(&["--tcp", "127.0.0.1:0"]).err().expect("refused");
    assert!(error.contains("token file"), "{error}");
}

#[test]
fn two_agents_do_not_share_a_socket_and_one_that_was_killed_is_no_hindrance() {
    let field = Field::new();
    let mut agent = field.agent(&[]);
    let error = field.try_agent(&[]).err().expect("refused");
    assert!(error.contains("in use by another agent"), "{error}");
    assert_eq!(agent.ask("GET", "/faults", "").status, 200);
    agent.kill();
    assert!(agent.socket.exists());
    assert_eq!(field.agent(&[]).ask("GET", "/faults", "").status, 200);
}

/// Needs root, as another user can be become by no one else.
#[test]
fn the_kernel_says_who_asks_and_others_are_refused() {
    let field = Field::new();
    let ask_as = |user: &str| -> Value {
        let socket = field.path("agent.sock").display().to_string();
        #[expect(clippy::disallowed_methods, reason = "another user asks")]
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--clear-groups", "curl", "--silent", "--unix-socket", &socket, "http://agent/faults"]);
        let output = command.output().expect("setpriv of util-linux, and curl");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    };
    {
        let _for_one = field.agent(&["--user", "65533"]);
        assert_eq!(ask_as("65533")["items"], json!([]));
        let refused = ask_as("65534");
        assert!(refused["status"] == json!(403) && refused["hint"].is_string(), "{refused}");
    }
    let _for_root = field.agent(&[]);
    assert_eq!(ask_as("65534"), Value::Null, "not even a connection");
}

#[test]
fn an_agent_that_is_told_nonsense_goes_on() {
    let field = Field::new();
    let agent = field.agent(&[]);
    // SplitMix64 again: the same nonsense each time.
    let mut seed = 7_u64;
    for round in 0..500 {
        let mut bytes: Vec<u8> = (0..200)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56) as u8
            })
            .collect();
        if round % 2 == 0 {
            // A good head, and nonsense for a body.
            let head = b"POST /faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 200\r\n\r\n";
            bytes.splice(0..0, head.iter().copied());
        }
        let mut stream = UnixStream::connect(&agent.socket).expect("connected");
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 5") && !answer.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(agent.ask("GET", "/faults", "").body["items"], json!([]));
}
