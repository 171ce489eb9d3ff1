//! `prometheus`: one value of a PromQL query, shared between probes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{HeaderValue, Method, header};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Clock, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Time, Value};
use tokio::sync::Semaphore;

use crate::wire::{BodyUse, Client, Endpoint, Prepared, Trust, header_map};

/// Queries under way at once, over all servers.
const CONCURRENCY: usize = 8;
/// The most that is read of an answer.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// A failure is shared for at most this long: with those who waited for it, not with those who come later.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Answers kept before those that are too old are thrown away.
const KEPT: usize = 512;

/// The kind of probe.
#[derive(Debug)]
pub struct Prometheus {
    queries: Arc<Queries>,
}

impl Prometheus {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { queries: Arc::new(Queries { client, kept: Mutex::default(), gate: Semaphore::new(CONCURRENCY) }) }
    }
}

/// One value of a PromQL query.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// Where Prometheus, or what speaks its API, is: `http://127.0.0.1:9090`.
    pub server: String,
    /// PromQL with one value as its result: a scalar, or one series.
    pub query: String,
    /// Sent with the query, for example `Authorization` or `X-Scope-OrgID`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long a result is used again, by this and other probes with the same query; 5 s by default, 0 for never.
    #[serde(default = "default_ttl")]
    pub ttl: Time,
    /// What no series means; not measured by default.
    #[serde(default)]
    pub empty: Empty,
}

/// What a result without any series means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Empty {
    /// It could not be measured.
    #[default]
    Unmeasured,
    /// 0: right for counts of what may never have happened.
    Zero,
}

fn default_ttl() -> Time {
    Time::from_secs(5)
}

impl Probe for Prometheus {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "prometheus",
        summary: "One value of a PromQL query",
        from_anywhere: true,
        example: "\
name: errors
prometheus:
  server: \"http://127.0.0.1:9090\"
  query: 'sum(rate(http_requests_total{status=~\"5..\"}[1m]))'
expect: { lt: 0.01 }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        match Endpoint::parse(&args.server) {
            Err(error) => errors.push(ArgError::field("server", error.message, error.hint)),
            Ok(endpoint) if endpoint.path.query().is_some() || endpoint.path.path().contains("/api/v1") => {
                let message = format!("`{}` is more than the server's address", args.server);
                errors.push(ArgError::field("server", message, "leave out everything from /api/v1 on".to_owned()));
            }
            Ok(_) => {}
        }
        if args.query.trim().is_empty() {
            errors.push(ArgError::field("query", "`query` is empty", "write PromQL with one value, such as `sum(up)`".to_owned()));
        }
        if let Err(message) = header_map(&args.headers) {
            errors.push(ArgError::field("headers", message, None));
        }
        errors
    }

    fn dimension(&self, _: &Args) -> Dimension {
        Dimension::Number
    }

    fn describe(&self, args: &Args) -> String {
        args.query.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn open(&self, args: Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let request = request(&args)?;
        Ok(Box::new(Open { queries: self.queries.clone(), clock: cx.clock.clone(), request: Arc::new(request), args }))
    }
}

struct Open {
    queries: Arc<Queries>,
    clock: Arc<dyn Clock>,
    request: Arc<Prepared>,
    args: Args,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let key = (self.args.server.clone(), self.args.query.clone(), self.args.headers.clone());
            match self.queries.ask(key, &self.request, self.args.ttl, self.clock.as_ref()).await? {
                Some(value) => Ok(Value::Number(value)),
                None if self.args.empty == Empty::Zero => Ok(Value::Number(0.0)),
                None => Err("the query returned no series; if that means none, write `empty: zero` or append `or vector(0)`".into()),
            }
        })
    }
}

type Key = (String, String, BTreeMap<String, String>);
/// `None` is a result without series.
type Outcome = Result<Option<f64>, String>;

#[derive(Debug, Default)]
struct Entry(tokio::sync::Mutex<Option<(Duration, Outcome)>>);

/// Results shared by everybody who asks the same: one query at a time for each, a few at a time over all.
#[derive(Debug)]
struct Queries {
    client: Arc<Client>,
    kept: Mutex<HashMap<Key, Arc<Entry>>>,
    gate: Semaphore,
}

impl Queries {
    async fn ask(&self, key: Key, request: &Prepared, ttl: Time, clock: &dyn Clock) -> Outcome {
        let entry = self.entry(key);
        let asked = clock.now();
        // Whoever holds the lock asks; the others wait for it and find its answer. If it gives up, the next one asks.
        let mut kept = entry.0.lock().await;
        if let Some((at, outcome)) = &*kept {
            let fresh = if outcome.is_ok() { ttl.std() } else { ttl.std().min(FAILURE_KEPT) };
            if *at >= asked || clock.now().saturating_sub(*at) < fresh {
                return outcome.clone();
            }
        }
        let outcome = self.query(request).await;
        *kept = Some((clock.now(), outcome.clone()));
        outcome
    }

    fn entry(&self, key: Key) -> Arc<Entry> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        kept.entry(key).or_default().clone()
    }

    async fn query(&self, request: &Prepared) -> Outcome {
        let _turn = self.gate.acquire().await.map_err(|e| e.to_string())?;
        let answer = self.client.send(request, 3, BodyUse::Collect(BODY_LIMIT)).await.map_err(|e| e.to_string())?;
        let status = answer.head.status;
        let reply: Reply = match serde_json::from_slice(&answer.body) {
            Ok(reply) => reply,
            Err(_) if !status.is_success() => return Err(format!("the server answered with status {}", status.as_u16())),
            Err(error) => return Err(format!("the answer is not that of a Prometheus API ({error}); check `server`")),
        };
        match reply.data {
            Some(data) if reply.status == "success" => value(&data),
            _ => Err(format!(
                "Prometheus says {}: {}",
                reply.error_type.as_deref().unwrap_or("error"),
                reply.error.as_deref().unwrap_or("no reason given")
            )),
        }
    }
}

/// The form of <https://prometheus.io/docs/prometheus/latest/querying/api/>. Unknown fields are left alone: servers that speak
/// this API add their own.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status: String,
    data: Option<Data>,
    error_type: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

fn value(data: &Data) -> Outcome {
    match data.result_type.as_str() {
        "scalar" => number(&data.result).map(Some),
        "vector" => match data.result.as_array().map(Vec::as_slice) {
            Some([]) => Ok(None),
            Some([one]) => match one.get("value") {
                Some(sample) => number(sample).map(Some),
                None => Err("the series is a histogram, not a value; wrap it, for example in `histogram_quantile(0.99, …)`".into()),
            },
            Some(several) => Err(format!(
                "the query returned {} series and one is needed; aggregate them, for example with `sum(…)` or `max(…)`",
                several.len()
            )),
            None => Err("the answer is not that of a Prometheus API; check `server`".into()),
        },
        "matrix" => Err("the query returns a range of values; wrap it, for example in `rate(…)` or `max_over_time(…)`".into()),
        other => Err(format!("the query returns a {other}, not a number")),
    }
}

/// A sample is `[time, "value"]`.
fn number(sample: &serde_json::Value) -> Result<f64, String> {
    let text = sample.get(1).and_then(serde_json::Value::as_str).ok_or("the answer is not that of a Prometheus API; check `server`")?;
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) if value.is_nan() => Err("the value is NaN, as of a division of nothing by nothing".into()),
        Ok(_) => Err(format!("the value is {text}, as of a division by nothing")),
        Err(_) => Err(format!("the value `{text}` is not a number")),
    }
}

fn request(args: &Args) -> Result<Prepared, String> {
    let base = args.server.trim_end_matches('/');
    let form = format!("query={}", encode(&args.query));
    let mut headers = header_map(&args.headers)?;
    // GET may be sent again when a kept connection turns out closed; a URL has no room for the longest queries.
    let short = form.len() < 4000;
    let (method, url, body) = if short {
        (Method::GET, format!("{base}/api/v1/query?{form}"), Bytes::new())
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        (Method::POST, format!("{base}/api/v1/query"), Bytes::from(form))
    };
    let endpoint = Endpoint::parse(&url).map_err(|e| e.to_string())?;
    Ok(Prepared { method, endpoint, headers, body, trust: Trust::System })
}

/// Percent-encoding of everything but unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
