//! A channel, as users write it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Time;
use utoipa::ToSchema;

use crate::to::{self, Email, PagerDuty, Slack, Webhook};
use crate::{Filter, Notice, Reach, Retry, SecretPlaces, SecretRef, Template};

/// A channel as a file: `squall channel apply FILE`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelDocument {
    /// Always `squall.dev/v1`.
    #[schemars(extend("const" = "squall.dev/v1"))]
    pub api_version: String,
    /// Always `Channel`.
    #[schemars(extend("const" = "Channel"))]
    pub kind: String,
    /// What it is called.
    pub metadata: ChannelName,
    /// Where some notices go, and in which words.
    pub spec: Channel,
}

/// What a channel is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelName {
    /// Up to 63 lower-case letters, digits and dashes.
    #[schemars(regex(pattern = r"^[a-z0-9][-a-z0-9]{0,62}$"))]
    pub name: String,
}

/// A channel, with what a server knows besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// Grows with every change; the `ETag` is made of it.
    pub version: u64,
    /// When it was changed last.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub updated: Timestamp,
    /// The channel.
    pub channel: Channel,
}

/// What came of a test of a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelTest {
    /// Whether the receiver has it.
    pub delivered: bool,
    /// The status of HTTP or SMTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the receiver said, or why it failed.
    pub detail: String,
    /// Whether it may work later.
    pub again: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Where some notices go, and in which words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channel {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where they go.
    pub to: Destination,
    /// Which ones. All, by default.
    #[serde(default)]
    pub filter: Filter,
    /// In which words. Squall's own, by default.
    #[serde(default)]
    pub template: Template,
    /// How often and when it is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// How many messages it takes.
    #[serde(default)]
    pub rate: Rate,
    /// How long one try may take: 1s to 60s.
    #[serde(default = "default_timeout")]
    #[schema(value_type = String, example = "15s")]
    pub timeout: Time,
    /// Nothing new is written for it, and what waits goes on waiting.
    #[serde(default)]
    pub paused: bool,
}

/// The lower end of what Standard Webhooks recommends (15 to 30 s).
fn default_timeout() -> Time {
    Time::from_secs(15)
}

/// Where a channel's messages go: exactly one of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// An incoming webhook of Slack, or of whatever takes the same (Mattermost, Rocket.Chat, Discord's `/slack`).
    Slack(Slack),
    /// Any program that takes a signed HTTP request.
    Webhook(Webhook),
    /// People, by e-mail.
    Email(Email),
    /// Whoever is on call, by `PagerDuty`.
    PagerDuty(PagerDuty),
}

/// How many messages a channel takes. What is more waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ChannelRate)]
#[schemars(rename = "ChannelRate")]
pub struct Rate {
    /// On average: 1 to 6000. Slack takes 60.
    #[schemars(range(min = 1, max = 6000))]
    pub per_minute: u32,
    /// At once: 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_minute: 60, burst: 10 }
    }
}

/// What the server's configuration lets channels do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// Where they may send to.
    pub reach: Reach,
    /// Where their secrets may be.
    pub secrets: SecretPlaces,
}

/// Something that is wrong with a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Where, such as `to.slack.url`.
    pub path: String,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Mistake {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: hint.into() }
    }
}

impl Channel {
    /// Everything that is wrong with it. Whether its secrets are there and its receiver answers, a test message tells.
    pub fn check(&self, guards: &Guards) -> Vec<Mistake> {
        let mut mistakes = match &self.to {
            Destination::Slack(slack) => slack.check(),
            Destination::Webhook(webhook) => webhook.check(guards),
            Destination::Email(email) => email.check(guards),
            Destination::PagerDuty(pager_duty) => pager_duty.check(guards),
        };
        for (path, secret) in self.secrets() {
            if let Err(error) = guards.secrets.check(secret) {
                mistakes.push(Mistake::new(path, error.to_string(), "put it there, or name the place in the server's configuration"));
            }
        }
        mistakes.extend(self.filter.check());
        mistakes.extend(self.template.check());
        mistakes.extend(self.retry.check());
        if !(1..=6000).contains(&self.rate.per_minute) || !(1..=1000).contains(&self.rate.burst) {
            let hint = "`perMinute` is from 1 to 6000, and `burst` from 1 to 1000";
            mistakes.push(Mistake::new("rate", format!("{} a minute, {} at once", self.rate.per_minute, self.rate.burst), hint));
        }
        if !(1.0..=60.0).contains(&self.timeout.seconds()) {
            mistakes.push(Mistake::new("timeout", format!("{} is not from 1s to 60s", self.timeout), "write 15s, for example"));
        }
        mistakes
    }

    /// Whether it takes this notice.
    pub fn wants(&self, notice: &Notice) -> bool {
        let means_something = !matches!(self.to, Destination::PagerDuty(_)) || to::pagerduty::action(notice).is_some();
        !self.paused && means_something && self.filter.wants(notice)
    }

    /// What kind of channel it is.
    pub fn kind(&self) -> &'static str {
        match self.to {
            Destination::Slack(_) => "slack",
            Destination::Webhook(_) => "webhook",
            Destination::Email(_) => "email",
            Destination::PagerDuty(_) => "pagerduty",
        }
    }

    /// The secrets that it refers to, and where.
    fn secrets(&self) -> Vec<(String, &SecretRef)> {
        match &self.to {
            Destination::Slack(slack) => vec![("to.slack.url".into(), &slack.url)],
            Destination::Webhook(webhook) => {
                let headers = webhook.headers.iter().map(|(name, secret)| (format!("to.webhook.headers.{name}"), secret));
                let previous = webhook.previous_secret.iter().map(|secret| ("to.webhook.previousSecret".into(), secret));
                std::iter::once(("to.webhook.secret".into(), &webhook.secret)).chain(previous).chain(headers).collect()
            }
            Destination::Email(email) => email.password.iter().map(|secret| ("to.email.password".into(), secret)).collect(),
            Destination::PagerDuty(pager_duty) => vec![("to.pagerduty.routingKey".into(), &pager_duty.routing_key)],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(channel: serde_json::Value) -> Vec<String> {
        let channel: Channel = serde_json::from_value(channel).expect("a channel");
        channel.check(&Guards::default()).into_iter().map(|mistake| mistake.path).collect()
    }

    #[test]
    fn a_good_channel_of_each_kind_is_accepted_and_comes_back_as_it_was() {
        let secret = json!({ "env": "SQUALL_SECRET_X" });
        for to in [
            json!({ "slack": { "url": secret } }),
            json!({ "webhook": { "url": "https://hooks.example/x", "secret": secret, "headers": { "Authorization": secret } } }),
            json!({ "email": { "server": "mail.example", "from": "Squall <squall@x.example>", "to": ["a@x.example"], "user": "u", "password": secret } }),
            json!({ "pagerduty": { "routingKey": secret } }),
        ] {
            let channel: Channel = serde_json::from_value(json!({ "to": to })).expect("a channel");
            assert_eq!(channel.check(&Guards::default()), [], "{to}");
            let again: Channel = serde_json::from_value(serde_json::to_value(&channel).expect("JSON")).expect("read again");
            assert_eq!(again, channel);
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let secret = json!({ "env": "SQUALL_SECRET_X" });
        let webhook = |url: &str| json!({ "to": { "webhook": { "url": url, "secret": secret } } });
        assert_eq!(paths(webhook("http://169.254.169.254/latest/meta-data")), ["to.webhook.url"]);
        assert_eq!(paths(webhook("http://[::ffff:127.0.0.1]/")), ["to.webhook.url"]);
        assert_eq!(paths(webhook("http://0x7f.1/")), ["to.webhook.url"]);
        assert_eq!(paths(webhook("ftp://hooks.example/")), ["to.webhook.url"]);
        assert_eq!(paths(webhook("https://user:hunter22@hooks.example/")), ["to.webhook.url"]);
        assert_eq!(paths(json!({ "to": { "slack": { "url": { "env": "AWS_SECRET_ACCESS_KEY" } } } })), ["to.slack.url"]);
        assert_eq!(paths(json!({ "to": { "slack": { "url": { "file": "/etc/shadow" } } } })), ["to.slack.url"]);
        let many = json!({
            "to": { "email": { "server": "127.0.0.1", "from": "x", "to": [], "user": "u", "security": "none" } },
            "retry": { "tries": 0 }, "rate": { "perMinute": 0 }, "timeout": "5min", "template": { "text": "{{ }" },
        });
        let expected =
            ["to.email.from", "to.email.to", "to.email.server", "to.email.password", "template.text", "retry.tries", "rate", "timeout"];
        assert_eq!(paths(many), expected);
    }

    #[test]
    fn a_secret_cannot_be_written_into_a_channel() {
        let inline = json!({ "to": { "slack": { "url": "https://hooks.slack.com/services/T/B/secret" } } });
        assert!(serde_json::from_value::<Channel>(inline).is_err());
        let unknown = json!({ "to": { "slack": { "url": { "env": "X" }, "token": "hunter22" } } });
        assert!(serde_json::from_value::<Channel>(unknown).is_err());
    }
}
