//! What rules may do to HTTP exchanges: one file each; the list below is what there is, beside the kinds of `stream`, `model` and
//! `data`, which work on bodies.

use std::fmt::Debug;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::plan::{Asked, Draw, OwnAnswer, Plan};
use crate::stream::{self, Compiled, OnBody};

mod abort;
mod body;
mod by_header;
mod cold_start;
mod delay;
mod drop;
mod encoding;
mod function_timeout;
mod headers;
mod length;
mod malformed;
mod query;
mod rate_limit;
mod slow_body;
mod throttle;
mod truncate;

#[cfg(test)]
mod tests;

/// A fault's settings, checked, at work on exchanges.
pub(crate) trait Action: Debug + Send + Sync {
    /// Whether it would do anything to this request. Asked once for each request that its rule would hit.
    fn wants(&self, _asked: &Asked<'_>) -> bool {
        true
    }

    /// Adds what it does to the plan.
    fn plan(&self, asked: &Asked<'_>, draw: &Draw, plan: &mut Plan);
}

/// One kind of fault, as its family lists it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// As rules name it: `http.delay`.
    pub name: &'static str,
    /// The JSON schema of its settings. The schema's description says what the kind does.
    pub schema: fn() -> schemars::Schema,
    compile: Compile,
}

type Compile = fn(&Map<String, Value>) -> Result<Box<dyn Action>, String>;

/// Settings that check themselves beyond their types.
pub(crate) trait Settings: Action + DeserializeOwned + schemars::JsonSchema + 'static {
    /// What is wrong with them, and what to write instead.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

fn settings<S: Settings>(with: &Map<String, Value>) -> Result<Box<dyn Action>, String> {
    let settings: S = serde_json::from_value(Value::Object(with.clone())).map_err(|error| format!("with: {error}"))?;
    settings.check().map_err(|error| format!("with: {error}"))?;
    Ok(Box::new(settings))
}

macro_rules! kinds {
    ($($name:literal => $settings:ty,)*) => {
        /// The faults on HTTP exchanges, and on functions behind HTTP.
        pub const KINDS: &[Kind] = &[$(Kind { name: $name, schema: || schemars::schema_for!($settings), compile: settings::<$settings> },)*];
    };
}

kinds! {
    "http.delay" => delay::Delay,
    "http.abort" => abort::Abort,
    "http.headers" => headers::Headers,
    "http.query" => query::Query,
    "http.body" => body::BodySettings,
    "http.truncate" => truncate::Truncate,
    "http.malformed" => malformed::Malformed,
    "http.length" => length::Length,
    "http.encoding" => encoding::Encoding,
    "http.slowBody" => slow_body::SlowBody,
    "http.drop" => drop::Drop,
    "http.rateLimit" => rate_limit::RateLimit,
    "http.byHeader" => by_header::ByHeader,
    "function.coldStart" => cold_start::ColdStart,
    "function.timeout" => function_timeout::FunctionTimeout,
    "function.throttle" => throttle::Throttle,
}

/// The names of all kinds that rules on HTTP may use.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let bodies = stream::KINDS.iter().chain(stream::MODEL_KINDS).chain(crate::data::KINDS);
    KINDS.iter().map(|kind| kind.name).chain(bodies.map(|kind| kind.name))
}

/// Makes a rule's fault ready. An error is what is wrong, and what to do.
pub(crate) fn compile(name: &str, with: &Map<String, Value>) -> Result<Box<dyn Action>, (String, Option<String>)> {
    if let Some(kind) = KINDS.iter().find(|kind| kind.name == name) {
        return (kind.compile)(with).map_err(|error| (error, None));
    }
    let mut bodies = stream::KINDS.iter().chain(stream::MODEL_KINDS).chain(crate::data::KINDS);
    if let Some(kind) = bodies.find(|kind| kind.name == name) {
        return match (kind.compile)(with).map_err(|error| (error.to_string(), None))? {
            Compiled::Body(kind) => Ok(Box::new(OnResponse(kind.into()))),
            Compiled::Answer(kind) => Ok(Box::new(Refusal(kind))),
        };
    }
    let close = names().map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    let hint = match close {
        Some((distance, known)) if distance <= 3 => format!("did you mean `{known}`?"),
        _ => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err((format!("there is no fault `{name}`"), Some(hint)))
}

/// A kind that works on the body of the response.
#[derive(Debug)]
struct OnResponse(Arc<dyn OnBody>);

impl Action for OnResponse {
    fn plan(&self, _asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        plan.bodies.push((self.0.clone(), draw.seed));
    }
}

/// A kind that answers.
#[derive(Debug)]
struct Refusal(Box<dyn stream::Instead>);

impl Action for Refusal {
    fn plan(&self, asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        let answer = self.0.answer(&String::from_utf8_lossy(asked.target), draw.seed);
        let fields = answer.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        plan.answer.get_or_insert(OwnAnswer { status: answer.status, fields, body: answer.body });
    }
}

/// Whether this can stand as the name of a header field (RFC 9110, section 5.1).
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    match http::HeaderName::try_from(name) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("`{name}` is no name of a header")),
    }
}

/// Whether this can stand as the value of a header field.
pub(crate) fn check_value(value: &str) -> Result<(), String> {
    match http::HeaderValue::try_from(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("`{}` cannot stand in a header", value.escape_debug())),
    }
}
