//! `model.*`: the refusals of model providers, in their own words.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::error_event::ModelError;
use super::kind::{Answer, Instead, Settings};

/// Whose refusal it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Provider {
    /// By the path: Anthropic for `…/messages` (and below it), OpenAI for all others.
    #[default]
    Auto,
    /// OpenAI, and those who speak its format.
    Openai,
    /// Anthropic.
    Anthropic,
}

impl Provider {
    fn is_anthropic(self, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        match self {
            Self::Auto => path.split('/').any(|segment| segment == "messages") && !path.contains("/threads/"),
            Self::Openai => false,
            Self::Anthropic => true,
        }
    }
}

/// Answers 429 with the provider's error and headers, and does not ask the upstream. Finds clients that give up at once, or try
/// again at once.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimited {
    /// Whose error; by the path where it is left out.
    #[serde(default)]
    pub provider: Provider,
    /// `retry-after`, in whole seconds (rounded up); 1 s by default, and no such header with `null`.
    #[serde(default = "second")]
    pub retry_after: Option<Time>,
}

/// Answers as a provider that has too much to do: 529 `overloaded_error` (Anthropic) or 503 (OpenAI), without asking the upstream.
/// Finds clients that know no status above 504, or take it for their own mistake.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overloaded {
    /// Whose error; by the path where it is left out.
    #[serde(default)]
    pub provider: Provider,
    /// `retry-after`, in whole seconds (rounded up); no such header by default, as providers send none here.
    #[serde(default)]
    pub retry_after: Option<Time>,
}

/// Answers that the account has no credit left: 429 `insufficient_quota` (OpenAI) or 400 (Anthropic). Unlike `model.rateLimited`, trying
/// again never helps: finds clients that do.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaExceeded {
    /// Whose error; by the path where it is left out.
    #[serde(default)]
    pub provider: Provider,
}

/// Answers 400: the prompt is longer than the model takes. Finds agents whose history grows until every request fails.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContextTooLong {
    /// Whose error; by the path where it is left out.
    #[serde(default)]
    pub provider: Provider,
    /// The model's limit, in tokens, as the message says it; 200,000 by default.
    #[serde(default = "window")]
    pub limit: u64,
}

fn second() -> Option<Time> {
    Some(Time::from_secs(1))
}

fn window() -> u64 {
    200_000
}

impl Settings for RateLimited {}
impl Settings for Overloaded {}
impl Settings for QuotaExceeded {}
impl Settings for ContextTooLong {}

impl Instead for RateLimited {
    fn answer(&self, path: &str, seed: u64) -> Answer {
        let anthropic = self.provider.is_anthropic(path);
        let mut answer = if anthropic {
            let (kind, message) = ModelError::RateLimited.anthropic();
            anthropic_error(429, kind, message, seed)
        } else {
            let (kind, code, message) = ModelError::RateLimited.openai();
            openai_error(429, message, kind, None, code, seed)
        };
        let prefix = if anthropic {
            ["anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"]
        } else {
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"]
        };
        answer.headers.push((prefix[0], "50".into()));
        answer.headers.push((prefix[1], "0".into()));
        retry_after(&mut answer, self.retry_after);
        if !anthropic && let Some(time) = self.retry_after {
            answer.headers.push(("x-ratelimit-reset-requests", format!("{}ms", time.std().as_millis())));
        }
        answer
    }
}

impl Instead for Overloaded {
    fn answer(&self, path: &str, seed: u64) -> Answer {
        let mut answer = if self.provider.is_anthropic(path) {
            let (kind, message) = ModelError::Overloaded.anthropic();
            let mut answer = anthropic_error(529, kind, message, seed);
            answer.headers.push(("x-should-retry", "true".into()));
            answer
        } else {
            let (kind, code, message) = ModelError::Overloaded.openai();
            openai_error(503, message, kind, None, code, seed)
        };
        retry_after(&mut answer, self.retry_after);
        answer
    }
}

impl Instead for QuotaExceeded {
    fn answer(&self, path: &str, seed: u64) -> Answer {
        if self.provider.is_anthropic(path) {
            let message =
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.";
            return anthropic_error(400, "invalid_request_error", message, seed);
        }
        let message = "You exceeded your current quota, please check your plan and billing details.";
        openai_error(429, message, "insufficient_quota", None, Some("insufficient_quota"), seed)
    }
}

impl Instead for ContextTooLong {
    fn answer(&self, path: &str, seed: u64) -> Answer {
        let (limit, asked) = (self.limit, self.limit.saturating_add(1));
        if self.provider.is_anthropic(path) {
            return anthropic_error(400, "invalid_request_error", &format!("prompt is too long: {asked} tokens > {limit} maximum"), seed);
        }
        let message = format!(
            "This model's maximum context length is {limit} tokens. However, your messages resulted in {asked} tokens. Please reduce the length of the messages."
        );
        openai_error(400, &message, "invalid_request_error", Some("messages"), Some("context_length_exceeded"), seed)
    }
}

fn retry_after(answer: &mut Answer, time: Option<Time>) {
    if let Some(time) = time {
        let seconds = time.std().as_secs() + u64::from(time.std().subsec_nanos() > 0);
        answer.headers.push(("retry-after", seconds.to_string()));
    }
}

fn anthropic_error(status: u16, kind: &str, message: &str, seed: u64) -> Answer {
    let id = format!("req_{seed:016x}");
    let body = serde_json::json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": id});
    answer(status, &body, ("request-id", id))
}

fn openai_error(status: u16, message: &str, kind: &str, param: Option<&str>, code: Option<&str>, seed: u64) -> Answer {
    let body = serde_json::json!({"error": {"message": message, "type": kind, "param": param, "code": code}});
    answer(status, &body, ("x-request-id", format!("req_{seed:016x}")))
}

fn answer(status: u16, body: &serde_json::Value, id: (&'static str, String)) -> Answer {
    Answer { status, headers: vec![("content-type", "application/json".into()), id], body: Bytes::from(body.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Compiled, MODEL_KINDS};

    fn refuse(kind: &str, with: serde_json::Value, path: &str) -> Answer {
        let kind = MODEL_KINDS.iter().find(|listed| listed.name == kind).unwrap();
        match (kind.compile)(with.as_object().unwrap()).unwrap() {
            Compiled::Answer(answer) => answer.answer(path, 7),
            Compiled::Body(_) => panic!("{} answers", kind.name),
        }
    }

    fn header(answer: &Answer, name: &str) -> Option<String> {
        answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn each_provider_refuses_in_its_own_words() {
        let anthropic = refuse("model.overloaded", serde_json::json!({}), "/v1/messages?beta=true");
        assert_eq!(anthropic.status, 529);
        let expected = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_0000000000000007"}"#;
        assert_eq!(anthropic.body, expected);
        assert_eq!(header(&anthropic, "retry-after"), None);
        let openai = refuse("model.rateLimited", serde_json::json!({"retryAfter": "1500ms"}), "/v1/chat/completions");
        assert_eq!((openai.status, header(&openai, "retry-after")), (429, Some("2".into())));
        assert_eq!(
            openai.body,
            r#"{"error":{"message":"Rate limit reached for requests","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#
        );
        let quiet = refuse("model.rateLimited", serde_json::json!({"retryAfter": null, "provider": "anthropic"}), "/");
        assert_eq!((quiet.status, header(&quiet, "retry-after")), (429, None));
        assert_eq!(refuse("model.quotaExceeded", serde_json::json!({}), "/v1/messages").status, 400);
        assert_eq!(refuse("model.quotaExceeded", serde_json::json!({}), "/v1/responses").status, 429);
        let long = refuse("model.contextTooLong", serde_json::json!({"limit": 8192}), "/v1/chat/completions");
        assert!(
            String::from_utf8_lossy(&long.body).contains("maximum context length is 8192 tokens. However, your messages resulted in 8193")
        );
    }
}
