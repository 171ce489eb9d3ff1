//! `icmp`: how long a packet takes to a host and back, and how many come back at all.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use socket2::{Domain, Protocol, Socket, Type};
use squall_engine::{ArgError, BoxFuture, Clock, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Time, Value};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::wire::Client;

/// The share of the probe's timeout that is waited for answers: the rest is for saying that none came.
const PATIENCE: f64 = 0.9;
/// The most packets of one measurement.
const MOST: u32 = 100;
/// The most bytes after the ICMP header: with both headers still one packet of 64 KiB.
const LARGEST: u16 = 65_000;
/// Bytes by which a packet is known again.
const TOKEN: usize = 8;
/// Length of the header of an echo.
const HEADER: usize = 8;

/// The kind of probe.
#[derive(Debug)]
pub struct Icmp {
    client: Arc<Client>,
}

impl Icmp {
    pub(crate) const fn new(client: Arc<Client>) -> Self {
        Self { client }
    }
}

/// How long an echo (ping) takes to a host and back, and how many come back at all. Works as root, with `CAP_NET_RAW`, and for the
/// groups in `net.ipv4.ping_group_range`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// An address or a name.
    pub host: String,
    /// Ask only an IPv4 or only an IPv6 address of the name. Without this, the first that the resolver gives.
    #[serde(default)]
    pub family: Option<IcmpFamily>,
    /// How many packets a measurement sends, 1 to 100.
    #[serde(default = "one")]
    pub count: u32,
    /// The time between two packets.
    #[serde(default = "interval")]
    pub interval: Time,
    /// How long to wait for answers after the last packet; less if the probe's `timeout` leaves less.
    #[serde(default = "within")]
    pub within: Time,
    /// Bytes after the header, 8 to 65000.
    #[serde(default = "size")]
    pub size: u16,
    /// What is measured; `latency` by default.
    #[serde(default)]
    pub measure: IcmpMeasure,
}

fn one() -> u32 {
    1
}
fn interval() -> Time {
    Time::from_millis(50)
}
fn within() -> Time {
    Time::from_secs(1)
}
fn size() -> u16 {
    56
}

/// Which addresses of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IcmpFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What an `icmp` probe measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IcmpMeasure {
    /// The mean time there and back of the packets that come back.
    #[default]
    Latency,
    /// The longest time of those.
    Longest,
    /// The share of packets that do not come back.
    Loss,
    /// 1 if a packet comes back, 0 if none does.
    Reachable,
}

impl Probe for Icmp {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "icmp",
        summary: "How long a ping takes to a host and back, and how many are lost",
        from_anywhere: true,
        example: "\
name: the way to the database is clear
icmp: { host: 10.0.0.5, count: 10, measure: loss }
expect: { le: 10% }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: String, hint: &str| errors.push(ArgError::field(field, message, hint.to_owned()));
        if args.host.is_empty() || args.host.contains(['/', ' ']) {
            wrong("host", format!("`{}` is neither an address nor a name", args.host), "write it like `10.0.0.5` or `db.example.com`");
        }
        if let Ok(address) = args.host.parse::<IpAddr>()
            && args.family.is_some_and(|family| (family == IcmpFamily::Ipv4) != address.is_ipv4())
        {
            wrong("family", format!("{address} is of the other family"), "leave `family` out: it is for names");
        }
        if !(1..=MOST).contains(&args.count) {
            wrong("count", format!("a measurement sends 1 to {MOST} packets"), "write `count: 10`, or leave it out");
        }
        if !(8..=LARGEST).contains(&args.size) {
            wrong("size", format!("a packet has 8 to {LARGEST} bytes"), "leave `size` out");
        }
        errors
    }

    fn dimension(&self, args: &Args) -> Dimension {
        match args.measure {
            IcmpMeasure::Latency | IcmpMeasure::Longest => Dimension::Time,
            IcmpMeasure::Loss => Dimension::Ratio,
            IcmpMeasure::Reachable => Dimension::Number,
        }
    }

    fn describe(&self, args: &Args) -> String {
        let what = match args.measure {
            IcmpMeasure::Latency => "round trip time to",
            IcmpMeasure::Longest => "longest round trip time to",
            IcmpMeasure::Loss => "packets lost to",
            IcmpMeasure::Reachable => "whether a ping comes back from",
        };
        format!("{what} {}", args.host)
    }

    fn open(&self, args: Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let sending = args.interval.std() * args.count.saturating_sub(1);
        let patience = cx.timeout.std().mul_f64(PATIENCE);
        let left = patience.checked_sub(sending).filter(|left| !left.is_zero()).ok_or_else(|| {
            let (count, interval, timeout) = (args.count, args.interval, cx.timeout);
            format!("{count} packets every {interval} take longer than the probe's timeout of {timeout}; give it a longer `timeout`")
        })?;
        let within = args.within.std().min(left);
        Ok(Box::new(Open { client: self.client.clone(), clock: cx.clock.clone(), args, within }))
    }
}

struct Open {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    args: Args,
    within: Duration,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let address = self.address().await?;
            let (times, refused) = self.pings(address).await.map_err(|e| format!("a ping to {address}: {}", explain(&e)))?;
            let number = |value: f64| Ok(Value::Number(value));
            let back = times.len() as f64;
            let none = || {
                let why = refused.map_or_else(String::new, |error| format!(": {error}"));
                format!("no ping comes back from {address}{why}")
            };
            match self.args.measure {
                IcmpMeasure::Loss => number(1.0 - back / f64::from(self.args.count)),
                IcmpMeasure::Reachable => number(f64::from(u8::from(!times.is_empty()))),
                _ if times.is_empty() => Err(none()),
                IcmpMeasure::Latency => number(times.iter().sum::<Duration>().as_secs_f64() / back),
                IcmpMeasure::Longest => number(times.iter().max().map_or(0.0, Duration::as_secs_f64)),
            }
        })
    }
}

impl Open {
    async fn address(&self) -> Result<IpAddr, String> {
        let all = self.client.resolver().resolve(&self.args.host).await.map_err(|e| e.to_string())?;
        let fits = |address: &&IpAddr| self.args.family.is_none_or(|family| (family == IcmpFamily::Ipv4) == address.is_ipv4());
        all.iter().find(fits).copied().ok_or_else(|| format!("`{}` has no address of that family", self.args.host))
    }

    /// The times of the packets that came back, and why one could not be sent.
    async fn pings(&self, address: IpAddr) -> io::Result<(Vec<Duration>, Option<io::Error>)> {
        let echo = match Echo::open(address) {
            Err(error) if matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => {
                return Ok((Vec::new(), Some(error)));
            }
            echo => echo?,
        };
        let mut sent: HashMap<u16, Duration> = HashMap::new();
        let (mut times, mut refused) = (Vec::new(), None);
        for number in 0..u16::try_from(self.args.count).unwrap_or(u16::MAX) {
            let start = self.clock.now();
            match echo.send(number, self.args.size) {
                // One that this host does not let out is lost, like one that the network loses.
                Err(error) => refused = Some(error),
                Ok(()) => {
                    sent.insert(number, start);
                }
            }
            let is_last = u32::from(number) + 1 == self.args.count;
            let until = start + if is_last { self.within } else { self.args.interval.std() };
            while !(is_last && sent.is_empty()) {
                let left = until.saturating_sub(self.clock.now());
                match timeout(left, echo.next()).await {
                    Ok(Ok(back)) => times.extend(sent.remove(&back).map(|start| self.clock.now().saturating_sub(start))),
                    // A host on the way has said that it cannot be reached: one more that is lost.
                    Ok(Err(error)) => refused = Some(error),
                    Err(_) => break,
                }
            }
        }
        Ok((times, refused))
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{error}; run as root, with CAP_NET_RAW, or as a group in the sysctl net.ipv4.ping_group_range")
        }
        _ => error.to_string(),
    }
}

/// A socket for echo requests to one host.
struct Echo {
    socket: AsyncFd<Socket>,
    v6: bool,
    /// Tells packets of this socket from all others, where the kernel does not.
    token: [u8; TOKEN],
}

impl Echo {
    /// One of the kernel's own for pings (`icmp(7)`) where that is allowed, otherwise a raw one.
    fn open(address: IpAddr) -> io::Result<Self> {
        let v6 = address.is_ipv6();
        let (domain, protocol) = if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let socket = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Socket::new(domain, Type::RAW, Some(protocol))?,
            socket => socket?,
        };
        socket.set_nonblocking(true)?;
        socket.connect(&SocketAddr::new(address, 0).into())?;
        let token = RandomState::new().build_hasher().finish().to_ne_bytes();
        Ok(Self { socket: register(socket)?, v6, token })
    }

    /// An echo request (RFC 792, RFC 4443). The kernel sets the identifier of its own sockets, and the checksum of `ICMPv6`.
    fn send(&self, number: u16, size: u16) -> io::Result<()> {
        let mut packet = vec![0; HEADER + usize::from(size)];
        packet[0] = if self.v6 { 128 } else { 8 };
        packet[4..6].copy_from_slice(&self.token[..2]);
        packet[6..8].copy_from_slice(&number.to_be_bytes());
        packet[HEADER..HEADER + TOKEN].copy_from_slice(&self.token);
        if !self.v6 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        self.socket.get_ref().send(&packet).map(drop)
    }

    /// The number of the next packet that comes back.
    async fn next(&self) -> io::Result<u16> {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let mut ready = self.socket.readable().await?;
            // An error is that it is not readable after all.
            let Ok(length) = ready.try_io(|socket| { socket.get_ref() }.read(&mut buffer)) else { continue };
            if let Some(number) = self.number(&buffer[..length?]) {
                return Ok(number);
            }
        }
    }

    /// Of a packet that is the answer to one of ours. A raw socket of IPv4 gives the IP header as well.
    fn number(&self, packet: &[u8]) -> Option<u16> {
        let with_header = !self.v6 && packet.first()? >> 4 == 4;
        let packet = if with_header { packet.get(usize::from(packet[0] & 15) * 4..)? } else { packet };
        let is_reply = packet.first() == Some(if self.v6 { &129 } else { &0 });
        let is_ours = packet.get(HEADER..HEADER + TOKEN)? == self.token;
        (is_reply && is_ours).then(|| u16::from_be_bytes([packet[6], packet[7]]))
    }
}

#[expect(deprecated, reason = "its successor is unsafe for the sake of descriptors that lie about themselves; a `Socket` does not")]
fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::with_interest(socket, tokio::io::Interest::READABLE)
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_rfc() {
        // RFC 1071, section 3: the sum of these is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[]), 0xffff);
        assert_eq!(checksum(&vec![0xff; 65_000]), 0);
    }
}
