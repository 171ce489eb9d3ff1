//! The load generator and the `traffic` probe.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use squall_engine::{Clock, ProbeCx, TrafficControl};
use squall_model::{Measure, Time, Traffic, Value};
use squall_probes::LoadGenerator;

use crate::support::{BootClock, Do, Server, answer, complaints, kind, pause, until};
use crate::support_tls;

fn traffic(json: serde_json::Value) -> Traffic {
    serde_json::from_value(json).expect("traffic")
}

fn generator() -> LoadGenerator {
    LoadGenerator::new(Arc::new(BootClock))
}

#[tokio::test]
async fn load_comes_at_its_rate_and_is_read_by_a_probe() {
    let server = Server::start(|_| answer("200 OK", "", "ok")).await;
    let generator = Arc::new(generator());
    generator.start(&[traffic(json!({ "name": "a", "rate": "200/s", "http": { "url": server.url("/") } }))], 1).expect("starts");
    until("a second of load", || server.count() >= 200).await;
    let cx = ProbeCx {
        clock: Arc::new(BootClock),
        traffic: generator.clone(),
        every: Time::from_secs(1),
        timeout: Time::from_secs(1),
        host: None,
    };
    let mut probe = kind("traffic").open(&json!({ "from": "a", "measure": "availability" }), &cx).expect("opens");
    assert_eq!(probe.measure().await, Ok(Value::Number(1.0)));
    let mut absent = kind("traffic").open(&json!({ "from": "b", "measure": "p99" }), &cx).expect("opens");
    assert_eq!(absent.measure().await, Err("there is no traffic `b` under way".into()));
    let summary = generator.stop().await.remove(0);
    assert!((summary.rate - 200.0).abs() < 20.0, "{summary:?}");
    assert_eq!((summary.failed, summary.requests), (0, server.count() as u64));
    let sent = server.count();
    pause(50).await;
    assert_eq!(server.count(), sent, "no load after the end");
}

#[tokio::test]
async fn a_stall_shows_in_full_and_while_it_lasts() {
    // 100/s; the server holds every answer from some moment on, and gives them all a second later.
    let open = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let moment = Arc::new(tokio::sync::Notify::new());
    let (gate, hold) = (open.clone(), moment.clone());
    let server = Server::start(move |_| {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned();
        if gate.load(std::sync::atomic::Ordering::SeqCst) { Do::Say(ok) } else { Do::SayAfter(ok, hold.clone()) }
    })
    .await;
    let generator = generator();
    generator.start(&[traffic(json!({ "name": "a", "rate": "100/s", "http": { "url": server.url("/") } }))], 1).expect("starts");
    until("load", || server.count() >= 50).await;
    open.store(false, std::sync::atomic::Ordering::SeqCst);
    let stalled = BootClock.now();
    BootClock.sleep_until(stalled + Duration::from_secs(1)).await;
    let p90 = generator.read("a", Measure::P90, Time::from_secs(5)).expect("measured");
    open.store(true, std::sync::atomic::Ordering::SeqCst);
    moment.notify_waiters();
    let lasted = BootClock.now().saturating_sub(stalled).as_secs_f64();
    assert!(p90 > 0.5, "two of three requests were held, the oldest for a second: {p90}");
    let before = server.count();
    until("load after the stall", || server.count() > before + 20).await;
    let summary = generator.finish(Duration::from_secs(5)).await.remove(0);
    assert_eq!(summary.failed, 0, "{summary:?}");
    for x in [0.25, 0.5, 0.75] {
        let count = generator.slower_than("a", Time::from(Duration::from_secs_f64(x))).expect("known") as f64;
        let expected = 100.0 * (lasted - x);
        assert!((count - expected).abs() <= 0.06 * expected + 4.0, "slower than {x}: {count}, expected {expected}");
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = Server::start(|seen| match seen.head.split(' ').nth(1) {
        Some("/status") => answer("500 Internal Server Error", "", "oh"),
        Some("/closed") => Do::Close,
        Some("/reset") => Do::Reset,
        Some("/garbage") => Do::Say("what\r\n\r\n".into()),
        Some("/never") => Do::SayAfter(String::new(), Arc::new(tokio::sync::Notify::new())),
        _ => answer("204 No Content", "", ""),
    })
    .await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for (url, timeout, limit, class) in [
        (server.url("/status"), "5s", 1000, "status 500"),
        (server.url("/closed"), "5s", 1000, "closed"),
        (server.url("/reset"), "5s", 1000, "reset"),
        (server.url("/garbage"), "5s", 1000, "protocol"),
        (server.url("/never"), "50ms", 1000, "timeout"),
        (server.url("/never"), "5s", 1, "overload"),
        (format!("http://{free}/"), "5s", 1000, "connect"),
        ("http://no-such-host.invalid/".into(), "5s", 1000, "dns"),
    ] {
        let generator = generator();
        let spec = json!({ "name": "a", "rate": "100/s", "timeout": timeout, "maxInFlight": limit, "http": { "url": url } });
        generator.start(&[traffic(spec)], 1).expect("starts");
        until(class, || generator.read("a", Measure::ErrorRate, Time::from_secs(5)).is_ok_and(|share| share > 0.99)).await;
        let summary = generator.finish(Duration::from_millis(200)).await.remove(0);
        assert!(summary.errors.get(class).is_some_and(|n| *n > 0), "{class}: {summary:?}");
        assert!(summary.errors.keys().all(|k| k == class || k == "unfinished"), "{class}: {summary:?}");
        if class == "timeout" {
            assert!(summary.latency.p50 >= 0.05, "a timeout counts with the time that it waited: {summary:?}");
        }
    }
}

#[tokio::test]
async fn a_mix_is_sent_by_weight_and_success_is_what_the_manifest_says() {
    let server = Server::start(|_| answer("404 Not Found", "", "")).await;
    let generator = generator();
    let mix =
        json!([{ "url": server.url("/a"), "weight": 3, "success": [404] }, { "method": "POST", "url": server.url("/b"), "body": "x" }]);
    generator.start(&[traffic(json!({ "name": "a", "rate": "500/s", "arrivals": "poisson", "mix": mix }))], 7).expect("starts");
    until("load", || server.count() >= 400).await;
    let summary = generator.stop().await.remove(0);
    let posts = server.requests.lock().expect("not poisoned").iter().filter(|r| r.starts_with("post /b")).count() as f64;
    let share = posts / server.count() as f64;
    assert!((share - 0.25).abs() < 0.08, "{share}");
    assert_eq!(summary.errors["status 404"], summary.failed);
    assert!((summary.failed as f64 - posts).abs() < 0.1);
}

#[tokio::test]
async fn http2_is_spoken_in_clear_text_and_over_tls() {
    let plain = support_tls::start_plain().await;
    let directory = tempfile::tempdir().expect("a directory");
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, signed.cert.pem()).expect("written");
    let secure = support_tls::start(&signed).await;
    let secure = format!("https://localhost:{}/", secure.port());
    for (url, version) in [(format!("http://{plain}/"), "2"), (secure.clone(), "2"), (secure, "1.1")] {
        let generator = generator().trusting(ca.clone());
        let spec = json!({ "name": "a", "rate": "200/s", "http": { "url": url, "version": version } });
        generator.start(&[traffic(spec)], 1).expect("starts");
        pause(300).await;
        let summary = generator.finish(Duration::from_secs(5)).await.remove(0);
        assert!(summary.requests > 20 && summary.failed == 0, "{url} HTTP/{version}: {summary:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_no_error() {
    let server = Server::start(|seen| if seen.on_connection == 3 { Do::Close } else { answer("200 OK", "", "") }).await;
    let generator = generator();
    generator.start(&[traffic(json!({ "name": "a", "rate": "200/s", "http": { "url": server.url("/") } }))], 1).expect("starts");
    until("load", || server.count() >= 100).await;
    let summary = generator.stop().await.remove(0);
    assert_eq!(summary.failed, 0, "{summary:?}");
}

#[tokio::test]
async fn load_that_cannot_be_made_is_refused() {
    for (json, wanted) in [
        (json!({ "name": "a", "rate": "1/s" }), "has no requests"),
        (json!({ "name": "a", "rate": "1/s", "http": { "url": "h:80" } }), "does not start with http://"),
        (json!({ "name": "a", "rate": "1/s", "http": { "url": "http://h/", "method": "G T" } }), "not an HTTP method"),
        (json!({ "name": "a", "rate": "1/s", "mix": [{ "url": "http://h/", "weight": 0 }] }), "every weight"),
    ] {
        let error = generator().start(&[traffic(json)], 1).expect_err("refused");
        assert!(error.message.contains(wanted), "{error}");
    }
    let generator = generator();
    let one = [traffic(json!({ "name": "a", "rate": "0/s", "http": { "url": "http://127.0.0.1:9/" } }))];
    generator.start(&one, 1).expect("starts");
    assert!(generator.start(&one, 1).expect_err("twice").message.contains("already running"));
    let summary = generator.stop().await.remove(0);
    assert_eq!(summary.requests, 0);
    generator.start(&one, 1).expect("starts again after the end");
}

#[test]
fn a_window_fits_what_is_kept() {
    assert!(complaints("traffic", &json!({ "from": "a", "measure": "p99", "window": "5m" })).contains("write one from 100ms to 1m"));
    assert!(complaints("traffic", &json!({ "from": "", "measure": "p99" })).contains("names no traffic"));
    assert!(complaints("traffic", &json!({ "from": "a", "measure": "p98" })).contains("p98"));
}
