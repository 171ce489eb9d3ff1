//! The `prometheus` probe, against a real Prometheus and against a server that misbehaves.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use squall_model::Value;

use crate::support::{Do, Server, answer, ask, complaints, cx, error, kind_of, once, pause};

/// A Prometheus of the test's own; ends with it.
struct Prometheus {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const BINARY: &str = "/usr/bin/prometheus";

impl Prometheus {
    #[expect(clippy::disallowed_methods, reason = "the test asks a real Prometheus")]
    fn start(target: &str) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let config = data.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\nscrape_configs:\n- job_name: shop\n  static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        std::fs::write(&config, text).expect("written");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let log = std::fs::File::create(data.path().join("log")).expect("created");
        let child = std::process::Command::new(BINARY)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts");
        Self { child, url: format!("http://127.0.0.1:{port}"), _data: data }
    }

    async fn query(&self, query: &str, empty: &str) -> Result<Value, String> {
        once("prometheus", json!({ "server": self.url, "query": query, "empty": empty, "ttl": "0" })).await
    }
}

#[tokio::test]
async fn a_real_prometheus_is_asked() {
    if !Path::new(BINARY).exists() {
        eprintln!("skipped: {BINARY} is missing; install the package `prometheus`");
        return;
    }
    let exporter = Server::start(|_| {
        answer("200 OK", "content-type: text/plain; version=0.0.4\r\n", "orders{shop=\"a\"} 3\norders{shop=\"b\"} 4\nnothing 0\n")
    })
    .await;
    let prometheus = Prometheus::start(&exporter.address.to_string());
    let mut said = Err(String::new());
    for _ in 0..300 {
        said = prometheus.query("sum(orders)", "unmeasured").await;
        if said.is_ok() {
            break;
        }
        pause(100).await;
    }
    assert_eq!(said, Ok(Value::Number(7.0)));
    assert_eq!(prometheus.query("scalar(sum(orders))", "unmeasured").await, Ok(Value::Number(7.0)));
    assert_eq!(prometheus.query("orders{shop=\"a\"}", "unmeasured").await, Ok(Value::Number(3.0)));
    let several = prometheus.query("orders", "zero").await.expect_err("two series");
    assert!(several.contains("2 series") && several.contains("sum("), "{several}");
    let none = prometheus.query("orders{shop=\"c\"}", "unmeasured").await.expect_err("no series");
    assert!(none.contains("empty: zero"), "{none}");
    assert_eq!(prometheus.query("orders{shop=\"c\"}", "zero").await, Ok(Value::Number(0.0)));
    assert!(prometheus.query("nothing / nothing", "zero").await.expect_err("NaN").contains("NaN"));
    assert!(prometheus.query("sum(orders) / sum(nothing)", "zero").await.expect_err("infinite").contains("+Inf"));
    let range = prometheus.query("orders[1m]", "zero").await.expect_err("a range");
    assert!(range.contains("rate("), "{range}");
    let wrong = prometheus.query("sum(", "zero").await.expect_err("not PromQL");
    assert!(wrong.starts_with("Prometheus says bad_data: "), "{wrong}");
    let long = format!("sum(orders) + 0 * ({})", vec!["1"; 3000].join("+"));
    assert_eq!(prometheus.query(&long, "zero").await, Ok(Value::Number(7.0)), "too long for a URL");
}

fn vector(value: &str) -> Do {
    let body = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{value}"]}}]}}}}"#);
    answer("200 OK", "", &body)
}

#[tokio::test]
async fn many_probes_with_one_query_ask_once() {
    let server = Server::start(|_| vector("1")).await;
    let kinds = squall_probes::all();
    let kind = kind_of(&kinds, "prometheus");
    let args = json!({ "server": server.url(""), "query": "up", "ttl": "1m" });
    let mut probes: Vec<_> = (0..20).map(|_| kind.open(&args, &cx()).expect("opens")).collect();
    for _ in 0..3 {
        let answers = futures_util::future::join_all(probes.iter_mut().map(ask)).await;
        assert!(answers.iter().all(|a| *a == Ok(Value::Number(1.0))), "{answers:?}");
    }
    assert_eq!(server.count(), 1);
    let other = json!({ "server": server.url(""), "query": "up", "ttl": "1m", "headers": { "X-Scope-OrgID": "tea" } });
    ask(&mut kind.open(&other, &cx()).expect("opens")).await.expect("answered");
    assert_eq!(server.count(), 2, "another tenant is another question");
}

#[tokio::test]
async fn a_time_to_live_of_nothing_asks_each_time() {
    let server = Server::start(|_| vector("1")).await;
    let kinds = squall_probes::all();
    let mut probe =
        kind_of(&kinds, "prometheus").open(&json!({ "server": server.url(""), "query": "up", "ttl": "0" }), &cx()).expect("opens");
    for _ in 0..3 {
        ask(&mut probe).await.expect("answered");
    }
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn no_more_than_eight_queries_are_under_way() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let moment = Arc::new(tokio::sync::Notify::new());
    let (count, peak, hold) = (now.clone(), most.clone(), moment.clone());
    let server = Server::start(move |_| {
        peak.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let Do::Say(text) = vector("1") else { unreachable!("vector gives a text") };
        Do::SayAfter(text, hold.clone())
    })
    .await;
    let kinds = squall_probes::all();
    let kind = kind_of(&kinds, "prometheus");
    let mut probes: Vec<_> =
        (0..30).map(|n| kind.open(&json!({ "server": server.url(""), "query": format!("up + {n}") }), &cx()).expect("opens")).collect();
    let all = futures_util::future::join_all(probes.iter_mut().map(ask));
    let release = async {
        for answered in 0..30 {
            crate::support::until("a query", || server.count() > answered).await;
            now.fetch_sub(1, Ordering::SeqCst);
            moment.notify_one();
        }
    };
    let (answers, ()) = tokio::join!(all, release);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most}");
}

#[tokio::test]
async fn what_is_not_a_prometheus_is_said_to_be_none() {
    let server = Server::start(|_| answer("200 OK", "", "<html>")).await;
    assert!(error("prometheus", json!({ "server": server.url(""), "query": "up" })).await.contains("check `server`"));
    let server = Server::start(|_| answer("502 Bad Gateway", "", "<html>")).await;
    assert!(error("prometheus", json!({ "server": server.url(""), "query": "up" })).await.contains("status 502"));
}

#[test]
fn the_server_is_an_address_and_the_query_is_not_empty() {
    let args = json!({ "server": "http://h:9090/api/v1/query?query=up", "query": " " });
    let said = complaints("prometheus", &args);
    assert!(said.contains("from /api/v1 on") && said.contains("`query` is empty"), "{said}");
    assert!(complaints("prometheus", &json!({ "server": "h:9090", "query": "up" })).contains("write it like"));
}
