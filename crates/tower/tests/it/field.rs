//! A service with the layer, and somebody who sets faults for it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use squall_tower::file::{self, Held};
use squall_tower::{Failure, Faults, Latency, Setting};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service that listens, with a directory of its own for faults. It ends with the runtime of its test.
pub struct Field {
    pub faults: Faults,
    pub url: String,
    pub client: reqwest::Client,
    scratch: tempfile::TempDir,
}

impl Field {
    pub async fn new(service: &str) -> Self {
        let scratch = tempfile::Builder::new().prefix("squall-tower-").tempdir().expect("a directory");
        let faults = Faults::watch_in(service, [scratch.path().join("faults")]);
        let url = serve(&faults).await;
        Self { faults, url, client: reqwest::Client::new(), scratch }
    }

    pub fn directory(&self) -> PathBuf {
        self.scratch.path().join("faults")
    }

    /// Sets a fault, and waits until the service has taken it up.
    pub async fn set(&self, setting: &Setting) -> Held {
        let held = file::publish(&self.directory(), setting).expect("set");
        eventually("it is taken up", || self.taken(&setting.id)).await;
        held
    }

    pub fn taken(&self, id: &str) -> bool {
        file::look(&self.directory(), id).expect("looked at").is_some_and(|standing| standing.taken)
    }

    /// The status of one request, and how long it took.
    pub async fn ask(&self, path: &str) -> (u16, Duration) {
        timed(self.client.get(format!("{}{path}", self.url))).await
    }
}

pub async fn timed(request: reqwest::RequestBuilder) -> (u16, Duration) {
    let from = now();
    let status = request.send().await.expect("answered").status().as_u16();
    (status, now() - from)
}

pub fn app(faults: &Faults) -> Router {
    let echo = post(|body: String| async move { body });
    let page = get(|| async { "good" });
    Router::new().route("/cart", page.clone()).route("/products", page).route("/echo", echo).layer(faults.layer())
}

async fn serve(faults: &Faults) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = app(faults);
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// A fault that does nothing yet, for 60 s.
pub fn fault(id: &str) -> Setting {
    Setting {
        version: Setting::VERSION,
        id: id.into(),
        service: "checkout".into(),
        paths: Vec::new(),
        methods: Vec::new(),
        points: Vec::new(),
        latency: None,
        failure: None,
        seed: 42,
        deadline: in_future(Duration::from_mins(1)),
    }
}

pub fn slow(id: &str, millis: u64) -> Setting {
    Setting { latency: Some(Latency { micros: millis * 1_000, jitter_micros: 0 }), ..fault(id) }
}

pub fn failing(id: &str, rate: f64, status: u16) -> Setting {
    Setting { failure: Some(Failure { rate, status }), ..fault(id) }
}

pub fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

pub fn in_future(time: Duration) -> u64 {
    u64::try_from((now() + time).as_nanos()).expect("less than 584 years")
}

pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    eventually_async(what, || std::future::ready(condition())).await;
}

#[expect(clippy::disallowed_methods, reason = "a pause between two looks at a real thing, with a deadline")]
pub async fn eventually_async<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let end = now() + PATIENCE;
    while !condition().await {
        assert!(now() < end, "{what}: not so after {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What is in a directory, by name.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
