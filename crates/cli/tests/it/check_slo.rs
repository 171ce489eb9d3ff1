//! `squall check-slo` against a real server on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use assert_cmd::Command;

/// Answers each request with what the script says of its number, until the test ends.
fn serve(script: impl Fn(u64) -> (u16, String) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (script, count) = (Arc::new(script), Arc::new(AtomicU64::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (script, count) = (script.clone(), count.clone());
            std::thread::spawn(move || answer(stream, script.as_ref(), &count));
        }
    });
    address
}

fn answer(mut stream: TcpStream, script: &dyn Fn(u64) -> (u16, String), count: &AtomicU64) {
    let mut buffer = [0; 4096];
    // Each request of these tests fits into one segment.
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        let (status, body) = script(count.fetch_add(1, Ordering::SeqCst));
        let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn check(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("squall").expect("built").arg("check-slo").args(arguments).output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

#[test]
fn levels_that_are_kept_hold() {
    let address = serve(|_| (200, "ok".into()));
    let url = format!("http://{address}/");
    let levels = ["--error-rate", "1%", "--latency-p99", "5s", "--availability", "99%", "--throughput", "20/s"];
    let (code, out, _) = check(&[&["--url", &url, "--rate", "50/s", "--duration", "1s"], &levels[..]].concat());
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("latency p99") && out.ends_with("held\n"), "{out}");
}

#[test]
fn a_breached_level_deviates_in_text_json_and_junit() {
    let address = serve(|number| (if number.is_multiple_of(2) { 200 } else { 500 }, String::new()));
    let url = format!("http://{address}/");
    let directory = tempfile::tempdir().expect("a directory");
    let junit = directory.path().join("junit.xml");
    let junit = junit.to_str().expect("UTF-8");
    let common = ["--url", &url, "--rate", "50/s", "--duration", "1s", "--error-rate", "0.01", "--latency-p99", "5s"];
    let (code, out, _) = check(&[&common[..], &["--output", "json", "--junit", junit]].concat());
    assert_eq!(code, 1, "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&json["verdict"], &json["checks"][0]["result"], &json["checks"][1]["result"]),
        (&"deviated".into(), &"breached".into(), &"ok".into())
    );
    assert!((json["checks"][0]["actual"].as_f64().expect("a number") - 0.5).abs() < 0.05, "{out}");
    let xml = std::fs::read_to_string(junit).expect("written");
    assert!(xml.contains("failures=\"1\" errors=\"0\"") && xml.contains("error rate ≤ 1%"), "{xml}");
}

#[test]
fn what_could_not_be_measured_is_inconclusive_and_a_breach_goes_before_it() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{free}/");
    let (code, out, _) = check(&["--url", &url, "--duration", "300ms", "--latency-p99", "1s"]);
    assert_eq!(code, 5, "{out}");
    assert!(out.contains("could not measure: none of") && out.ends_with("inconclusive\n"), "{out}");
    let (code, out, _) = check(&["--url", &url, "--duration", "300ms", "--latency-p99", "1s", "--error-rate", "1%"]);
    assert_eq!(code, 1, "{out}");
}

#[test]
fn promql_is_judged_like_load() {
    let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"0.02"]}}"#;
    let server = format!("http://{}", serve(move |_| (200, body.into())));
    let query = |level: &str| check(&["--prometheus", &server, "--error-rate", level, "--error-rate-query", "errors"]).0;
    assert_eq!((query("5%"), query("1%")), (0, 1));
    let latency = ["--prometheus", &server, "--latency-p99", "30ms", "--latency-query", "histogram_quantile({quantile}, x)"];
    assert_eq!(check(&latency).0, 0);
    assert_eq!(check(&["--prometheus", &server, "--query", "x", "--at-least", "0.01", "--at-most", "0.03"]).0, 0);
    let empty = serve(|_| (200, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.into()));
    assert_eq!(check(&["--prometheus", &format!("http://{empty}"), "--query", "x", "--at-most", "1"]).0, 5);
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_to_write() {
    for (arguments, wanted) in [
        (&["--url", "http://127.0.0.1:9/"][..], "add at least one"),
        (&["--url", "127.0.0.1:9", "--error-rate", "1%"], "does not start with http://"),
        (&["--url", "http://127.0.0.1:9/", "--error-rate", "5"], "a share is from 0 to 1"),
        (&["--error-rate", "1%"], "--url"),
        (&["--prometheus", "http://127.0.0.1:9", "--error-rate", "1%"], "--error-rate-query"),
        (&["--url", "http://127.0.0.1:9/", "--latency-p99", "500"], "write it like `500ms`"),
    ] {
        let (code, _, error) = check(arguments);
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(wanted), "{arguments:?}: {error}");
    }
}
