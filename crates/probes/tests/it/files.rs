//! The `file` and `log` probes.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::json;
use squall_model::Value;

use crate::support::{ask, complaints, error, number, once, open};

#[tokio::test]
async fn a_file_is_measured_in_every_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a");
    let args = |measure: &str| json!({ "path": path, "measure": measure });
    assert_eq!(once("file", args("exists")).await, Ok(Value::Number(0.0)));
    for measure in ["size", "age", "text", "number", "lines"] {
        assert!(error("file", args(measure)).await.contains("No such file"), "{measure}");
    }
    fs::write(&path, " 42\n\nend").expect("written");
    assert_eq!(once("file", args("exists")).await, Ok(Value::Number(1.0)));
    assert_eq!(once("file", args("size")).await, Ok(Value::Number(8.0)));
    assert_eq!(once("file", args("lines")).await, Ok(Value::Number(3.0)));
    assert_eq!(once("file", args("text")).await, Ok(Value::Text("42\n\nend".into())));
    assert!(error("file", args("number")).await.contains("not a number"));
    fs::write(&path, "42\n").expect("written");
    assert_eq!(once("file", args("number")).await, Ok(Value::Number(42.0)));
    let file = OpenOptions::new().write(true).open(&path).expect("opens");
    let hour_ago = file.metadata().expect("there").modified().expect("a time") - std::time::Duration::from_hours(1);
    file.set_modified(hour_ago).expect("set");
    let age = number("file", args("age")).await;
    assert!((3600.0..3700.0).contains(&age), "{age}");
    assert!(error("file", json!({ "path": directory.path(), "measure": "text" })).await.contains("not a regular file"));
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).expect("opens").write_all(text.as_bytes()).expect("written");
}

#[tokio::test]
async fn only_new_matching_lines_count() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    append(&path, "panic: old\n");
    let mut count = open("log", &json!({ "path": path, "pattern": "panic|FATAL" }));
    let mut new = open("log", &json!({ "path": path, "pattern": "panic|FATAL", "measure": "new" }));
    assert_eq!(ask(&mut count).await, Ok(Value::Number(0.0)));
    append(&path, "fine\npanic: 1\nFATAL: 2\npan");
    assert_eq!(ask(&mut count).await, Ok(Value::Number(2.0)));
    assert_eq!(ask(&mut new).await, Ok(Value::Number(2.0)));
    append(&path, "ic: 3\n");
    assert_eq!(ask(&mut count).await, Ok(Value::Number(3.0)));
    assert_eq!(ask(&mut new).await, Ok(Value::Number(1.0)));
    assert_eq!(ask(&mut new).await, Ok(Value::Number(0.0)));
}

#[tokio::test]
async fn rotation_and_truncation_lose_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
    append(&path, "x\n");
    let mut probe = open("log", &json!({ "path": path, "pattern": "panic" }));
    append(&path, "panic 1\n");
    fs::rename(&path, &old).expect("renamed");
    append(&old, "panic 2\n");
    assert_eq!(ask(&mut probe).await, Ok(Value::Number(2.0)), "between two files, the old one counts");
    append(&old, "panic 3, without an end");
    append(&path, "panic 4\n");
    assert_eq!(ask(&mut probe).await, Ok(Value::Number(4.0)));
    append(&path, "panic 5, and some more so that the file is long\n");
    assert_eq!(ask(&mut probe).await, Ok(Value::Number(5.0)));
    fs::write(&path, "panic 6\n").expect("truncated");
    assert_eq!(ask(&mut probe).await, Ok(Value::Number(6.0)));
}

#[tokio::test]
async fn a_log_that_is_not_there_is_not_measured_until_it_appears() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let mut probe = open("log", &json!({ "path": path, "pattern": "panic" }));
    assert!(ask(&mut probe).await.expect_err("missing").contains("No such file"));
    append(&path, "panic\n");
    assert_eq!(ask(&mut probe).await, Ok(Value::Number(1.0)));
}

#[test]
fn a_pattern_must_be_a_regular_expression() {
    assert!(complaints("log", &json!({ "path": "/x", "pattern": "(" })).contains("not a regular expression"));
    assert!(complaints("file", &json!({ "path": "" })).contains("`path` is empty"));
}
