//! Answers: proxies, toxics, rules and errors as Toxiproxy writes them.

use serde_json::{Map, Value, json};

use super::go_text;
use crate::control::{ControlError, ProxyInfo, ToxicInfo};
use crate::rule::RuleSpec;
use crate::toxic::Direction;

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, content_type: None, body: String::new() }
    }

    pub(super) fn text(status: u16, content_type: &'static str, body: String) -> Self {
        Self { status, content_type: Some(content_type), body }
    }

    pub(super) fn plain(status: u16, line: &str) -> Self {
        Self::text(status, PLAIN, format!("{line}\n"))
    }

    pub(super) fn not_found() -> Self {
        Self::plain(404, "404 page not found")
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::text(status, JSON, go_text::json(value))
    }

    pub(super) fn error(status: u16, message: &str) -> Self {
        // JSON that calls itself text, as Go's `http.Error` has it.
        Self::plain(status, &go_text::json(&json!({"error": message, "status": status})))
    }
}

impl From<ControlError> for Reply {
    fn from(error: ControlError) -> Self {
        Self::error(status(&error), &error.to_string())
    }
}

/// The status that goes with an error.
pub(super) fn status(error: &ControlError) -> u16 {
    match error {
        ControlError::ProxyNotFound | ControlError::ToxicNotFound | ControlError::RuleNotFound => 404,
        ControlError::ProxyExists | ControlError::ToxicExists | ControlError::RuleExists => 409,
        ControlError::Missing(_)
        | ControlError::Stream
        | ControlError::ToxicType
        | ControlError::Attribute(_)
        | ControlError::Body(_)
        | ControlError::Upstream(_)
        | ControlError::Rule(_) => 400,
        ControlError::Listen(_) | ControlError::Resolve(_) => 500,
        ControlError::At { error, .. } => status(error),
    }
}

pub(super) fn proxy(info: &ProxyInfo) -> Value {
    let mut value = json!({
        "name": info.name,
        "listen": info.listen,
        "upstream": info.upstream,
        "enabled": info.enabled,
        // A field that Toxiproxy shows by mistake, and that strict clients expect.
        "Logger": {},
        "toxics": info.toxics.iter().map(toxic).collect::<Vec<_>>(),
    });
    if let (Value::Object(map), false) = (&mut value, info.rules.is_empty()) {
        map.insert("rules".into(), rules(&info.rules));
    }
    if let (Value::Object(map), Some(tls)) = (&mut value, &info.tls) {
        // Text, lists and switches: it is always JSON.
        map.insert("tls".into(), serde_json::to_value(tls).unwrap_or_default());
    }
    value
}

pub(super) fn toxic(info: &ToxicInfo) -> Value {
    let spec = &info.spec;
    let attributes: Map<String, Value> = spec
        .toxic
        .attributes()
        .into_iter()
        .map(|(name, value)| if value.is_f64() { (name, go_text::number(value.as_f64().unwrap_or_default())) } else { (name, value) })
        .collect();
    let stream = match spec.stream {
        Direction::Upstream => "upstream",
        Direction::Downstream => "downstream",
    };
    let mut value = json!({
        "attributes": attributes,
        "name": spec.name,
        "type": spec.toxic.type_name(),
        "stream": stream,
        "toxicity": go_text::float32(spec.toxicity),
    });
    if let (Value::Object(map), Some(time)) = (&mut value, info.time_box) {
        map.insert("for".into(), Value::String(time.to_string()));
    }
    value
}

pub(super) fn rules(rules: &[RuleSpec]) -> Value {
    Value::Array(rules.iter().map(rule).collect())
}

pub(super) fn rule(rule: &RuleSpec) -> Value {
    // Text, numbers and maps with text for keys: it is always JSON.
    serde_json::to_value(rule).unwrap_or_default()
}
