//! The `process` probe.

use std::process::{Child, Stdio};

use serde_json::json;
use squall_model::Value;

use crate::support::{ask, complaints, error, number, once, open, pause, until};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests look at real processes")]
fn start(program: &std::path::Path, arguments: &[&str]) -> Running {
    Running(std::process::Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("starts"))
}

/// A copy of a program under a name that nobody else uses.
fn named(directory: &tempfile::TempDir, program: &str) -> (std::path::PathBuf, String) {
    let name = format!("sq{}", directory.path().file_name().expect("a name").to_string_lossy().trim_start_matches('.'));
    let path = directory.path().join(&name);
    std::fs::copy(program, &path).expect("copied");
    (path, name)
}

#[tokio::test]
async fn processes_are_counted_by_every_condition() {
    let directory = tempfile::tempdir().expect("a directory");
    let (program, name) = named(&directory, "/bin/sleep");
    let count = |args: serde_json::Value| number("process", args);
    assert!(count(json!({ "name": name })).await.abs() < 0.1);
    let (first, _second) = (start(&program, &["300"]), start(&program, &["301"]));
    until("both", || std::fs::read_to_string(format!("/proc/{}/comm", first.0.id())).is_ok_and(|c| name.starts_with(c.trim()))).await;
    let pid = first.0.id();
    let parent = std::process::id();
    for (args, wanted) in [
        (json!({ "name": name }), 2.0),
        (json!({ "pid": pid }), 1.0),
        (json!({ "commandLine": format!("{name} 30[01]$") }), 2.0),
        (json!({ "commandLine": format!("{name} 301$") }), 1.0),
        (json!({ "name": name, "parent": parent }), 2.0),
        (json!({ "name": name, "parent": 1 }), 0.0),
        (json!({ "name": name, "user": rustix::process::getuid().as_raw().to_string() }), 2.0),
        (json!({ "name": name, "user": "4000000000" }), 0.0),
        (json!({ "name": name, "cgroup": "/" }), 2.0),
        (json!({ "name": name, "unit": "no-such-unit" }), 0.0),
    ] {
        let found = count(args.clone()).await;
        assert!((found - wanted).abs() < 0.1, "{args}: {found}");
    }
    assert!(error("process", json!({ "name": name, "user": "no-such-user" })).await.contains("there is no user"));
    drop(first);
    assert!(count(json!({ "pid": pid })).await.abs() < 0.1);
}

#[tokio::test]
async fn a_listener_is_found_by_its_port_but_not_this_process_itself() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // What runs the probe is left out, unless it is named by its id.
    assert_eq!(once("process", json!({ "port": port })).await, Ok(Value::Number(0.0)));
    assert_eq!(once("process", json!({ "port": port, "pid": std::process::id() })).await, Ok(Value::Number(1.0)));
    drop(listener);
    assert_eq!(once("process", json!({ "port": port, "pid": std::process::id() })).await, Ok(Value::Number(0.0)));
}

#[tokio::test]
async fn use_of_processor_memory_threads_descriptors_and_age_are_measured() {
    let directory = tempfile::tempdir().expect("a directory");
    let (program, name) = named(&directory, "/bin/sh");
    let busy = start(&program, &["-c", "while :; do :; done"]);
    until("it is started", || std::fs::read_to_string(format!("/proc/{}/comm", busy.0.id())).is_ok_and(|c| name.starts_with(c.trim())))
        .await;
    let args = |measure: &str| json!({ "name": name, "measure": measure });
    let mut cpu = open("process", &args("cpu"));
    pause(400).await;
    let Ok(Value::Number(share)) = ask(&mut cpu).await else { panic!("measured") };
    assert!(share > 0.05 && share < 1.1, "one busy loop takes up to one core, not {share}");
    let memory = number("process", args("memory")).await;
    assert!(memory > 100_000.0 && memory < 1e8, "{memory}");
    assert!((number("process", args("threads")).await - 1.0).abs() < 0.1);
    assert!(number("process", args("fds")).await >= 3.0);
    let age = number("process", args("uptime")).await;
    assert!((0.3..60.0).contains(&age), "{age}");
    drop(busy);
    for measure in ["cpu", "memory", "threads", "fds", "uptime"] {
        assert!(error("process", args(measure)).await.starts_with("no process with name"), "{measure}");
    }
}

#[test]
fn a_selector_selects_something() {
    assert!(complaints("process", &json!({})).contains("selects every process"));
    assert!(complaints("process", &json!({ "pid": 0 })).contains("1 or more"));
    assert!(complaints("process", &json!({ "commandLine": "(" })).contains("not a regular expression"));
    assert!(complaints("process", &json!({ "name": "" })).contains("leave it out"));
}
