//! `tcp`: whether something listens, and what it says.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Clock, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::{Client, WireError, open_tcp};

/// How much is read while looking for `expect`.
const READ_LIMIT: usize = 64 * 1024;

/// The kind of probe.
#[derive(Debug)]
pub struct Tcp {
    client: Arc<Client>,
}

impl Tcp {
    pub(crate) const fn new(client: Arc<Client>) -> Self {
        Self { client }
    }
}

/// Whether something listens, and what it says.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// `host:port`; an IPv6 address in brackets.
    pub address: String,
    /// Sent after connecting.
    #[serde(default)]
    pub send: Option<String>,
    /// A text that must come, after what is sent. Without it, connecting is enough.
    #[serde(default)]
    pub expect: Option<String>,
    /// What is measured; `open` by default.
    #[serde(default)]
    pub measure: TcpMeasure,
}

/// What a `tcp` probe measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TcpMeasure {
    /// 1 if it accepts a connection (and says what is expected), 0 if it refuses, resets or says something else.
    #[default]
    Open,
    /// The time to connect, and to say what is expected.
    Latency,
    /// The time from the first packet to the one that answers it: to connect, without looking a name up.
    RoundTrip,
}

/// Splits `host:port`.
pub(crate) fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = bracketed.unwrap_or(host);
    let good = !host.is_empty() && (bracketed.is_some() || !host.contains(':')) && !host.contains('/');
    port.parse().ok().filter(|port| good && *port != 0).map(|port| (host, port))
}

impl Probe for Tcp {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "tcp",
        summary: "Whether a TCP port is open, how fast, and what it says",
        from_anywhere: true,
        example: "\
name: the cache answers
tcp: { address: \"127.0.0.1:6379\", send: \"PING\\r\\n\", expect: PONG }
expect: { eq: 1 }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if split(&args.address).is_none() {
            let message = format!("`{}` is not an address", args.address);
            errors.push(ArgError::field("address", message, "write it like `127.0.0.1:5432` or `[::1]:5432`".to_owned()));
        }
        if args.measure == TcpMeasure::RoundTrip && (args.send.is_some() || args.expect.is_some()) {
            let hint = "leave `send` and `expect` out, or write `measure: latency`";
            errors.push(ArgError::field("measure", "a round trip is over before anything is said", hint.to_owned()));
        }
        if args.expect.as_deref() == Some("") {
            errors.push(ArgError::field("expect", "`expect` is empty", "leave it out: then connecting is enough".to_owned()));
        }
        if args.expect.as_ref().is_some_and(|text| text.len() > READ_LIMIT) {
            errors.push(ArgError::field("expect", format!("`expect` is longer than {READ_LIMIT} bytes"), "expect a part of it".to_owned()));
        }
        errors
    }

    fn dimension(&self, args: &Args) -> Dimension {
        match args.measure {
            TcpMeasure::Open => Dimension::Number,
            TcpMeasure::Latency | TcpMeasure::RoundTrip => Dimension::Time,
        }
    }

    fn describe(&self, args: &Args) -> String {
        match args.measure {
            TcpMeasure::Open => format!("whether {} is open", args.address),
            TcpMeasure::Latency => format!("time to connect to {}", args.address),
            TcpMeasure::RoundTrip => format!("round trip time of TCP to {}", args.address),
        }
    }

    fn open(&self, args: Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let (host, port) = split(&args.address).ok_or_else(|| format!("`{}` is not an address", args.address))?;
        let host = host.to_owned();
        Ok(Box::new(Open { client: self.client.clone(), clock: cx.clock.clone(), host, port, args }))
    }
}

struct Open {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    host: String,
    port: u16,
    args: Args,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            if self.args.measure == TcpMeasure::RoundTrip {
                // The resolver keeps the answer for the connection that follows.
                self.client.resolver().resolve(&self.host).await.map_err(|e| e.to_string())?;
            }
            let start = self.clock.now();
            let result = self.talk().await;
            let took = self.clock.now().saturating_sub(start);
            match (self.args.measure, result) {
                (TcpMeasure::Open, Ok(())) => Ok(Value::Number(1.0)),
                (TcpMeasure::Open, Err(error)) if error.is_measured_failure() => Ok(Value::Number(0.0)),
                (TcpMeasure::Latency | TcpMeasure::RoundTrip, Ok(())) => Ok(Value::Number(took.as_secs_f64())),
                (_, Err(error)) => Err(error.to_string()),
            }
        })
    }
}

impl Open {
    async fn talk(&self) -> Result<(), WireError> {
        let mut stream = open_tcp(self.client.resolver(), &self.host, self.port).await?;
        let broken = |_: std::io::Error| WireError::Reset;
        if let Some(text) = &self.args.send {
            stream.write_all(text.as_bytes()).await.map_err(broken)?;
        }
        match &self.args.expect {
            Some(expected) => await_text(&mut stream, expected.as_bytes()).await,
            None => Ok(()),
        }
    }
}

async fn await_text(stream: &mut TcpStream, expected: &[u8]) -> Result<(), WireError> {
    let mut seen = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut seen).await.map_err(|_| WireError::Reset)? == 0 {
            return Err(WireError::Closed);
        }
        if seen.windows(expected.len()).any(|window| window == expected) {
            return Ok(());
        }
        if seen.len() > READ_LIMIT {
            return Err(WireError::Protocol(format!("the expected text is not in the first {READ_LIMIT} bytes")));
        }
    }
}
