//! Traces of runs, as a collector gets them.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value as Json;

use crate::field::{Field, text};

/// Takes one request and answers; gives its head and its body.
fn collect(listener: &TcpListener, answer: &str) -> (String, String) {
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a limit");
    let (mut got, mut part) = (Vec::new(), [0; 8192]);
    loop {
        let n = stream.read(&mut part).expect("a request");
        assert!(n > 0, "the request ended early: {}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&part[..n]);
        let whole = String::from_utf8_lossy(&got).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::parse::<usize>));
        if body.len() >= length.expect("a length").expect("a number") {
            write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("answered");
            return (head.to_owned(), body.to_owned());
        }
    }
}

#[test]
fn a_run_is_one_trace_with_its_phases_and_faults() {
    let field = Field::new();
    field.write("signal", "0");
    let _victim = field.victim("traced-victim");
    let manifest = field.write("experiment.yaml", &field.pause("traced", "traced-victim", "for: 200ms", ""));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let collector = std::thread::spawn(move || collect(&listener, "200 OK"));
    let mut squall = field.squall();
    squall
        .args(["run", "--plain"])
        .arg(manifest)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=k1");
    let output = squall.output().expect("squall runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));

    let (head, body) = collector.join().expect("collected");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1") && head.contains("x-key: k1"), "{head}");
    let trace: Json = serde_json::from_str(&body).expect("JSON");
    let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans");
    let root = &spans[0];
    assert_eq!((root["name"].as_str(), root["status"]["code"].as_u64()), (Some("traced"), Some(1)), "{root:#}");
    assert_eq!(root["traceId"].as_str().map(str::len), Some(32));
    assert!(spans[1..].iter().all(|span| span["traceId"] == root["traceId"] && span["parentSpanId"] == root["spanId"]), "{trace:#}");
    let time = |span: &Json, name: &str| span[name].as_str().and_then(|text| text.parse::<u64>().ok()).expect("nanoseconds");
    let fault =
        spans.iter().find(|span| span["name"].as_str().is_some_and(|name| name.starts_with("process.pause on "))).expect("the fault");
    let lasted = time(fault, "endTimeUnixNano") - time(fault, "startTimeUnixNano");
    assert!((100_000_000..5_000_000_000).contains(&lasted), "{fault:#}");
    let names: Vec<_> = spans.iter().filter_map(|span| span["name"].as_str()).collect();
    assert!(["steady", "inject", "recover"].iter().all(|phase| names.contains(phase)), "{names:?}");
}

#[test]
fn a_collector_that_refuses_changes_no_verdict_and_is_told_of() {
    let field = Field::new();
    field.write("signal", "0");
    let _victim = field.victim("untraced-victim");
    let manifest = field.write("experiment.yaml", &field.pause("untraced", "untraced-victim", "for: 100ms", ""));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let collector = std::thread::spawn(move || collect(&listener, "503 Service Unavailable"));
    let mut squall = field.squall();
    let output = squall.args(["run", "--plain"]).arg(&manifest).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).output().expect("squall runs");
    collector.join().expect("collected");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("did not take the trace: 503"), "{}", text(&output));

    let mut squall = field.squall();
    let output = squall.args(["run", "--plain"]).arg(manifest).env("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere").output().expect("squall runs");
    assert_eq!(output.status.code(), Some(2), "nothing is begun: {}", text(&output));
}
