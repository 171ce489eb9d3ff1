//! The `http` probe.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use squall_engine::Clock;
use squall_model::{Dimension, Value};

use crate::support::{BootClock, Do, Server, answer, ask, complaints, error, kind, number, once, open};

#[tokio::test]
async fn status_body_json_and_success_are_read_off_one_answer() {
    let server = Server::start(|seen| match seen.head.split(' ').nth(1) {
        Some("/json") => answer("200 OK", "", r#"{"items":[{"price":2.5,"name":"tea","sold":true}]}"#),
        _ => answer("503 Service Unavailable", "", " down\n"),
    })
    .await;
    let (good, bad) = (server.url("/json"), server.url("/"));
    assert!((number("http", json!({ "url": bad })).await - 503.0).abs() < 0.1);
    assert!((number("http", json!({ "url": bad, "measure": "success" })).await).abs() < 0.1);
    assert!((number("http", json!({ "url": bad, "measure": "success", "success": [503] })).await - 1.0).abs() < 0.1);
    assert_eq!(once("http", json!({ "url": bad, "measure": "body" })).await, Ok(Value::Text(" down\n".into())));
    let json = |pointer: &str, kind: &str| json!({ "url": good, "measure": "json", "pointer": pointer, "as": kind });
    assert_eq!(once("http", json("/items/0/price", "number")).await, Ok(Value::Number(2.5)));
    assert_eq!(once("http", json("/items/0/sold", "number")).await, Ok(Value::Number(1.0)));
    assert_eq!(once("http", json("/items/0/name", "text")).await, Ok(Value::Text("tea".into())));
    assert!(error("http", json("/items/0/name", "number")).await.contains("write `as: text`"));
    assert_eq!(error("http", json("/nothing", "number")).await, "nothing at `/nothing` in the answer (status 200)");
}

#[tokio::test]
async fn method_headers_and_body_are_sent() {
    let server = Server::start(|_| answer("200 OK", "", "")).await;
    let args = json!({ "method": "POST", "url": server.url("/a?b=c"), "headers": { "X-Team": "tea" }, "body": "{}" });
    assert!((number("http", args).await - 200.0).abs() < 0.1);
    let seen = server.requests.lock().expect("not poisoned")[0].clone();
    assert!(seen.starts_with("post /a?b=c http/1.1\r\n") && seen.contains("x-team: tea") && seen.ends_with("\r\n\r\n{}"), "{seen}");
    assert!(seen.contains(&format!("host: {}", server.address)), "{seen}");
}

#[tokio::test]
async fn refused_is_no_success_but_an_unknown_name_is_not_measured() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{free}/");
    assert!(number("http", json!({ "url": url, "measure": "success" })).await.abs() < 0.1);
    let refused = error("http", json!({ "url": url })).await;
    assert_eq!(refused, format!("cannot connect to {free}: connection refused"));
    let unknown = error("http", json!({ "url": "http://no-such-host.invalid/", "measure": "success" })).await;
    assert!(unknown.starts_with("`no-such-host.invalid` does not resolve"), "{unknown}");
}

#[tokio::test]
async fn a_kept_connection_is_used_again_and_a_stale_one_gives_no_false_failure() {
    // Each connection answers twice; the third request on it is closed without an answer.
    let server = Server::start(|seen| if seen.on_connection == 2 { Do::Close } else { answer("200 OK", "", "ok") }).await;
    let mut probe = open("http", &json!({ "url": server.url("/") }));
    for _ in 0..5 {
        assert_eq!(ask(&mut probe).await, Ok(Value::Number(200.0)));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 3, "two answers on each connection");
    assert_eq!(server.count(), 7, "two of the requests were sent again");
}

#[tokio::test]
async fn a_reset_of_a_kept_connection_is_no_failure_either() {
    let server = Server::start(|seen| if seen.on_connection == 1 { Do::Reset } else { answer("200 OK", "", "ok") }).await;
    let mut probe = open("http", &json!({ "url": server.url("/") }));
    for _ in 0..4 {
        assert_eq!(ask(&mut probe).await, Ok(Value::Number(200.0)));
    }
}

#[tokio::test]
async fn a_post_is_not_sent_twice() {
    let server = Server::start(|seen| if seen.on_connection == 1 { Do::Close } else { answer("200 OK", "", "ok") }).await;
    let mut probe = open("http", &json!({ "url": server.url("/"), "method": "POST", "body": "pay" }));
    assert_eq!(ask(&mut probe).await, Ok(Value::Number(200.0)));
    assert_eq!(ask(&mut probe).await, Err("the connection was closed before the answer was complete".into()));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_fresh_connection_that_is_closed_is_a_failure() {
    let server = Server::start(|_| Do::Close).await;
    assert_eq!(error("http", json!({ "url": server.url("/") })).await, "the connection was closed before the answer was complete");
    assert_eq!(server.count(), 1);
    let garbage = Server::start(|_| Do::Say("SSH-2.0-OpenSSH\r\n\r\n".into())).await;
    assert!(error("http", json!({ "url": garbage.url("/") })).await.starts_with("the answer is not valid HTTP"));
}

#[tokio::test]
async fn redirects_are_followed_only_when_asked_and_keep_secrets_at_home() {
    let other = Server::start(|_| answer("200 OK", "", "there")).await;
    let there = other.url("/x");
    let server = Server::start(move |_| answer("302 Found", &format!("location: {there}\r\n"), "")).await;
    let args = |redirects: u8| json!({ "url": server.url("/"), "redirects": redirects, "headers": { "Authorization": "secret" } });
    assert!((number("http", args(0)).await - 302.0).abs() < 0.1);
    assert!((number("http", args(1)).await - 200.0).abs() < 0.1);
    let seen = other.requests.lock().expect("not poisoned")[0].clone();
    assert!(!seen.contains("secret") && seen.contains(&format!("host: {}", other.address)), "{seen}");
}

#[tokio::test]
async fn latency_is_the_time_to_the_end_of_the_answer() {
    let moment = std::sync::Arc::new(tokio::sync::Notify::new());
    let hold = moment.clone();
    let server = Server::start(move |_| Do::SayAfter("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(), hold.clone())).await;
    let mut probe = open("http", &json!({ "url": server.url("/"), "measure": "latency" }));
    let start = BootClock.now();
    let release = async {
        crate::support::until("the request", || server.count() == 1).await;
        crate::support::pause(50).await;
        moment.notify_one();
    };
    let (measured, ()) = tokio::join!(ask(&mut probe), release);
    let Ok(Value::Number(seconds)) = measured else { panic!("{measured:?}") };
    assert!(seconds >= 0.05 && seconds <= BootClock.now().saturating_sub(start).as_secs_f64(), "{seconds}");
}

#[tokio::test]
async fn a_dropped_measurement_closes_its_connection_and_the_next_one_works() {
    let never = std::sync::Arc::new(tokio::sync::Notify::new());
    let server = Server::start(move |seen| match seen.connection {
        0 => Do::SayAfter(String::new(), never.clone()),
        _ => answer("200 OK", "", ""),
    })
    .await;
    let mut probe = open("http", &json!({ "url": server.url("/") }));
    assert!(tokio::time::timeout(Duration::from_millis(100), probe.measure()).await.is_err());
    assert_eq!(ask(&mut probe).await, Ok(Value::Number(200.0)));
}

#[tokio::test]
async fn https_believes_a_named_authority_or_anyone_but_not_a_stranger() {
    let directory = tempfile::tempdir().expect("a directory");
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, signed.cert.pem()).expect("written");
    let address = crate::support_tls::start(&signed).await;
    let url = format!("https://localhost:{}/", address.port());
    assert!((number("http", json!({ "url": url, "tls": { "ca": ca } })).await - 200.0).abs() < 0.1);
    assert!((number("http", json!({ "url": url, "tls": { "insecure": true } })).await - 200.0).abs() < 0.1);
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&ca, other.cert.pem()).expect("written");
    let stranger = error("http", json!({ "url": url, "measure": "success", "tls": { "ca": ca } })).await;
    assert!(stranger.starts_with("TLS with localhost"), "{stranger}");
}

#[test]
fn what_cannot_be_used_is_said_with_a_hint() {
    let cases = [
        (json!({ "url": "localhost:80" }), "write it like"),
        (json!({ "url": "http://h/", "method": "G ET" }), "not an HTTP method"),
        (json!({ "url": "http://h/", "headers": { "a b": "c" } }), "`a b` is not the name of a header"),
        (json!({ "url": "http://h/", "measure": "json" }), "pointer"),
        (json!({ "url": "http://h/", "measure": "json", "pointer": "$.a.b" }), "`/a/b`"),
        (json!({ "url": "http://h/", "pointer": "/a" }), "has no use without `measure: json`"),
        (json!({ "url": "http://h/", "success": [200] }), "has no use without `measure: success`"),
        (json!({ "url": "http://h/", "tls": { "insecure": true } }), "has no use with http://"),
        (json!({ "url": "http://h/", "colour": "red" }), "unknown field"),
    ];
    for (args, wanted) in cases {
        let said = complaints("http", &args);
        assert!(said.contains(wanted), "{args}: {said}");
    }
}

#[test]
fn the_dimension_follows_the_measure() {
    let dimension = |args| kind("http").dimension(&args);
    assert_eq!(dimension(json!({ "url": "http://h/" })), Dimension::Number);
    assert_eq!(dimension(json!({ "url": "http://h/", "measure": "latency" })), Dimension::Time);
    assert_eq!(dimension(json!({ "url": "http://h/", "measure": "body" })), Dimension::Text);
    assert_eq!(dimension(json!({ "url": "http://h/", "measure": "json", "pointer": "/a", "as": "text" })), Dimension::Text);
}
