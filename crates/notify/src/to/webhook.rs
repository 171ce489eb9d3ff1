//! Any program: a signed HTTP request as Standard Webhooks 1.0.0 has it
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! The request is a POST of JSON: `type` (the event), `timestamp` (when it happened), `id`, `title`, `text`, `severity` and `data`
//! (the [`Notice`]). Its headers:
//!
//! - `webhook-id`: the delivery, the same for every try. A receiver that remembers ids handles each once.
//! - `webhook-timestamp`: seconds since 1970 at this try, part of what is signed. A receiver refuses what is older or newer than
//!   five minutes (the tolerance of the reference libraries): that, and remembering ids for as long, is what keeps a recorded request
//!   from being played again.
//! - `webhook-signature`: `v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`; two of them, divided by a space, while
//!   a secret is being replaced.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::check_url;
use crate::channel::Mistake;
use crate::transport::Post;
use crate::{Guards, Message, Notice, Receipt, Secret, SecretRef, SendError, Sending, Transport};

/// A receiver of signed requests, as Standard Webhooks has it. It must answer 2xx in time, should remember `webhook-id`s (a
/// request may come twice), and should refuse a `webhook-timestamp` that is more than five minutes off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = WebhookChannel)]
pub struct Webhook {
    /// Where to: `https://` or `http://`. Redirects are not followed.
    pub url: String,
    /// What requests are signed with: `whsec_` and the base64 of 24 to 64 random bytes.
    pub secret: SecretRef,
    /// The secret before, while receivers still know only that: requests are signed with both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret: Option<SecretRef>,
    /// Further headers, such as `Authorization`. Their values are secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretRef>,
}

/// Set by Squall itself, or by HTTP.
const OWN_HEADERS: [&str; 9] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "content-type",
    "content-length",
    "host",
    "connection",
    "transfer-encoding",
    "user-agent",
];

impl Webhook {
    pub(crate) fn check(&self, guards: &Guards) -> Vec<Mistake> {
        let mut mistakes: Vec<_> = check_url("to.webhook.url", &self.url, guards).into_iter().collect();
        for name in self.headers.keys() {
            let path = || format!("to.webhook.headers.{name}");
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                mistakes.push(Mistake::new(path(), "HTTP has no such names", "use letters, digits and dashes"));
            } else if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                mistakes.push(Mistake::new(path(), "Squall sets it itself", "remove it"));
            }
        }
        mistakes
    }

    pub(crate) async fn send(&self, transport: &Transport, message: &Message, sending: &Sending<'_>) -> Result<Receipt, SendError> {
        let mut post = Post::json(&self.url, &payload(sending, message))?;
        let timestamp = transport.wall().as_second();
        let mut signatures = Vec::new();
        for secret in std::iter::once(&self.secret).chain(&self.previous_secret) {
            let signature = sign(&transport.secret(secret)?, sending.id, timestamp, &post.body);
            signatures.push(signature.map_err(|why| SendError::refused(format!("{secret} {why}")))?);
        }
        for (name, value) in [
            ("webhook-id", sending.id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ] {
            let value = HeaderValue::from_str(&value).map_err(|_| SendError::refused(format!("`{name}` cannot be sent")))?;
            post.headers.insert(HeaderName::from_static(name), value);
        }
        for (name, secret) in &self.headers {
            let value = transport.secret(secret)?;
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| SendError::refused(format!("`{name}` is no name of a header")))?;
            let mut value =
                HeaderValue::from_str(value.expose()).map_err(|_| SendError::refused(format!("{secret} does not fit a header")))?;
            value.set_sensitive(true);
            post.headers.insert(name, value);
        }
        transport.post(post).await
    }
}

fn payload(sending: &Sending<'_>, message: &Message) -> serde_json::Value {
    let notice: &Notice = sending.notice;
    json!({
        "type": notice.event.name(),
        "timestamp": notice.at.to_string(),
        "id": sending.id,
        "severity": message.severity.word(),
        "title": message.title,
        "text": message.text,
        "data": notice,
    })
}

/// `v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`.
fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Result<String, &'static str> {
    const FORM: &str = "is not `whsec_` and the base64 of 24 to 64 bytes; make one with `echo whsec_$(openssl rand -base64 32)`";
    let encoded = secret.expose().strip_prefix("whsec_").ok_or(FORM)?;
    let key = STANDARD.decode(encoded.trim()).map_err(|_| FORM)?;
    if !(24..=64).contains(&key.len()) {
        return Err(FORM);
    }
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    Ok(format!("v1,{}", STANDARD.encode(context.sign())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of the reference libraries (`libraries/rust/src/lib.rs` of the specification's repository).
    #[test]
    fn the_signature_is_that_of_the_reference_libraries() {
        let secret = Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let signature = sign(&secret, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(signature.as_deref(), Ok("v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="));
    }

    #[test]
    fn a_weak_or_foreign_secret_is_not_used() {
        for weak in ["hunter22", "whsec_c2hvcnQ=", "whsec_not base64 at all", ""] {
            assert!(sign(&Secret::new(weak), "a", 1, b"{}").is_err(), "{weak}");
        }
    }
}
