//! The `command` probe.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use squall_model::Value;

use crate::support::{complaints, error, once, open, until};

#[tokio::test]
async fn exit_code_output_and_number_are_measured() {
    assert_eq!(once("command", json!({ "run": ["sh", "-c", "exit 3"] })).await, Ok(Value::Number(3.0)));
    assert_eq!(once("command", json!({ "run": ["sh", "-c", "kill -TERM $$"] })).await, Ok(Value::Number(143.0)));
    let text = json!({ "run": ["sh", "-c", "echo \" $A in $PWD \""], "env": { "A": "tea" }, "cwd": "/", "measure": "stdout" });
    assert_eq!(once("command", text).await, Ok(Value::Text("tea in /".into())));
    assert_eq!(once("command", json!({ "run": ["echo", "4.5"], "measure": "number" })).await, Ok(Value::Number(4.5)));
    assert_eq!(error("command", json!({ "run": ["echo", "four"], "measure": "number" })).await, "`echo` printed `four`, not a number");
    let failed = error("command", json!({ "run": ["sh", "-c", "echo oh >&2; exit 2"], "measure": "number" })).await;
    assert_eq!(failed, "`sh` exited with 2: oh");
    assert!(error("command", json!({ "run": ["/no/such/program"] })).await.contains("check that it is installed"));
}

#[tokio::test]
async fn a_long_output_does_not_block_the_program() {
    let args = json!({ "run": ["sh", "-c", "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2"] });
    assert_eq!(once("command", args).await, Ok(Value::Number(0.0)));
}

fn alive(pid_file: &Path) -> Option<bool> {
    let pid: u32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    Some(stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))))
}

#[tokio::test]
async fn a_dropped_measurement_leaves_nothing_running() {
    let directory = tempfile::tempdir().expect("a directory");
    let (leader, child) = (directory.path().join("leader"), directory.path().join("child"));
    let script = format!("sleep 300 & echo $! > {}; echo $$ > {}; wait", child.display(), leader.display());
    let mut probe = open("command", &json!({ "run": ["sh", "-c", script] }));
    let started = async { until("both processes", || alive(&leader) == Some(true) && alive(&child) == Some(true)).await };
    tokio::select! {
        outcome = probe.measure() => panic!("ended by itself: {outcome:?}"),
        () = started => {}
    }
    until("both to be gone", || alive(&leader) == Some(false) && alive(&child) == Some(false)).await;
}

#[tokio::test]
async fn what_a_program_leaves_in_the_background_ends_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let child = directory.path().join("child");
    // The child holds the pipe open: waiting for its end would take 300 s.
    let script = format!("sleep 300 & echo $! > {}; echo 7", child.display());
    let mut probe = open("command", &json!({ "run": ["sh", "-c", script], "measure": "number" }));
    let measured = tokio::time::timeout(Duration::from_secs(10), probe.measure()).await.expect("does not wait for the child");
    assert_eq!(measured, Ok(Value::Number(7.0)));
    until("the child to be gone", || alive(&child) == Some(false)).await;
}

#[test]
fn a_command_needs_a_program() {
    for run in [json!([]), json!([""])] {
        assert!(complaints("command", &json!({ "run": run })).contains("names no program"));
    }
    assert!(complaints("command", &json!({ "run": "echo a" })).contains("run"));
}
