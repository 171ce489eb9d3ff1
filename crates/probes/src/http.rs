//! `http`: one request and what its answer says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Clock, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Value};

use crate::wire::{Answer, BodyUse, Client, Endpoint, Prepared, Trust, WireError, header_map};

/// The most that is read of a body whose content matters.
const BODY_LIMIT: usize = 1024 * 1024;

/// The kind of probe.
#[derive(Debug)]
pub struct Http {
    client: Arc<Client>,
}

impl Http {
    pub(crate) const fn new(client: Arc<Client>) -> Self {
        Self { client }
    }
}

/// One request and what its answer says.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// `GET` by default.
    #[serde(default = "default_method")]
    pub method: String,
    /// `http://` or `https://`.
    pub url: String,
    /// Sent with the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Sent with the request.
    #[serde(default)]
    pub body: Option<String>,
    /// What is measured; the status by default.
    #[serde(default)]
    pub measure: HttpMeasure,
    /// Which value of a JSON answer, as a JSON Pointer (RFC 6901): `/items/0/price`. Only with `measure: json`.
    #[serde(default)]
    pub pointer: Option<String>,
    /// Whether that value is a number (the default; true and false are 1 and 0) or text. Only with `measure: json`.
    #[serde(default, rename = "as")]
    pub read_as: Option<ReadAs>,
    /// Statuses that count as success, 200 to 399 by default. Only with `measure: success`.
    #[serde(default)]
    pub success: Vec<u16>,
    /// How many redirects are followed; none by default.
    #[serde(default)]
    pub redirects: u8,
    /// For `https://`.
    #[serde(default)]
    pub tls: Tls,
}

/// Whose certificates are believed; by default the system's authorities decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Believe any certificate.
    #[serde(default)]
    pub insecure: bool,
    /// Believe what the authorities in this PEM file signed, and nothing else.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// What an `http` probe measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HttpMeasure {
    /// The status code.
    #[default]
    Status,
    /// The time from sending to the end of the answer, with connecting where no kept connection could be used.
    Latency,
    /// 1 if the status counts as success, 0 if not or if nothing usable answers. A name that does not resolve and a failed
    /// TLS handshake are not measured.
    Success,
    /// The body as text.
    Body,
    /// One value of the body as JSON.
    Json,
}

/// What a value of JSON is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReadAs {
    /// A number.
    #[default]
    Number,
    /// Text; what is not a string is taken as its JSON.
    Text,
}

fn default_method() -> String {
    "GET".into()
}

impl Args {
    fn trust(&self) -> Trust {
        match (&self.tls.ca, self.tls.insecure) {
            (_, true) => Trust::Anyone,
            (Some(ca), false) => Trust::Authority(ca.clone()),
            (None, false) => Trust::System,
        }
    }

    fn prepare(&self) -> Result<Prepared, String> {
        let endpoint = Endpoint::parse(&self.url).map_err(|e| e.to_string())?;
        let method = self.method.parse().map_err(|_| format!("`{}` is not an HTTP method", self.method))?;
        let body = Bytes::from(self.body.clone().unwrap_or_default());
        Ok(Prepared { method, endpoint, headers: header_map(&self.headers)?, body, trust: self.trust() })
    }
}

impl Probe for Http {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "http",
        summary: "The status, latency or content of one HTTP answer",
        from_anywhere: true,
        example: "\
name: checkout is up
http: { url: \"http://127.0.0.1:8080/health\", measure: status }
expect: { eq: 200 }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        match Endpoint::parse(&args.url) {
            Err(error) => errors.push(ArgError::field("url", error.message, error.hint)),
            Ok(endpoint) if !endpoint.https && args.tls != Tls::default() => {
                errors.push(ArgError::field("tls", "`tls` has no use with http://", "write https:// or leave `tls` out".to_owned()));
            }
            Ok(_) => {}
        }
        if args.method.parse::<::http::Method>().is_err() {
            let message = format!("`{}` is not an HTTP method", args.method);
            errors.push(ArgError::field("method", message, "write it like `GET` or `POST`".to_owned()));
        }
        if let Err(message) = header_map(&args.headers) {
            errors.push(ArgError::field("headers", message, None));
        }
        if args.tls.insecure && args.tls.ca.is_some() {
            errors.push(ArgError::field("tls", "`insecure` makes `ca` useless", "keep one of the two".to_owned()));
        }
        errors.extend(check_measure(args));
        errors
    }

    fn dimension(&self, args: &Args) -> Dimension {
        match args.measure {
            HttpMeasure::Latency => Dimension::Time,
            HttpMeasure::Body => Dimension::Text,
            HttpMeasure::Json if args.read_as == Some(ReadAs::Text) => Dimension::Text,
            HttpMeasure::Status | HttpMeasure::Success | HttpMeasure::Json => Dimension::Number,
        }
    }

    fn describe(&self, args: &Args) -> String {
        let what = match args.measure {
            HttpMeasure::Status => "status".into(),
            HttpMeasure::Latency => "latency".into(),
            HttpMeasure::Success => "success".into(),
            HttpMeasure::Body => "body".into(),
            HttpMeasure::Json => args.pointer.clone().unwrap_or_else(|| "JSON".into()),
        };
        format!("{what} of {} {}", args.method, args.url)
    }

    fn open(&self, args: Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let prepared = args.prepare()?;
        Ok(Box::new(Open { client: self.client.clone(), clock: cx.clock.clone(), prepared, args }))
    }
}

/// Options that belong to one measure.
fn check_measure(args: &Args) -> Vec<ArgError> {
    let mut errors = Vec::new();
    let json = args.measure == HttpMeasure::Json;
    match &args.pointer {
        None if json => {
            let hint = "write `pointer: /path/to/the/value`".to_owned();
            errors.push(ArgError::field("pointer", "`measure: json` needs `pointer`", hint));
        }
        Some(_) if !json => errors.push(only_with("pointer", "json")),
        Some(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => {
            let hint = format!("write it like `/{}`", pointer.trim_start_matches("$.").replace('.', "/"));
            errors.push(ArgError::field("pointer", format!("`{pointer}` is not a JSON Pointer: it starts with `/`"), hint));
        }
        _ => {}
    }
    if args.read_as.is_some() && !json {
        errors.push(only_with("as", "json"));
    }
    if !args.success.is_empty() && args.measure != HttpMeasure::Success {
        errors.push(only_with("success", "success"));
    }
    errors
}

fn only_with(field: &str, measure: &str) -> ArgError {
    ArgError::field(
        field,
        format!("`{field}` has no use without `measure: {measure}`"),
        format!("add `measure: {measure}` or leave `{field}` out"),
    )
}

struct Open {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    prepared: Prepared,
    args: Args,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let start = self.clock.now();
            let body = match self.args.measure {
                HttpMeasure::Body | HttpMeasure::Json => BodyUse::Collect(BODY_LIMIT),
                _ => BodyUse::Discard,
            };
            let answer = self.client.send(&self.prepared, self.args.redirects, body).await;
            let took = self.clock.now().saturating_sub(start);
            match self.args.measure {
                HttpMeasure::Success => success(answer, &self.args.success),
                HttpMeasure::Latency => answer.map(|_| Value::Number(took.as_secs_f64())).map_err(|e| e.to_string()),
                HttpMeasure::Status => answer.map(|a| Value::Number(f64::from(a.head.status.as_u16()))).map_err(|e| e.to_string()),
                HttpMeasure::Body => answer.map(|a| Value::Text(String::from_utf8_lossy(&a.body).into_owned())).map_err(|e| e.to_string()),
                HttpMeasure::Json => {
                    let answer = answer.map_err(|e| e.to_string())?;
                    json_value(&answer, self.args.pointer.as_deref().unwrap_or_default(), self.args.read_as.unwrap_or_default())
                }
            }
        })
    }
}

fn success(answer: Result<Answer, WireError>, wanted: &[u16]) -> Result<Value, String> {
    let good = match answer {
        Ok(answer) => {
            let status = answer.head.status.as_u16();
            if wanted.is_empty() { (200..400).contains(&status) } else { wanted.contains(&status) }
        }
        Err(error) if error.is_measured_failure() => false,
        Err(error) => return Err(error.to_string()),
    };
    Ok(Value::Number(f64::from(u8::from(good))))
}

fn json_value(answer: &Answer, pointer: &str, read_as: ReadAs) -> Result<Value, String> {
    let status = answer.head.status;
    let json: serde_json::Value =
        serde_json::from_slice(&answer.body).map_err(|e| format!("the answer (status {}) is not JSON: {e}", status.as_u16()))?;
    let value = json.pointer(pointer).ok_or_else(|| format!("nothing at `{pointer}` in the answer (status {})", status.as_u16()))?;
    match (read_as, value) {
        (ReadAs::Text, serde_json::Value::String(text)) => Ok(Value::Text(text.clone())),
        (ReadAs::Text, other) => Ok(Value::Text(other.to_string())),
        (ReadAs::Number, serde_json::Value::Bool(flag)) => Ok(Value::Number(f64::from(u8::from(*flag)))),
        (ReadAs::Number, other) => {
            let number = other.as_f64().or_else(|| other.as_str().and_then(|text| text.trim().parse().ok()));
            match number {
                Some(number) if number.is_finite() => Ok(Value::Number(number)),
                _ => Err(format!("`{pointer}` is {other}, not a number; write `as: text` to compare it as text")),
            }
        }
    }
}
