//! Whether a DNS fault is really there: a query as the target would send it, and the resolver's own counters.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::rr::DNSClass;
use squall_engine::Effect;
use squall_sys::cpu_time::monotonic;
use squall_sys::nft;

use super::decide::Counts;
use super::job::{DnsJob, Treatment};
use super::message::{Answered, COUNTERS, answered, query};
use super::names::Names;
use crate::network::owner::Owner;

/// How long the resolver on this host may take.
const OWN_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(200);
/// The longest delay that is waited for.
const LONGEST: Duration = Duration::from_secs(2);
/// The most queries that are sent to see a share of them broken.
const MOST_QUERIES: u16 = 32;
/// TXT.
const TEXT: u16 = 16;

/// To be called within the namespace.
pub(super) fn look(marker: &str, job: &DnsJob) -> io::Result<Effect> {
    let is_not = |evidence: String| Ok(Effect { in_force: false, evidence });
    let Some(rules) = nft::counters(marker)? else { return is_not(format!("there is no table {marker}")) };
    let resolver = SocketAddr::from((Ipv4Addr::LOCALHOST, job.port));
    let Some(before) = counts(resolver)? else {
        return is_not(format!("no resolver answers on port {} of the loopback interface", job.port));
    };
    let Some(name) = Names::new(&job.names).example() else { return is_not("the patterns leave no name".into()) };
    let everybody = matches!(job.owner, Owner::Everything);
    // A query of ours is not the target's, if that is one of many here: the resolver is asked without the redirection then. So it
    // is where there is no way to a name server from here at all.
    let server = Some(first_server(job)).filter(|_| everybody);
    let (server, asked) = match server.map(|server| (server, ask(server, &name, job))) {
        Some((server, Ok(asked))) => (server, asked),
        _ => (resolver, ask(resolver, &name, job)?),
    };
    let Some(after) = counts(resolver)? else { return is_not("the resolver has ended meanwhile".into()) };
    let (matched, broken) = (after.matched.saturating_sub(before.matched), after.broken.saturating_sub(before.broken));
    let in_force = broken > 0 || (matched > 0 && job.probability < 1.0);
    let redirected: u64 = rules.iter().filter(|rule| rule.comment == "redirected").map(|rule| rule.packets).sum();
    let whose = if everybody { String::new() } else { format!("; {redirected} queries of the target were redirected before") };
    let sent = if asked.sent == 1 { "a query".to_owned() } else { format!("{} queries", asked.sent) };
    let evidence = format!("{sent} for {name} to {server}: {}; the resolver broke {broken} of {matched}{whose}", asked.said(job));
    Ok(Effect { in_force, evidence })
}

/// Where the target itself would ask first.
fn first_server(job: &DnsJob) -> SocketAddr {
    let port = job.ports.first().copied().unwrap_or(53);
    let named = job.servers.first().map(|address| SocketAddr::new(*address, port));
    let own = || job.nameservers.first().map(|server| SocketAddr::new(server.ip(), port));
    named.or_else(own).unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into())
}

/// The resolver's counters; none if it does not answer.
fn counts(resolver: SocketAddr) -> io::Result<Option<Counts>> {
    let socket = socket(resolver)?;
    let message = query(COUNTERS, TEXT, DNSClass::CH, 1).map_err(io::Error::other)?;
    socket.send_to(&message, resolver)?;
    Ok(receive(&socket, monotonic() + OWN_ANSWER_WITHIN).and_then(|answered| serde_json::from_str(&answered.text).ok()))
}

/// What came of the queries.
struct Asked {
    sent: u16,
    answers: Vec<Answered>,
    /// Until the last of them.
    took: Duration,
}

impl Asked {
    fn said(&self, job: &DnsJob) -> String {
        let Some(answer) = self.answers.last() else {
            return match job.treatment {
                Treatment::Delay { delay, .. } if delay > LONGEST => format!("held for {delay:?}"),
                _ => "no answer".into(),
            };
        };
        let addresses: Vec<String> = answer.addresses.iter().map(IpAddr::to_string).collect();
        let addresses = if addresses.is_empty() { String::new() } else { format!(" {}", addresses.join(", ")) };
        format!("{}{addresses} after {} ms", answer.code, self.took.as_millis())
    }
}

fn ask(server: SocketAddr, name: &str, job: &DnsJob) -> io::Result<Asked> {
    let socket = socket(server)?;
    let kind = job.types.first().copied().unwrap_or(1);
    let sent = how_many(job.probability);
    let start = monotonic();
    for id in 0..sent {
        socket.send_to(&query(name, kind, DNSClass::IN, id).map_err(io::Error::other)?, server)?;
    }
    let end = start
        + match job.treatment {
            Treatment::Silence => SILENCE,
            Treatment::Delay { delay, .. } if delay > LONGEST => SILENCE,
            Treatment::Delay { delay, jitter } => delay + jitter + OWN_ANSWER_WITHIN,
            _ => OWN_ANSWER_WITHIN,
        };
    let mut asked = Asked { sent, answers: Vec::new(), took: Duration::ZERO };
    while asked.answers.len() < sent.into() {
        let Some(answer) = receive(&socket, end) else { break };
        asked.answers.push(answer);
        asked.took = monotonic().saturating_sub(start);
    }
    Ok(asked)
}

/// So many that one is broken, but for one time in a million, or as many as are bearable.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is between 1 and MOST_QUERIES")]
fn how_many(probability: f64) -> u16 {
    if probability >= 1.0 {
        return 1;
    }
    ((1e-6_f64).ln() / (1.0 - probability).ln()).ceil().clamp(1.0, MOST_QUERIES.into()) as u16
}

fn socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0))
}

/// The next answer; none if there is none in time.
fn receive(socket: &UdpSocket, end: Duration) -> Option<Answered> {
    let mut buffer = [0; 4096];
    loop {
        let left = end.checked_sub(monotonic()).filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).ok()?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if let Some(answer) = answered(&buffer[..length]) {
                    return Some(answer);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_queries_are_sent_as_a_share_needs() {
        assert_eq!([1.0, 0.9, 0.5, 0.01].map(how_many), [1, 6, 20, MOST_QUERIES]);
    }
}
