//! The kinds of channels, one file each: what a user writes, how a message looks, and how it is sent.

pub(crate) mod email;
pub(crate) mod pagerduty;
pub(crate) mod slack;
pub(crate) mod webhook;

use reqwest::Url;

pub use email::{Email, Security};
pub use pagerduty::PagerDuty;
pub use slack::Slack;
pub use webhook::Webhook;

use crate::Guards;
use crate::channel::Mistake;

/// What is wrong with an address for HTTP requests, if anything.
fn check_url(path: &str, text: &str, guards: &Guards) -> Option<Mistake> {
    let Ok(url) = Url::parse(text) else {
        return Some(Mistake::new(path, "it is not an HTTP address", "write it like `https://hooks.example/squall`"));
    };
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Some(Mistake::new(path, "it is not an HTTP address", "write it like `https://hooks.example/squall`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some(Mistake::new(path, "it holds a user or password", "use `headers: { Authorization: { env: … } }`"));
    }
    match crate::transport::literal(&url).map(|address| guards.reach.check(address)) {
        Some(Err(error)) => Some(Mistake::new(path, error.to_string(), "use a receiver elsewhere")),
        _ => None,
    }
}
