//! What is no request, or hardly one: the server says no, or hangs up, and goes on.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::team::{PASSWORD, Team};

/// How many in all.
const REQUESTS: usize = 10_000;

/// Chance with a seed: the same requests each time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        // xorshift64* (Vigna 2016)
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("small")
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        (0..self.below(longest)).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

fn post(path: &str, cookie: &str, csrf: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\nx-squall-csrf: {csrf}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The n-th of them: bad HTTP, huge or odd heads, bad cookies, bad JSON, bad Unicode, from strangers and from an admin.
fn request(n: usize, chance: &mut Chance, cookie: &str, csrf: &str) -> Vec<u8> {
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n").into_bytes();
    match n % 20 {
        0 => chance.bytes(400),
        1 => b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        2 => get(&format!("/{}", "a".repeat(chance.below(100_000))), ""),
        3 => get("/api/v1/users", &format!("x-long: {}\r\n", "b".repeat(chance.below(200_000)))),
        4 => get("/api/v1/users", &(0..chance.below(300)).map(|n| format!("x-{n}: {n}\r\n")).collect::<String>()),
        5 => get("/api/v1/users", &format!("cookie: {}\r\n", String::from_utf8_lossy(&chance.bytes(200)).replace(['\r', '\n', '\0'], ";"))),
        6 => get("/api/v1/users", &format!("cookie: squall-session={}; squall-session\r\n", "=".repeat(chance.below(50)))),
        7 => [b"GET /api/v1/users HTTP/1.1\r\nhost: x\r\nauthorization: ".to_vec(), chance.bytes(100), b"\r\n\r\n".to_vec()].concat(),
        8 => post("/api/v1/session", "", "", &chance.bytes(300)),
        9 => post("/api/v1/session", "", "", "[".repeat(1 + chance.below(100_000)).as_bytes()),
        10 => post("/api/v1/users", cookie, csrf, br#"{"name":"\ud800","password":"\udfff"}"#),
        11 => post("/api/v1/users", cookie, csrf, b"{\"name\":\"\xff\xfe\"}"),
        12 => post("/api/v1/users", cookie, csrf, format!("{{\"name\":{}}}", "9".repeat(1 + chance.below(5000))).as_bytes()),
        13 => post("/api/v1/tokens", cookie, csrf, br#"{"name":"a\u0000b","lasts":"1e999d"}"#),
        14 => b"POST /api/v1/session HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 50\r\n\r\nhello".to_vec(),
        15 => b"POST /api/v1/session HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n".to_vec(),
        16 => {
            b"POST /api/v1/session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 18446744073709551615\r\n\r\n{"
                .to_vec()
        }
        17 => [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), chance.bytes(300)].concat(),
        18 => get(
            &format!("/api/v1/users/{}", ["%00", "%ff%fe", "..%2f..%2fetc", "%", "%zz", "a%2fb", "%e2%80%ae"][chance.below(7)]),
            &format!("cookie: {cookie}\r\n"),
        ),
        _ => get(&format!("/api/v1/audit?after={}&limit={}", chance.next(), chance.next()), &format!("cookie: {cookie}\r\n")),
    }
}

/// Sends it and reads what comes, if anything does: the status.
async fn send(address: &str, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // The server may have hung up in the middle: that is an answer too.
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut answer)).await.expect("an answer or an end in a minute");
    let head = String::from_utf8_lossy(answer.get(..12)?).into_owned();
    head.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_malformed_requests_leave_it_running() {
    let team = Team::start().await;
    team.admin().await;
    let (_, cookie, csrf) = team.browser("admin", PASSWORD, &[]).await;
    let address = team.url.trim_start_matches("http://").to_owned();
    let mut chance = Chance(0x5EED);
    let requests: Vec<(usize, Vec<u8>)> = (0..REQUESTS).map(|n| (n, request(n, &mut chance, &cookie, &csrf))).collect();
    let address = &address;
    let sent =
        futures_util::stream::iter(requests).map(|(n, request)| async move { (n, send(address, &request).await) }).buffer_unordered(32);
    let statuses: Vec<(usize, Option<u16>)> = sent.collect().await;
    assert_eq!(statuses.len(), REQUESTS);
    let bad: Vec<_> = statuses
        .iter()
        .filter(|(n, status)| {
            let own_fault = status.is_some_and(|status| status >= 500);
            // A page of the trail is fine with any number; nothing else of these is a good request.
            let accepted = status.is_some_and(|status| status < 400) && !matches!(n % 20, 2 | 19);
            own_fault || accepted
        })
        .map(|(n, status)| (n % 20, status))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(team.raw("GET", "/api/v1/health", &[], None).await.status, 200);
    assert_eq!(team.raw("GET", "/api/v1/users", &[("cookie", &cookie)], None).await.status, 200);
}
