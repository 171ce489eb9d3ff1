//! What bodies say: lenient where Toxiproxy is, strict where only Squall's clients write (rules, time boxes).

use serde::de::DeserializeOwned;
use serde_json::Value;
use squall_model::Time;

use super::go_json::{Fields, first_value, kind};
use crate::control::{ControlError, NewProxy, NewToxic, ProxyUpdate, ToxicUpdate};
use crate::rule::RuleSpec;
use crate::tls::TlsSpec;

/// A value that describes no proxy. The message is that of the API, without `bad request body: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(String);

type Read<T> = Result<T, ControlError>;

fn bad(text: String) -> ControlError {
    ControlError::Body(text)
}

fn value(body: &[u8]) -> Read<Value> {
    first_value(body).map_err(bad)
}

pub(super) fn new_proxy(body: &[u8]) -> Read<NewProxy> {
    proxy(&value(body)?, "Proxy", "toxiproxy.Proxy").map_err(bad)
}

/// A proxy as a body or a file describes it, with its toxics and rules. Unknown fields are ignored, as Toxiproxy ignores
/// them; in rules they are errors.
pub fn proxy_from_json(value: &Value) -> Result<NewProxy, ReadError> {
    proxy(value, "Proxy", "toxiproxy.Proxy").map_err(ReadError)
}

fn proxy(value: &Value, structure: &'static str, root: &str) -> Result<NewProxy, String> {
    let fields = Fields::of(value, structure, root)?;
    let toxics = match fields.get("toxics") {
        None => Vec::new(),
        Some(Value::Array(toxics)) => toxics.iter().map(toxic).collect::<Result<_, _>>()?,
        Some(other) => {
            return Err(format!("json: cannot unmarshal {} into Go struct field {structure}.toxics of type []toxics.Toxic", kind(other)));
        }
    };
    let rules = match fields.get("rules") {
        None => Vec::new(),
        Some(Value::Array(rules)) => rules.iter().map(rule).collect::<Result<_, _>>()?,
        Some(other) => return Err(format!("rules: a list of rules, not {}", kind(other))),
    };
    Ok(NewProxy {
        name: fields.string("name")?.unwrap_or_default(),
        listen: fields.string("listen")?.unwrap_or_default(),
        upstream: fields.string("upstream")?.unwrap_or_default(),
        enabled: fields.boolean("enabled")?.unwrap_or(true),
        toxics,
        rules,
        tls: tls(fields)?,
    })
}

/// The proxies in a body of `POST /populate`, or a file of the same form.
pub fn proxies_from_json(body: &[u8]) -> Read<Vec<NewProxy>> {
    const ROOT: &str = "[]struct { toxiproxy.Proxy; Enabled *bool \"json:\\\"enabled\\\"\" }";
    match value(body)? {
        Value::Array(all) => all.iter().map(|one| proxy(one, "", "struct").map_err(bad)).collect(),
        Value::Null => Ok(Vec::new()),
        other => Err(bad(format!("json: cannot unmarshal {} into Go value of type {ROOT}", kind(&other)))),
    }
}

pub(super) fn proxy_update(body: &[u8]) -> Read<ProxyUpdate> {
    let value = value(body)?;
    let read = || {
        let fields = Fields::of(&value, "Proxy", "toxiproxy.Proxy")?;
        Ok(ProxyUpdate {
            listen: fields.string("listen")?,
            upstream: fields.string("upstream")?,
            enabled: fields.boolean("enabled")?,
            tls: tls(fields)?,
        })
    };
    read().map_err(bad)
}

pub(super) fn new_toxic(body: &[u8]) -> Read<NewToxic> {
    toxic(&value(body)?).map_err(bad)
}

fn toxic(value: &Value) -> Result<NewToxic, String> {
    let fields = Fields::of(value, "ToxicWrapper", "toxics.ToxicWrapper")?;
    let stream = match fields.get("stream") {
        // Given and empty is none of the two, left out is downstream.
        Some(Value::String(text)) if text.is_empty() => "\"\"".to_owned(),
        _ => fields.string("stream")?.unwrap_or_default(),
    };
    Ok(NewToxic {
        name: fields.string("name")?.unwrap_or_default(),
        kind: fields.string("type")?.unwrap_or_default(),
        stream,
        toxicity: fields.float32("toxicity")?.unwrap_or(1.0),
        attributes: fields.object("attributes", "toxics.NoopToxic")?,
        time_box: time_box(fields)?,
    })
}

pub(super) fn toxic_update(body: &[u8]) -> Read<ToxicUpdate> {
    let value = value(body)?;
    let read = || {
        let fields = Fields::of(
            &value,
            "",
            "struct { Attributes interface {} \"json:\\\"attributes\\\"\"; Toxicity float32 \"json:\\\"toxicity\\\"\" }",
        )?;
        let attributes = fields.object("attributes", "toxics.Toxic")?;
        Ok(ToxicUpdate { attributes, toxicity: fields.float32("toxicity")?, time_box: time_box(fields)? })
    };
    read().map_err(bad)
}

fn time_box(fields: Fields<'_>) -> Result<Option<Time>, String> {
    fields.string("for")?.map(|text| text.parse().map_err(|error| format!("for: {error}"))).transpose()
}

pub(super) fn new_rule(body: &[u8]) -> Read<RuleSpec> {
    rule(&value(body)?).map_err(bad)
}

fn rule(value: &Value) -> Result<RuleSpec, String> {
    strict(value, "the rule")
}

fn tls(fields: Fields<'_>) -> Result<Option<TlsSpec>, String> {
    fields.get("tls").map(|value| strict(value, "tls")).transpose()
}

fn strict<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T, String> {
    let decoded = squall_model::decode::<T>(value, what);
    match (decoded.problems.first(), decoded.value) {
        (Some(problem), _) => {
            let hint = problem.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
            Err(format!("{}{hint}", problem.message))
        }
        (None, Some(read)) => Ok(read),
        (None, None) => Err(format!("{what} cannot be read")),
    }
}

/// The value of `after` in a query, 0 where there is none.
pub(super) fn after(query: &str) -> Read<u64> {
    let given = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == "after");
    given.map_or(Ok(0), |(_, number)| number.parse().map_err(|_| bad(format!("after: a number of an event, not `{number}`"))))
}
