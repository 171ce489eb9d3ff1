//! The `tcp` probe.

use serde_json::json;
use squall_model::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{complaints, error, number, once};

/// Answers what it is sent with `+PONG`, in two parts.
async fn redis_like() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 64];
            if stream.read(&mut buffer).await.unwrap_or(0) > 0 {
                let _ = stream.write_all(b"+PO").await;
                let _ = stream.write_all(b"NG\r\n").await;
            }
        }
    });
    address
}

#[tokio::test]
async fn open_is_one_refused_is_zero_and_an_unknown_name_is_not_measured() {
    let address = redis_like().await;
    assert_eq!(once("tcp", json!({ "address": address })).await, Ok(Value::Number(1.0)));
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string();
    assert_eq!(once("tcp", json!({ "address": free })).await, Ok(Value::Number(0.0)));
    assert!(error("tcp", json!({ "address": free, "measure": "latency" })).await.contains("connection refused"));
    assert!(error("tcp", json!({ "address": "no-such-host.invalid:80" })).await.contains("does not resolve"));
}

#[tokio::test]
async fn what_it_says_decides_when_something_is_expected() {
    let address = redis_like().await;
    let ping = |expect: &str| json!({ "address": address, "send": "PING\r\n", "expect": expect });
    assert_eq!(once("tcp", ping("+PONG")).await, Ok(Value::Number(1.0)));
    assert_eq!(once("tcp", ping("-ERR")).await, Ok(Value::Number(0.0)));
    let latency = number("tcp", json!({ "address": address, "send": "PING", "expect": "PONG", "measure": "latency" })).await;
    assert!(latency > 0.0 && latency < 5.0, "{latency}");
}

#[test]
fn an_address_needs_host_and_port() {
    for address in ["localhost", "localhost:", ":80", "::1:80", "h:0", "h:99999", "http://h:80"] {
        assert!(complaints("tcp", &json!({ "address": address })).contains("write it like"), "{address}");
    }
    assert_eq!(complaints("tcp", &json!({ "address": "[::1]:80" })), "");
}
