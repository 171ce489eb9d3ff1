//! `dns`: whether a name server answers, with what, and how fast.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Clock, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Value, dns_code_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Port of DNS.
const PORT: u16 = 53;
/// What an answer over UDP may have, as this probe says itself (DNS Flag Day 2020).
const PAYLOAD: u16 = 1232;
/// The share of the probe's timeout that is waited for answers: the rest is for saying that none came.
const PATIENCE: f64 = 0.9;

/// The kind of probe.
#[derive(Debug)]
pub struct Dns;

/// Whether a name server answers, with what, and how fast. It is asked itself: `/etc/hosts`, search domains and caches of this host's
/// resolver library play no part.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// The name, in full: `db.example.com`.
    pub name: String,
    /// The type of records: `A`, `AAAA`, `MX`, `TXT` and so on.
    #[serde(default = "address", rename = "type")]
    pub kind: String,
    /// The name server: an address, with a port if it is not 53 (`10.0.0.1`, `127.0.0.1:8600`, `[fd00::1]:53`). Without this, those of
    /// `/etc/resolv.conf`, one after another until one answers.
    #[serde(default)]
    pub server: Option<String>,
    /// By what it is asked; `udp` by default, and then again over TCP if the answer is cut.
    #[serde(default)]
    pub transport: DnsTransport,
    /// What is measured; `resolves` by default.
    #[serde(default)]
    pub measure: DnsMeasure,
}

fn address() -> String {
    "A".into()
}

/// By what a name server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DnsTransport {
    /// UDP.
    #[default]
    Udp,
    /// TCP.
    Tcp,
}

/// What a `dns` probe measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DnsMeasure {
    /// 1 if there is a record of the type, 0 if not: another code, no data, or no answer in time.
    #[default]
    Resolves,
    /// The time until the answer, whatever it says.
    Latency,
    /// What the answer says, as a text: `NOERROR`, `NXDOMAIN`, `SERVFAIL`, `REFUSED` and so on; `TIMEOUT` if none came in time.
    Code,
    /// The number of records of the type.
    Count,
    /// The records of the type as a text, in order, with a comma and a space between: `10.0.0.1, 10.0.0.2`.
    Records,
    /// How long the answer may be kept: the shortest time to live of its records.
    Ttl,
}

/// A name server: an address, with or without a port.
fn server(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT)).or_else(|| text.parse().ok())
}

/// The servers of `/etc/resolv.conf`; this host itself if there are none (`resolv.conf(5)`).
fn servers(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok())?
    });
    let named: Vec<SocketAddr> = named.map(|ip| SocketAddr::new(ip, PORT)).collect();
    if named.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))] } else { named }
}

fn record_type(text: &str) -> Option<RecordType> {
    let upper = text.to_ascii_uppercase();
    match upper.strip_prefix("TYPE") {
        Some(number) => number.parse::<u16>().ok().map(RecordType::from),
        None => upper.parse().ok(),
    }
}

/// The name in full, with the dot at its end.
fn full_name(text: &str) -> Option<Name> {
    let mut name = Name::from_utf8(text).ok().filter(|_| !text.is_empty())?;
    name.set_fqdn(true);
    Some(name)
}

impl Probe for Dns {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "dns",
        summary: "Whether a name server answers, with what, and how fast",
        from_anywhere: true,
        example: "\
name: the database's name resolves
dns: { name: db.example.com, server: 10.0.0.53 }
expect: { eq: 1 }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if full_name(&args.name).is_none() {
            errors.push(ArgError::field("name", format!("`{}` is not a name", args.name), "write it like `db.example.com`".to_owned()));
        }
        if record_type(&args.kind).is_none() {
            let hint = "write it like `A`, `AAAA`, `MX`, `TXT` or `TYPE65`";
            errors.push(ArgError::field("type", format!("`{}` is not a type of records", args.kind), hint.to_owned()));
        }
        if let Some(text) = args.server.as_deref().filter(|text| server(text).is_none()) {
            let hint = "write an address like `10.0.0.1`, `127.0.0.1:8600` or `[fd00::1]:53`: a name would have to be resolved first";
            errors.push(ArgError::field("server", format!("`{text}` is not the address of a name server"), hint.to_owned()));
        }
        errors
    }

    fn dimension(&self, args: &Args) -> Dimension {
        match args.measure {
            DnsMeasure::Resolves | DnsMeasure::Count => Dimension::Number,
            DnsMeasure::Latency | DnsMeasure::Ttl => Dimension::Time,
            DnsMeasure::Code | DnsMeasure::Records => Dimension::Text,
        }
    }

    fn describe(&self, args: &Args) -> String {
        let what = match args.measure {
            DnsMeasure::Resolves => "whether there is an answer to",
            DnsMeasure::Latency => "time until the answer to",
            DnsMeasure::Code => "code of the answer to",
            DnsMeasure::Count => "number of records for",
            DnsMeasure::Records => "records for",
            DnsMeasure::Ttl => "time to live of the answer to",
        };
        let of = args.server.as_ref().map_or_else(String::new, |server| format!(" from {server}"));
        format!("{what} {} {}{of}", args.name, args.kind.to_ascii_uppercase())
    }

    fn open(&self, args: Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let name = full_name(&args.name).ok_or_else(|| format!("`{}` is not a name", args.name))?;
        let kind = record_type(&args.kind).ok_or_else(|| format!("`{}` is not a type of records", args.kind))?;
        let server = args.server.as_deref().map(|text| server(text).ok_or_else(|| format!("`{text}` is not an address"))).transpose()?;
        let patience = cx.timeout.std().mul_f64(PATIENCE);
        Ok(Box::new(Open { clock: cx.clock.clone(), name, kind, server, patience, transport: args.transport, measure: args.measure }))
    }
}

struct Open {
    clock: Arc<dyn Clock>,
    name: Name,
    kind: RecordType,
    server: Option<SocketAddr>,
    patience: Duration,
    transport: DnsTransport,
    measure: DnsMeasure,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let answer = self.ask().await;
            let (answer, took) = match (self.measure, answer) {
                (_, Ok(answered)) => answered,
                (DnsMeasure::Resolves, Err(_)) => return Ok(Value::Number(0.0)),
                (DnsMeasure::Code, Err(NoAnswer { late: true, .. })) => return Ok(Value::Text("TIMEOUT".into())),
                (_, Err(failure)) => return Err(failure.reason),
            };
            let code = dns_code_name(answer.metadata.response_code.into());
            let records: Vec<_> = answer.answers.iter().filter(|record| record.record_type() == self.kind).collect();
            match self.measure {
                DnsMeasure::Resolves => Ok(Value::Number(f64::from(u8::from(code == "NOERROR" && !records.is_empty())))),
                DnsMeasure::Latency => Ok(Value::Number(took.as_secs_f64())),
                DnsMeasure::Code => Ok(Value::Text(code)),
                DnsMeasure::Count => Ok(Value::Number(records.len() as f64)),
                DnsMeasure::Records => {
                    let mut texts: Vec<String> = records.iter().map(|record| record.data.to_string()).collect();
                    texts.sort();
                    Ok(Value::Text(texts.join(", ")))
                }
                DnsMeasure::Ttl => {
                    let shortest = answer.answers.iter().map(|record| record.ttl).min();
                    shortest.map(|ttl| Value::Number(ttl.into())).ok_or_else(|| format!("the answer ({code}) has no records"))
                }
            }
        })
    }
}

/// Why there is no answer.
struct NoAnswer {
    reason: String,
    /// None came in time.
    late: bool,
}

impl Open {
    /// Asks one server after another, and gives the first answer with the time that its server took.
    async fn ask(&self) -> Result<(Message, Duration), NoAnswer> {
        let all = match self.server {
            Some(server) => vec![server],
            None => servers(&tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default()),
        };
        let each = self.patience / u32::try_from(all.len()).unwrap_or(u32::MAX);
        let mut failures = Vec::new();
        let mut late = false;
        for server in all {
            let start = self.clock.now();
            match timeout(each, self.ask_one(server)).await {
                Ok(Ok(answer)) => return Ok((answer, self.clock.now().saturating_sub(start))),
                Ok(Err(error)) => failures.push(format!("{server}: {error}")),
                Err(_) => {
                    late = true;
                    failures.push(format!("{server}: no answer within {} ms", each.as_millis()));
                }
            }
        }
        Err(NoAnswer { reason: failures.join("; "), late })
    }

    async fn ask_one(&self, server: SocketAddr) -> io::Result<Message> {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(self.name.clone(), self.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        query.edns = Some(edns);
        let bytes = query.to_vec().map_err(io::Error::other)?;
        if self.transport == DnsTransport::Udp {
            let answer = by_udp(&bytes, &query, server).await?;
            if !answer.metadata.truncation {
                return Ok(answer);
            }
        }
        by_tcp(&bytes, &query, server).await
    }
}

async fn by_udp(bytes: &[u8], query: &Message, server: SocketAddr) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is no answer to this query was sent by somebody who guesses, or is one to a query that was given up.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && answers(&answer, query)
        {
            return Ok(answer);
        }
    }
}

async fn by_tcp(bytes: &[u8], query: &Message, server: SocketAddr) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    let answer = Message::from_vec(&answer).map_err(io::Error::other)?;
    if answers(&answer, query) { Ok(answer) } else { Err(io::Error::other("the answer is to another question")) }
}

/// Whether it answers that query. Servers that do not understand a query may leave the question out.
fn answers(answer: &Message, query: &Message) -> bool {
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == query.metadata.id
        && (answer.queries == query.queries || answer.queries.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_name_servers_are_read_and_this_host_stands_in_for_none() {
        let text = "search a.b\nnameserver 10.0.0.1 # first\nnameserver fd00::1\nnameserver x\n";
        assert_eq!(servers(text), ["10.0.0.1:53".parse().expect("v4"), "[fd00::1]:53".parse::<SocketAddr>().expect("v6")]);
        assert_eq!(servers(""), ["127.0.0.1:53".parse::<SocketAddr>().expect("v4")]);
    }

    #[test]
    fn a_server_is_an_address_with_or_without_a_port() {
        for (text, address) in
            [("10.0.0.1", "10.0.0.1:53"), ("10.0.0.1:8600", "10.0.0.1:8600"), ("fd00::1", "[fd00::1]:53"), ("[fd00::1]", "[fd00::1]:53")]
        {
            assert_eq!(server(text), Some(address.parse().expect("an address")));
        }
        assert!(["ns.example.com", "10.0.0.1:", "10.0.0", "::1:x", ""].iter().all(|bad| server(bad).is_none()));
    }
}
