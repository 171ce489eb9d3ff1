//! From a name to a TCP connection.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::WireError;

/// How long an answer of the resolver is used again. Short, so that a probe sees a change of DNS within its cadence; there
/// at all, so that a burst of new connections is not a burst of look-ups.
const KEPT: Duration = Duration::from_secs(1);

/// When the next address is tried beside the one that does not answer (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Resolves names with the system's resolver, a few at a time.
#[derive(Debug)]
pub(crate) struct Resolver {
    kept: Mutex<HashMap<String, (Duration, Vec<IpAddr>)>>,
    gate: Semaphore,
}

impl Default for Resolver {
    fn default() -> Self {
        // Each look-up holds a thread for as long as the resolver takes.
        Self { kept: Mutex::default(), gate: Semaphore::new(4) }
    }
}

impl Resolver {
    /// Every address of the host, in the resolver's order. Addresses and `localhost` need no resolver.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, WireError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        if host.eq_ignore_ascii_case("localhost") {
            // RFC 6761, section 6.3: always the loopback addresses.
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Some(addresses) = self.kept(host) {
            return Ok(addresses);
        }
        let wrong = |reason: String| WireError::Dns { host: host.to_owned(), reason };
        let _turn = self.gate.acquire().await.map_err(|e| wrong(e.to_string()))?;
        if let Some(addresses) = self.kept(host) {
            return Ok(addresses);
        }
        let found = tokio::net::lookup_host((host, 0)).await.map_err(|e| wrong(resolver_reason(&e)))?;
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(wrong("no address".into()));
        }
        self.lock().insert(host.to_owned(), (now(), addresses.clone()));
        Ok(addresses)
    }

    fn kept(&self, host: &str) -> Option<Vec<IpAddr>> {
        let kept = self.lock();
        let (at, addresses) = kept.get(host)?;
        (now().saturating_sub(*at) < KEPT).then(|| addresses.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Duration, Vec<IpAddr>)>> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The age of an entry is the resolver's own business, so it needs no clock from outside.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// `failed to lookup address information: Name or service not known` says the same twice.
fn resolver_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.rsplit(": ").next().unwrap_or(&text).to_lowercase()
}

/// A TCP connection without Nagle's delay, to the first address that answers.
pub(crate) async fn open_tcp(resolver: &Resolver, host: &str, port: u16) -> Result<TcpStream, WireError> {
    let addresses = resolver.resolve(host).await?;
    let mut waiting = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    loop {
        let more = if let Some(address) = waiting.next() {
            attempts.push(attempt(address));
            true
        } else {
            false
        };
        let result = if more && waiting.len() > 0 {
            match tokio::time::timeout(ATTEMPT_DELAY, attempts.next()).await {
                Ok(result) => result,
                Err(_) => continue,
            }
        } else {
            attempts.next().await
        };
        match result {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => failure = Some(failure.unwrap_or(error)),
            None => {
                return Err(failure.unwrap_or(WireError::Dns { host: host.to_owned(), reason: "no address".into() }));
            }
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, WireError> {
    let wrong = |e: std::io::Error| WireError::from_connect(&address.to_string(), &e);
    let stream = TcpStream::connect(address).await.map_err(wrong)?;
    stream.set_nodelay(true).map_err(wrong)?;
    Ok(stream)
}
