//! Slack: an incoming webhook (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>), with blocks, and
//! `text` for notifications and for receivers that know no blocks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::channel::Mistake;
use crate::message::clip;
use crate::transport::Post;
use crate::{Message, Receipt, SecretRef, SendError, Severity, Transport};

/// An incoming webhook of Slack. Slack has no way to tell a message that comes twice; if Squall is killed while sending, one may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SlackChannel)]
pub struct Slack {
    /// The address of the webhook. Whoever knows it can post, so it is a secret.
    pub url: SecretRef,
}

impl Slack {
    #[expect(clippy::unused_self, reason = "every kind has a check; this one's only field is checked as a secret")]
    pub(crate) fn check(&self) -> Vec<Mistake> {
        Vec::new()
    }

    pub(crate) async fn send(&self, transport: &Transport, message: &Message) -> Result<Receipt, SendError> {
        let url = transport.secret(&self.url)?;
        let post = Post::json(url.expose(), &payload(message))?;
        transport.post(post).await
    }
}

/// Limits: 150 characters for a header, 3,000 for a section, 10 fields of 2,000 a section
/// (<https://docs.slack.dev/reference/block-kit/blocks>).
fn payload(message: &Message) -> Value {
    let icon = match message.severity {
        Severity::Info => "ℹ️",
        Severity::Warning => "⚠️",
        Severity::Error => "🔴",
        Severity::Critical => "🚨",
    };
    let title = clip(&format!("{icon} {}", message.title), 150);
    let mut blocks = vec![json!({ "type": "header", "text": { "type": "plain_text", "text": title, "emoji": true } })];
    if !message.text.is_empty() {
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": clip(&escape(&message.text), 3000) } }));
    }
    let fields: Vec<Value> = message
        .facts
        .iter()
        .take(10)
        .map(|fact| json!({ "type": "mrkdwn", "text": clip(&format!("*{}*\n{}", fact.name, escape(&fact.value)), 2000) }))
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    if let Some(url) = &message.url {
        let link = format!("<{}|Read more>", url.replace(['<', '>', '|'], ""));
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": link }] }));
    }
    let text = if message.text.is_empty() { title } else { format!("{title}\n{}", message.text) };
    json!({ "text": clip(&escape(&text), 3000), "blocks": blocks })
}

/// Slack's three control characters (<https://docs.slack.dev/messaging/formatting-message-text#escaping>): what others wrote cannot
/// mention `@channel` or make links.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Notice, Template};

    #[test]
    fn blocks_stay_within_slacks_limits_and_cannot_mention_anybody() {
        let mut notice = Notice::samples().remove(4);
        notice.reason = Some(format!("<!channel> & {}", "x".repeat(4000)));
        notice.experiment = Some("e".repeat(300));
        let payload = payload(&Message::new(&notice, &Template::default()));
        let text = payload.to_string();
        assert!(!text.contains("<!channel>") && text.contains("&lt;!channel&gt; &amp; "), "{text}");
        let header = payload["blocks"][0]["text"]["text"].as_str().expect("a header");
        assert!(header.chars().count() <= 150);
        assert!(payload["blocks"][1]["text"]["text"].as_str().expect("a section").chars().count() <= 3000);
        assert!(payload["blocks"][2]["fields"].as_array().is_some_and(|fields| fields.len() == 10), "{payload}");
        assert_eq!(payload["blocks"][3]["elements"][0]["text"], "<https://squall.example/runs/r000000000000|Read more>");
        assert!(payload["text"].as_str().is_some_and(|text| !text.is_empty()));
    }
}
