//! Ways in for the fuzz targets, to parsers and machines that have no public one. No part of this crate's interface.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value;
use tokio::io::DuplexStream;

use crate::body::{BodyFault, Steps};
use crate::http::head::{self, Chunked, First, Head};
use crate::http::plan::{Asked, Plan};
use crate::http::{Connect, Malformed, RuleSet};
use crate::rule::RuleSpec;
use crate::server::{self, RuleError};
use crate::stream;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// There is no message any more.
    Tunnel,
}

/// A head, as ranges of the bytes that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Bytes that it takes up.
    pub size: usize,
    /// Method and target of a request.
    pub request: Option<(Range<usize>, Range<usize>)>,
    /// Status of a response; 0 for a request.
    pub status: u16,
    /// The last digit of the version.
    pub minor: u8,
    /// Names and values.
    pub fields: Vec<(Range<usize>, Range<usize>)>,
    /// How its body ends.
    pub framing: Framing,
    /// Whether another message may follow.
    pub keep_alive: bool,
}

impl From<Head> for Message {
    fn from(head: Head) -> Self {
        let framing = match head.framing {
            head::Framing::Length(length) => Framing::Length(length),
            head::Framing::Chunked => Framing::Chunked,
            head::Framing::UntilClose => Framing::UntilClose,
            head::Framing::Tunnel => Framing::Tunnel,
        };
        let status = head.status();
        let request = if let First::Request { method, target } = head.first { Some((method, target)) } else { None };
        Self { size: head.size, request, status, minor: head.minor, fields: head.fields, framing, keep_alive: head.keep_alive }
    }
}

/// Reads a request's head; `searched` bytes were here in vain before.
pub fn request(bytes: &[u8], searched: usize) -> Result<Option<Message>, Malformed> {
    Ok(head::request(bytes, searched)?.map(Into::into))
}

/// Reads the head of a response to a request with this method.
pub fn response(bytes: &[u8], searched: usize, method: &[u8]) -> Result<Option<Message>, Malformed> {
    Ok(head::response(bytes, searched, method)?.map(Into::into))
}

/// Whether a connection on which it is the client's turn may begin to speak HTTP with these bytes.
pub fn begins_request(bytes: &[u8]) -> bool {
    crate::http::begins_request(bytes)
}

/// A chunked body.
#[derive(Debug, Default)]
pub struct Chunks(Chunked);

impl Chunks {
    /// Whether its end was seen.
    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }

    /// The lines of its trailers.
    pub fn trailers(&self) -> &[u8] {
        self.0.trailers()
    }

    /// How many of these bytes belong to it; `data` gets what they carry.
    pub fn follow(&mut self, bytes: &[u8], data: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        self.0.follow(bytes, data)
    }
}

/// A request, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// Path and query.
    pub target: &'a [u8],
    /// The host without the port.
    pub host: &'a [u8],
    /// Header fields.
    pub fields: &'a [(String, Vec<u8>)],
    /// Who asks.
    pub client: Option<IpAddr>,
    /// The JSON of its body.
    pub body: Option<&'a Value>,
}

/// Rules on HTTP, made ready.
#[derive(Debug)]
pub struct Rules(RuleSet);

impl Rules {
    /// Makes them ready; those on TLS are passed over.
    pub fn compile(seed: u64, rules: &[RuleSpec]) -> Result<Self, String> {
        RuleSet::compile("fuzzed", seed, rules, None).map(Self).map_err(|(place, message, _)| format!("{place}: {message}"))
    }

    /// What is done to this request, at a time.
    pub fn decide(&self, request: &Request<'_>, now: Duration) -> Outcome {
        let field = |name: &str| request.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..]);
        let Request { method, target, host, client, body, .. } = *request;
        let asked = Asked { method, target, host, field: &field, client, body };
        let mut said = String::new();
        let plan = self.0.decide(&asked, now, |told| {
            // Writing to a string never fails.
            let _ = writeln!(said, "{} {} {} {:?} {}", told.rule, told.key, told.attempt, told.fault, told.control);
        });
        if let Some(plan) = &plan {
            describe(plan, &mut said);
        }
        Outcome { said, plan: plan.unwrap_or_default() }
    }
}

fn describe(plan: &Plan, out: &mut String) {
    let Plan {
        delay, response_delay, hang, cut, answer, request_fields, target, response_fields, status, claimed_length, raw_head, ..
    } = plan;
    // Writing to a string never fails.
    let _ = writeln!(out, "{delay:?} {response_delay:?} {hang} {cut:?} {answer:?} {request_fields:?} {target:?}");
    let _ = writeln!(out, "{response_fields:?} {status:?} {claimed_length:?} {raw_head:?} {:?}", plan.bodies);
}

/// What rules made of a request.
pub struct Outcome {
    /// All that was decided, in words.
    pub said: String,
    plan: Plan,
}

impl Outcome {
    /// The faults at work on the body of a response, one behind the other.
    pub fn bodies(&self, content_type: &str) -> Vec<Box<dyn BodyFault>> {
        let made = |(kind, seed): &(std::sync::Arc<dyn stream::OnBody>, u64)| {
            kind.fault(&stream::Body { content_type, content_encoding: "", seed: *seed })
        };
        self.plan.bodies.iter().filter_map(made).collect()
    }

    /// The body of the request, changed as planned.
    pub fn edited(&self, mut body: Vec<u8>) -> Vec<u8> {
        for edit in &self.plan.request_body {
            body = edit(&body).unwrap_or(body);
        }
        body
    }
}

/// What comes out of faults, one behind the other.
pub fn through(faults: &mut [Box<dyn BodyFault>], steps: Steps, end: bool) -> Steps {
    crate::http::through(faults, steps, end)
}

/// The one upstream of a session.
struct Once(std::cell::RefCell<Option<DuplexStream>>);

impl Connect for Once {
    type Stream = DuplexStream;

    async fn connect(&self) -> Option<DuplexStream> {
        self.0.borrow_mut().take()
    }
}

/// Serves HTTP/1 between two ends in memory, under these rules, until either is done.
pub async fn session(rules: &[RuleSpec], client: DuplexStream, upstream: DuplexStream) -> Result<(), RuleError> {
    let connection = server::apart(1, rules)?;
    crate::http::serve_one(connection, client, None, Once(Some(upstream).into()), BytesMut::new()).await;
    Ok(())
}
