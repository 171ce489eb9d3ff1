//! What the rules make of one exchange.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::body::Cut;
use crate::stream::OnBody;

/// A request, as rules see it, of whichever version of HTTP.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a [u8],
    /// Path and query.
    pub(crate) target: &'a [u8],
    /// The host without the port.
    pub(crate) host: &'a [u8],
    /// The first header field of a name.
    pub(crate) field: &'a dyn Fn(&str) -> Option<&'a [u8]>,
    pub(crate) client: Option<IpAddr>,
    /// The JSON of its body, where a rule asked for it.
    pub(crate) body: Option<&'a serde_json::Value>,
}

impl<'a> Asked<'a> {
    pub(crate) fn path(&self) -> &'a [u8] {
        self.target.split(|byte| *byte == b'?').next().unwrap_or_default()
    }

    /// The values of the query, as `name=value` with percent-encoding undone.
    pub(crate) fn query(&self) -> impl Iterator<Item = (String, String)> {
        let query = self.target.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default();
        query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            (decoded(parts.next().unwrap_or_default()), decoded(parts.next().unwrap_or_default()))
        })
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        let cookies = (self.field)("cookie")?;
        cookies.split(|byte| *byte == b';').find_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            (pair[..at].trim_ascii() == name.as_bytes()).then(|| pair[at + 1..].trim_ascii())
        })
    }
}

fn decoded(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| text[at] == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match (hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()), text[at]) {
            (Some(byte), _) => {
                out.push(byte);
                at += 2;
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What one rule decided on, for one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    /// Where this exchange's randomness comes from.
    pub(crate) seed: u64,
    /// When the request was read, on the clock of [`crate::time::now`].
    pub(crate) now: Duration,
}

impl Draw {
    /// A number in [0, 1).
    pub(crate) fn uniform(&self) -> f64 {
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A change of a message's header fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FieldEdit {
    /// Takes the place of all fields of this name.
    Set(String, String),
    /// Comes on top.
    Add(String, String),
    Remove(String),
}

/// An answer that is given instead of the upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnAnswer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// A change of a request's whole body.
pub(crate) type BodyEdit = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// What is done to one exchange. Rules are asked in order, and what they decide adds up; the first answer counts.
#[derive(Default)]
pub(crate) struct Plan {
    /// Before the request is passed on, or answered.
    pub(crate) delay: Duration,
    /// Before the head of the response is passed on.
    pub(crate) response_delay: Duration,
    /// The request is never answered; the connection stays open.
    pub(crate) hang: bool,
    /// The connection ends instead of an answer.
    pub(crate) cut: Option<Cut>,
    pub(crate) answer: Option<OwnAnswer>,
    pub(crate) request_fields: Vec<FieldEdit>,
    /// The target that takes the place of the request's.
    pub(crate) target: Option<String>,
    pub(crate) request_body: Vec<BodyEdit>,
    pub(crate) response_fields: Vec<FieldEdit>,
    pub(crate) status: Option<u16>,
    /// The `content-length` that is claimed, whatever is sent.
    pub(crate) claimed_length: Option<i64>,
    /// On the body of the response, in order, each with its randomness.
    pub(crate) bodies: Vec<(Arc<dyn OnBody>, u64)>,
    /// Bytes sent in place of the response's head.
    pub(crate) raw_head: Option<Bytes>,
}

impl Plan {
    /// Whether the body of the response must be looked into, so that the upstream must not compress it.
    pub(crate) fn reads_body(&self) -> bool {
        !self.bodies.is_empty()
    }
}
