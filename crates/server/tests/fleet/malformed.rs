//! What nobody would send who means well: strangers at the listener of agents, and somebody with an agent's certificate.

use std::io::Write;

use serde_json::{Value, json};

use crate::joining::Place;

/// Requests on one connection.
const EACH: u32 = 100;

/// So many frames of each; the server goes on, its agents stay linked, and nothing of it is its own fault.
pub fn strangers_and_agents(count: u32) {
    let mut place = Place::new();
    let token = place.token();
    let (_agent, _) = place.agent(&place.url, "a", "web-1", &token, "pinned");
    place.linked(1);
    strangers(&place, count);
    place.linked(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(with_a_certificate(&place, count));
    place.linked(1);
    let answer = place.server.call(json!({ "do": "unblock", "host": "web-1" }));
    assert!(answer["answer"]["done"].is_object(), "{answer}");
    println!("{count} frames of strangers and {count} of an agent: the server goes on");
}

/// Bytes that look like chance.
fn garbage(number: u32, length: u32) -> Vec<u8> {
    (0..length).map(|at| at.wrapping_mul(number | 1).wrapping_add(number).to_le_bytes()[1]).collect()
}

/// No TLS, half of it, or something else.
fn strangers(place: &Place, count: u32) {
    for number in 0..count {
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", place.port)) else { continue };
        let head: &[u8] = match number % 4 {
            0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            2 => b"GET /agent/v1/link HTTP/1.1\r\n\r\n",
            _ => b"",
        };
        // It may have hung up already.
        let _ = stream.write_all(head).and_then(|()| stream.write_all(&garbage(number, number * 7 % 1500)));
    }
}

/// A body that is none of the link.
fn body(number: u32) -> Vec<u8> {
    let deep = |open: &str| open.repeat(2_000 + number as usize % 1_000).into_bytes();
    let alive = format!("{{\"alive\":{{\"in_force\":{}}}}}\n", number % 9);
    match number % 8 {
        0 => garbage(number, number % 3_000),
        1 => deep("["),
        2 => deep("{\"hello\":"),
        // Cut in the middle.
        3 => alive.as_bytes()[..number as usize % (alive.len() - 3)].to_vec(),
        4 => b"{\"answer\":{\"id\":18446744073709551616,\"answer\":null}}".to_vec(),
        5 => format!("{alive}{{\"alive\":{{\"in_force\":-1}}}}\n").into_bytes(),
        6 => b"{\"protocol\":1,\"squall\":\"\",\"host\":{\"name\":\"web-1\"},\"outstanding\":[{}],\"linked\":0}".to_vec(),
        _ => Vec::new(),
    }
}

async fn with_a_certificate(place: &Place, count: u32) {
    let text = std::fs::read(place.scratch.path().join("a/agent/identity.json")).expect("there");
    let identity: Value = serde_json::from_slice(&text).expect("JSON");
    let part = |name: &str| identity[name].as_str().expect("a text").as_bytes();
    let server = std::net::SocketAddr::from(([127, 0, 0, 1], place.port));
    let connect = || {
        let own = reqwest::Identity::from_pem(&[part("key"), part("certificate")].concat()).expect("its identity");
        let authority = reqwest::Certificate::from_pem(part("authority")).expect("its authority");
        let client = reqwest::Client::builder().identity(own).tls_certs_only([authority]).resolve("squall-server", server);
        client.build().expect("a client")
    };
    let mut client = connect();
    let paths = ["hello", "messages", "certificate", "join", "link", "nonsense"];
    for number in 0..count {
        if number % EACH == 0 {
            client = connect();
        }
        let path = paths[number as usize % paths.len()];
        let url = format!("https://squall-server:{}/agent/v1/{path}", place.port);
        let request = if path == "link" { client.get(url) } else { client.post(url).body(body(number / 6)) };
        let session = if number % 5 == 0 { "0".repeat(number as usize % 5_000 + 1) } else { format!("{number:032x}") };
        let status = request.header("squall-session", session).send().await.expect("an answer").status();
        assert!(status.is_client_error(), "{path} {number}: {status}");
    }
}
