//! ICMP and ICMPv6 echo (RFC 792, RFC 4443).

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use squall_sys::cpu_time::{monotonic, sleep_until_monotonic};

use crate::net::Host;

/// Sends `count` echo requests, one every `interval`, and gives the round trip of each, or none if no answer came within
/// `limit`.
pub fn ping(from: &Host, to: IpAddr, count: u16, interval: Duration, limit: Duration) -> Vec<Option<Duration>> {
    let (domain, protocol, request) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128),
    };
    let socket = from.within(|| {
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).expect("a raw socket");
        socket.connect(&SocketAddr::new(to, 0).into()).expect("a route");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a time limit");
        socket
    });
    // Other programs of this host may ping too.
    let identifier = u16::try_from(rustix::thread::gettid().as_raw_nonzero().get() & 0xffff).unwrap_or_default();
    let (begin, mut sent, mut answers) = (monotonic(), Vec::new(), vec![None; usize::from(count)]);
    for sequence in 0..count {
        sleep_or_read(&socket, begin + interval * u32::from(sequence), to, identifier, &sent, &mut answers);
        sent.push(monotonic());
        // A fault may refuse it: then there is no answer.
        let _ = socket.send(&echo(request, identifier, sequence, to.is_ipv4()));
    }
    let end = monotonic() + limit;
    while answers.iter().any(Option::is_none) && monotonic() < end {
        read(&socket, to, identifier, &sent, &mut answers);
    }
    for answer in &mut answers {
        *answer = answer.filter(|trip| *trip <= limit);
    }
    answers
}

/// Answers come while the next request waits for its time.
fn sleep_or_read(socket: &Socket, until: Duration, to: IpAddr, identifier: u16, sent: &[Duration], answers: &mut [Option<Duration>]) {
    while monotonic() + Duration::from_millis(12) < until {
        read(socket, to, identifier, sent, answers);
    }
    sleep_until_monotonic(until);
}

fn read(mut socket: &Socket, to: IpAddr, identifier: u16, sent: &[Duration], answers: &mut [Option<Duration>]) {
    let mut buffer = [0; 1500];
    let Ok(length) = socket.read(&mut buffer) else { return };
    let at = monotonic();
    // A raw IPv4 socket gives the network header too.
    let (skip, reply) = if to.is_ipv4() { (usize::from(buffer[0] & 0xf) * 4, 0) } else { (0, 129) };
    let Some(message) = buffer[..length].get(skip..skip + 8) else { return };
    let number = usize::from(u16::from_be_bytes([message[6], message[7]]));
    if message[0] == reply
        && message[4..6] == identifier.to_be_bytes()
        && let (Some(sent), Some(answer)) = (sent.get(number), answers.get_mut(number))
    {
        answer.get_or_insert(at - *sent);
    }
}

/// The kernel fills in the checksum of ICMPv6, and that of ICMP is ours.
fn echo(kind: u8, identifier: u16, sequence: u16, checksum: bool) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend([0x5a; 48]);
    if checksum {
        let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default();
        message[2..4].copy_from_slice(&(!folded).to_be_bytes());
    }
    message
}
