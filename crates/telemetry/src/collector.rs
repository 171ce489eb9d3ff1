//! Where traces are sent, as the OpenTelemetry specification says
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>): OTLP over HTTP, in JSON.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use squall_report::Report;

use crate::trace::trace;

/// `OTEL_EXPORTER_OTLP_TIMEOUT` by default.
const PATIENCE: Duration = Duration::from_secs(10);

/// A collector of traces. Cheap to clone.
#[derive(Clone)]
pub struct Collector {
    http: reqwest::Client,
    url: String,
    service: String,
}

/// Why a trace was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectorError {
    /// A variable of the environment cannot be used.
    #[error("{variable}: {reason}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// Why.
        reason: String,
    },
    /// The collector did not take it.
    #[error("the collector {url} did not take the trace: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
}

impl fmt::Debug for Collector {
    // Headers may hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Collector {
    /// From `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (the whole URL) or `OTEL_EXPORTER_OTLP_ENDPOINT` (to which `/v1/traces` is added), with
    /// `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_SERVICE_NAME`. Nothing where no endpoint is given, or `OTEL_SDK_DISABLED` is `true`.
    pub fn from_env() -> Result<Option<Self>, CollectorError> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, CollectorError> {
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let base = || variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| format!("{}/v1/traces", base.trim_end_matches('/')));
        let Some(url) = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(base) else { return Ok(None) };
        let endpoint = |reason: String| CollectorError::Variable { variable: "OTEL_EXPORTER_OTLP_ENDPOINT", reason };
        let parsed = reqwest::Url::parse(&url).map_err(|e| endpoint(format!("`{url}` is no URL: {e}")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(endpoint(format!("`{url}` does not begin with `http://` or `https://`: traces are sent over HTTP")));
        }
        let headers = headers(&variable("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default())?;
        let http =
            reqwest::Client::builder().default_headers(headers).timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|e| endpoint(e.to_string()))?;
        let service = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "squall".to_owned());
        Ok(Some(Self { http, url, service }))
    }

    /// Sends the trace of a run.
    pub async fn send(&self, report: &Report) -> Result<(), CollectorError> {
        let refused = |reason: String| CollectorError::Refused { url: self.url.clone(), reason };
        let body = trace(report, &self.service).ok_or_else(|| refused(format!("the run's start `{}` is no time", report.facts.started)))?;
        let request = self.http.post(&self.url).header(CONTENT_TYPE, "application/json").body(body.to_string());
        let response = request.send().await.map_err(|e| refused(e.without_url().to_string()))?;
        if response.status().is_success() { Ok(()) } else { Err(refused(response.status().to_string())) }
    }
}

/// `name=value` pairs with commas between them.
fn headers(text: &str) -> Result<HeaderMap, CollectorError> {
    let wrong = || CollectorError::Variable {
        variable: "OTEL_EXPORTER_OTLP_HEADERS",
        reason: "it is not `name=value`, with commas between several".to_owned(),
    };
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name.trim().parse::<HeaderName>().map_err(|_| wrong())?, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Option<Collector>, CollectorError> {
        Collector::from_variables(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_endpoint_is_as_the_specification_says() {
        assert!(from(&[]).expect("nothing").is_none());
        let base = from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/")]).expect("good").expect("a collector");
        assert_eq!((base.url.as_str(), base.service.as_str()), ("http://127.0.0.1:4318/v1/traces", "squall"));
        let own = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://b/traces"),
            ("OTEL_SERVICE_NAME", "s"),
        ];
        assert_eq!(from(&own).expect("good").map(|c| (c.url, c.service)), Some(("https://b/traces".into(), "s".into())));
        let off = [("OTEL_SDK_DISABLED", "true"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a")];
        assert!(from(&off).expect("good").is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named_and_keys_are_not() {
        assert!(from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318")]).is_err());
        assert!(from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://a:4317")]).is_err());
        let key = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret, other=1")];
        let collector = from(&key).expect("good").expect("a collector");
        assert!(!format!("{collector:?}").contains("secret"));
        let error = from(&[key[0], ("OTEL_EXPORTER_OTLP_HEADERS", "secret")]).expect_err("no pair");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
