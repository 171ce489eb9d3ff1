//! What every kind of channel sends with: one HTTP client that goes nowhere it may not, trust, secrets, and the time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use squall_engine::Clock;

use crate::address::ResolveError;
use crate::{Channel, Destination, Guards, Message, Notice, Reach, Secret, SecretRef};

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    /// The delivery's id, the same for every try.
    pub id: &'a str,
    /// What happened.
    pub notice: &'a Notice,
}

/// The receiver has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What it said, shortened.
    pub detail: String,
    /// The status of HTTP or SMTP.
    pub status: Option<u16>,
}

/// The receiver does not have it, or did not say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// Why. Holds no secret.
    pub reason: String,
    /// The status of HTTP or SMTP, if it came to that.
    pub status: Option<u16>,
    /// Whether it may work later.
    pub again: bool,
    /// How long the receiver wants to be left alone.
    pub after: Option<Duration>,
}

impl SendError {
    pub(crate) fn again(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), status: None, again: true, after: None }
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), status: None, again: false, after: None }
    }

    pub(crate) fn with_status(mut self, status: Option<u16>) -> Self {
        self.status = status;
        self
    }
}

/// Sends messages.
#[derive(Clone)]
pub struct Transport {
    http: Client,
    guards: Guards,
    roots: Vec<Vec<u8>>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("guards", &self.guards).finish_non_exhaustive()
    }
}

/// What is read of an answer.
const LONGEST_ANSWER: usize = 4 << 10;

impl Transport {
    /// Trusts the system's certificate authorities, and those in `roots` (PEM, one file each) besides.
    pub fn new(guards: Guards, roots: Vec<Vec<u8>>, clock: Arc<dyn Clock>) -> Result<Self, SendError> {
        let wrong = |error: reqwest::Error| SendError::refused(whole(&error));
        let mut certificates = Vec::new();
        for root in &roots {
            certificates.extend(reqwest::Certificate::from_pem_bundle(root).map_err(wrong)?);
        }
        let http = Client::builder()
            .user_agent(concat!("squall/", env!("CARGO_PKG_VERSION")))
            // An answer must not be able to send a request elsewhere.
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Guarded(guards.reach.clone())))
            .tls_certs_merge(certificates)
            .pool_max_idle_per_host(1)
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(wrong)?;
        Ok(Self { http, guards, roots, clock })
    }

    /// Sends a notice to a channel, once. Ends within the channel's timeout.
    pub async fn send(&self, channel: &Channel, sending: &Sending<'_>) -> Result<Receipt, SendError> {
        let message = Message::new(sending.notice, &channel.template);
        let late = self.clock.sleep_until(self.clock.now() + channel.timeout.std());
        let sent = async {
            match &channel.to {
                Destination::Slack(slack) => slack.send(self, &message).await,
                Destination::Webhook(webhook) => webhook.send(self, &message, sending).await,
                Destination::Email(email) => email.send(self, &message, sending).await,
                Destination::PagerDuty(pager_duty) => pager_duty.send(self, &message, sending).await,
            }
        };
        let mut receipt = tokio::select! {
            sent = sent => sent?,
            () = late => return Err(SendError::again(format!("no answer within {}", channel.timeout))),
        };
        if let Some(note) = message.note {
            receipt.detail = format!("{} ({note})", receipt.detail);
        }
        Ok(receipt)
    }

    /// What channels may do.
    pub fn guards(&self) -> &Guards {
        &self.guards
    }

    pub(crate) fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }

    pub(crate) fn wall(&self) -> Timestamp {
        wall(&*self.clock)
    }

    /// One that is not there now may be later.
    pub(crate) fn secret(&self, secret: &SecretRef) -> Result<Secret, SendError> {
        self.guards.secrets.read(secret).map_err(|error| SendError::again(error.to_string()))
    }

    pub(crate) async fn post(&self, post: Post) -> Result<Receipt, SendError> {
        if let Some(address) = literal(&post.url) {
            self.guards.reach.check(address).map_err(|error| SendError::refused(error.to_string()))?;
        }
        let host = post.url.host_str().unwrap_or_default().to_owned();
        let answer = self.http.post(post.url).headers(post.headers).body(post.body).send().await;
        let mut answer = answer.map_err(|error| unsent(&host, error))?;
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value, self.wall()));
        let mut text = Vec::new();
        // What cannot be read of it is only words.
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > LONGEST_ANSWER {
                break;
            }
        }
        let text = shown(&text);
        if status.is_success() {
            return Ok(Receipt { detail: text, status: Some(status.as_u16()) });
        }
        let reason = format!("{host} answered {status}{}", if text.is_empty() { String::new() } else { format!(": {text}") });
        Err(SendError { reason, status: Some(status.as_u16()), again: may_work_later(status), after })
    }
}

/// The wall clock as a point in time.
pub(crate) fn wall(clock: &dyn Clock) -> Timestamp {
    clock.wall().parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What the same request gets again: the request itself is wrong, or nobody wants it. Everything else, even 401 and 404, may be a
/// receiver that is being set up or deployed.
fn may_work_later(status: StatusCode) -> bool {
    let never = status.is_redirection()
        || matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_ACCEPTABLE
                | StatusCode::GONE
                | StatusCode::LENGTH_REQUIRED
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNSUPPORTED_MEDIA_TYPE
                | StatusCode::UNPROCESSABLE_ENTITY
                | StatusCode::NOT_IMPLEMENTED
        );
    !never
}

/// Seconds or a date (RFC 9110, 10.2.3).
fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// On one line, short, without control characters: it comes from outside.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    crate::message::clip(&line, 200)
}

fn unsent(host: &str, error: reqwest::Error) -> SendError {
    // Without the address: it may be a secret.
    let error = error.without_url();
    let refused = std::iter::successors(std::error::Error::source(&error), |error| error.source())
        .find_map(|cause| cause.downcast_ref::<ResolveError>())
        .is_some_and(|error| matches!(error, ResolveError::Refused(_)));
    let reason = format!("{host}: {}", whole(&error));
    if refused || error.is_builder() { SendError::refused(reason) } else { SendError::again(reason) }
}

/// An error with its causes: the outermost alone says little.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source()).map(|cause| format!(": {cause}"));
    std::iter::once(error.to_string()).chain(causes).collect()
}

/// The address of a URL that has one in place of a name: no resolver is asked for it.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A request.
pub(crate) struct Post {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Post {
    pub(crate) fn json(url: &str, body: &Value) -> Result<Self, SendError> {
        let url = Url::parse(url).map_err(|_| SendError::refused("what should be an address is none"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SendError::refused(format!("`{}` is not HTTP", url.scheme())));
        }
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Ok(Self { url, headers, body: body.to_string().into_bytes() })
    }
}

/// Asks the system, and leaves out where nothing may go. The client connects to what it gives and asks nobody again, so a name
/// cannot be changed between the check and the connection.
struct Guarded(Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let addresses = reach.resolve(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        let read = |text: &'static str| retry_after(&HeaderValue::from_static(text), now);
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Sat, 21 Nov 2026 12:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(read("Sat, 21 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn numbers_that_are_addresses_are_seen_as_addresses() {
        for text in ["http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://[::1]:80/", "http://127.0.0.1./"] {
            assert!(Url::parse(text).ok().and_then(|url| literal(&url)).is_some_and(|address| address.is_loopback()), "{text}");
        }
        assert_eq!(literal(&Url::parse("http://hooks.example/").expect("an address")), None);
    }

    #[test]
    fn only_what_is_hopeless_is_given_up_at_once() {
        for (status, later) in
            [(302, false), (400, false), (401, true), (404, true), (408, true), (410, false), (429, true), (500, true), (503, true)]
        {
            assert_eq!(may_work_later(StatusCode::from_u16(status).expect("a status")), later, "{status}");
        }
    }
}
