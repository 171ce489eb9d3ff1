//! `stream.errorEvent`

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::dialect::Dialect;
use super::edit::{Editor, Event, Picker, Then, finish, on_stream};
use super::kind::{Body, OnBody, Settings};
use super::scan::Framing;
use crate::body::{BodyFault, Steps};

/// Puts the provider's error event in the place of an event, after a status of 200 and half an answer, and ends the stream. Finds
/// clients that look for errors in the status alone.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorEvent {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// Which error, in the shape that the stream's provider gives it; `overloaded` by default.
    #[serde(default)]
    pub error: ModelError,
    /// The error's message; the provider's own where it is left out.
    #[serde(default)]
    pub message: Option<String>,
}

/// What is wrong with the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ModelError {
    /// Too much to do for all (`overloaded_error`, `server_error`).
    #[default]
    Overloaded,
    /// Too many requests or tokens of this account (`rate_limit_error`, `rate_limit_exceeded`).
    RateLimited,
    /// Something broke (`api_error`, `server_error`).
    Server,
}

impl ModelError {
    /// Anthropic's type and message.
    pub(super) fn anthropic(self) -> (&'static str, &'static str) {
        match self {
            Self::Overloaded => ("overloaded_error", "Overloaded"),
            Self::RateLimited => ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
            Self::Server => ("api_error", "Internal server error"),
        }
    }

    /// OpenAI's type, code and message.
    pub(super) fn openai(self) -> (&'static str, Option<&'static str>, &'static str) {
        match self {
            Self::Overloaded => ("server_error", None, "The engine is currently overloaded, please try again later"),
            Self::RateLimited => ("requests", Some("rate_limit_exceeded"), "Rate limit reached for requests"),
            Self::Server => ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
        }
    }
}

impl Settings for ErrorEvent {}

impl OnBody for ErrorEvent {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Failing { picker: Picker::first(self.after), settings: self.clone() })
    }
}

struct Failing {
    picker: Picker,
    settings: ErrorEvent,
}

impl Editor for Failing {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.counts() && self.picker.picks() {
            out.send(self.settings.bytes(event));
            return finish(out);
        }
        out.send(event.raw());
        Then::GoOn
    }
}

impl ErrorEvent {
    fn bytes(&self, event: &Event) -> Bytes {
        let own = self.message.as_deref();
        let (kind, code, message) = self.error.openai();
        let message = serde_json::Value::from(own.unwrap_or(message));
        let code = serde_json::Value::from(code);
        let (name, data) = match event.dialect {
            Dialect::Anthropic => {
                let (kind, message) = self.error.anthropic();
                let message = serde_json::Value::from(own.unwrap_or(message));
                (Some("error"), format!(r#"{{"type":"error","error":{{"type":"{kind}","message":{message}}}}}"#))
            }
            Dialect::OpenAiChat => (None, format!(r#"{{"error":{{"message":{message},"type":"{kind}","param":null,"code":{code}}}}}"#)),
            Dialect::OpenAiResponses => {
                let code = if code.is_null() { serde_json::Value::from(kind) } else { code };
                let number = event.json.and_then(|json| json.get("sequence_number")).map(|number| number.range.clone());
                let number = number.map_or_else(|| "0".into(), |range| String::from_utf8_lossy(&event.block.data()[range]).into_owned());
                let data = format!(r#"{{"type":"error","code":{code},"message":{message},"param":null,"sequence_number":{number}}}"#);
                (Some("error"), data)
            }
            Dialect::Ollama | Dialect::Plain => (Some("error"), format!(r#"{{"error":{message}}}"#)),
        };
        let end = event.block.line_end();
        let name = name.map_or_else(String::new, |name| format!("event: {name}{end}"));
        Bytes::from(match event.block.framing() {
            Framing::Lines => format!("{data}{end}"),
            Framing::Events => format!("{name}data: {data}{end}{end}"),
        })
    }
}
