//! A train of datagrams: numbered, stamped, and sent at a steady pace from one host to another.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use squall_sys::cpu_time::{monotonic, sleep_until_monotonic};

use super::{counter, urgent};
use crate::net::{Family, Host};

/// Number, time of sending, and checksum of both and of the rest.
const HEADER: usize = 4 + 8 + 4;

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Train {
    packets: u32,
    rate: f64,
    size: usize,
    grace: Duration,
    port: u16,
}

/// A datagram at its destination.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Which of them, from 0.
    pub sequence: u32,
    /// From just before it was sent until it was received by a program.
    pub delay: Duration,
    /// When it was received, on `CLOCK_MONOTONIC`.
    pub at: Duration,
}

/// What became of a train.
#[derive(Debug, Clone, Default)]
pub struct Journey {
    /// How many were sent.
    pub sent: u32,
    /// How many the sender's kernel refused to send (`EPERM`, `ECONNREFUSED`, `EHOSTUNREACH`), in words with the last one's error.
    pub refused: Option<(u32, String)>,
    /// Those that came whole, in order of their coming, duplicates included.
    pub arrivals: Vec<Arrival>,
    /// How many came changed: to a program, or to a kernel that threw them away for a wrong checksum or length.
    pub damaged: u64,
}

impl Train {
    /// So many, at so many a second. 64 bytes of payload; one second of grace.
    pub fn new(packets: u32, rate: f64) -> Self {
        Self { packets, rate, size: 64, grace: Duration::from_secs(1), port: 0 }
    }

    /// Bytes of payload, 16 or more.
    #[must_use]
    pub fn size(self, size: usize) -> Self {
        assert!(size >= HEADER, "room for number, time and checksum");
        Self { size, ..self }
    }

    /// How long after the last one was sent others may still come.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// The receiver's port; any if it is 0.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Sends it.
    pub fn run(&self, from: &Host, to: &Host, family: Family) -> Journey {
        let receiver = to.within(|| UdpSocket::bind(to.socket(family, self.port)).expect("a socket at the destination"));
        let address = receiver.local_addr().expect("bound");
        let sender = from.within(|| {
            let socket = UdpSocket::bind((family.unspecified(), 0)).expect("a socket at the source");
            socket.connect(address).expect("a route");
            socket
        });
        // As much as all of it, so that a receiver that is late loses nothing.
        let room = (self.packets as usize * (self.size + 1024)).min(64 << 20);
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, room);
        let errors = || to.within(|| counter(if family == Family::V4 { "Udp" } else { "Udp6" }, "InErrors"));
        let before = errors();
        let (ready, end) = (AtomicBool::new(false), AtomicU32::new(0));
        let mut journey = std::thread::scope(|scope| {
            let arrived = scope.spawn(|| self.receive(&receiver, &ready, &end));
            let refused = scope.spawn(|| self.send(&sender, &ready, &end)).join().expect("sends");
            let (arrivals, damaged) = arrived.join().expect("receives");
            Journey { sent: self.packets, refused, arrivals, damaged }
        });
        journey.damaged += errors() - before;
        journey
    }

    /// At times that were fixed beforehand: one that is late makes none of the others late.
    fn send(&self, socket: &UdpSocket, ready: &AtomicBool, end: &AtomicU32) -> Option<(u32, String)> {
        urgent();
        while !ready.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let (begin, mut refused) = (monotonic() + Duration::from_millis(2), None);
        let mut packet = vec![0; self.size];
        for sequence in 0..self.packets {
            sleep_until_monotonic(begin + Duration::from_secs_f64(f64::from(sequence) / self.rate));
            fill(&mut packet, sequence, monotonic());
            if let Err(error) = socket.send(&packet) {
                let count = refused.take().map_or(0, |(count, _)| count) + 1;
                refused = Some((count, error.to_string()));
            }
        }
        end.store(1, Ordering::Release);
        refused
    }

    fn receive(&self, socket: &UdpSocket, ready: &AtomicBool, end: &AtomicU32) -> (Vec<Arrival>, u64) {
        urgent();
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a time limit");
        let (mut arrivals, mut damaged, mut seen) = (Vec::new(), 0, HashSet::new());
        let mut buffer = vec![0; 65_536];
        ready.store(true, Ordering::Release);
        let mut ended = None;
        loop {
            if let Ok(length) = socket.recv(&mut buffer) {
                let at = monotonic();
                match parse(&buffer[..length]).filter(|(sequence, _)| length == self.size && *sequence < self.packets) {
                    Some((sequence, sent)) => {
                        seen.insert(sequence);
                        arrivals.push(Arrival { sequence, delay: at.saturating_sub(sent), at });
                    }
                    None => damaged += 1,
                }
            }
            if ended.is_none() && end.load(Ordering::Acquire) == 1 {
                ended = Some(monotonic());
            }
            // When all are there only duplicates can come, and those come with their originals or not much later.
            let whole = seen.len() == self.packets as usize;
            let grace = if whole { self.grace.min(Duration::from_millis(50)) } else { self.grace };
            let last = arrivals.last().map_or(Duration::ZERO, |arrival: &Arrival| arrival.at);
            if ended.is_some_and(|at| monotonic() > at.max(if whole { last } else { at }) + grace) {
                return (arrivals, damaged);
            }
        }
    }
}

/// The payload after the header depends on the number, so that a changed bit anywhere is seen.
fn fill(packet: &mut [u8], sequence: u32, now: Duration) {
    let nanoseconds = u64::try_from(now.as_nanos()).expect("less than 500 years");
    packet[0..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..12].copy_from_slice(&nanoseconds.to_be_bytes());
    let filler = sequence.to_le_bytes()[0];
    packet[HEADER..].fill(filler);
    let sum = checksum(packet);
    packet[12..16].copy_from_slice(&sum.to_be_bytes());
}

fn parse(packet: &[u8]) -> Option<(u32, Duration)> {
    let field = |from: usize, to: usize| packet.get(from..to);
    let sequence = u32::from_be_bytes(field(0, 4)?.try_into().ok()?);
    let sent = u64::from_be_bytes(field(4, 12)?.try_into().ok()?);
    let sum = u32::from_be_bytes(field(12, 16)?.try_into().ok()?);
    (sum == checksum(packet)).then_some((sequence, Duration::from_nanos(sent)))
}

fn checksum(packet: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&packet[..12]);
    hasher.update(&packet[HEADER..]);
    hasher.finalize()
}

impl Journey {
    /// Delays of those that came, in milliseconds, of each only the first copy, sorted.
    pub fn delays(&self) -> Vec<f64> {
        crate::net::statistics::sorted(self.firsts().map(|arrival| arrival.delay.as_secs_f64() * 1000.0).collect())
    }

    /// The same in order of their coming.
    pub fn firsts(&self) -> impl Iterator<Item = &Arrival> {
        let mut seen = HashSet::new();
        self.arrivals.iter().filter(move |arrival| seen.insert(arrival.sequence))
    }

    /// How many came more than once, counting every further copy.
    pub fn duplicates(&self) -> usize {
        self.arrivals.len() - self.firsts().count()
    }

    /// The numbers of those that never came.
    pub fn lost(&self) -> Vec<u32> {
        let came: HashSet<u32> = self.arrivals.iter().map(|arrival| arrival.sequence).collect();
        (0..self.sent).filter(|sequence| !came.contains(sequence)).collect()
    }

    /// How many were lost one after the other, each time.
    pub fn bursts(&self) -> Vec<u32> {
        let (mut bursts, mut before) = (Vec::<u32>::new(), None);
        for sequence in self.lost() {
            match bursts.last_mut().filter(|_| before == sequence.checked_sub(1)) {
                Some(burst) => *burst += 1,
                None => bursts.push(1),
            }
            before = Some(sequence);
        }
        bursts
    }

    /// How many came before one that was sent earlier and came too.
    pub fn overtakers(&self) -> usize {
        let mut least = u32::MAX;
        let mut overtakers = 0;
        let order: Vec<u32> = self.firsts().map(|arrival| arrival.sequence).collect();
        for sequence in order.into_iter().rev() {
            overtakers += usize::from(sequence > least);
            least = least.min(sequence);
        }
        overtakers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journey(sent: u32, order: &[u32]) -> Journey {
        let arrival = |sequence: &u32| Arrival { sequence: *sequence, delay: Duration::from_millis(1), at: Duration::ZERO };
        Journey { sent, arrivals: order.iter().map(arrival).collect(), ..Journey::default() }
    }

    #[test]
    fn a_changed_bit_anywhere_is_seen() {
        let mut packet = vec![0; 64];
        fill(&mut packet, 7, Duration::from_nanos(5));
        assert_eq!(parse(&packet), Some((7, Duration::from_nanos(5))));
        for bit in 0..64 * 8 {
            packet[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&packet), None, "bit {bit}");
            packet[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn losses_copies_and_order_are_told_apart() {
        let journey = journey(10, &[0, 2, 1, 1, 6, 4, 9]);
        assert_eq!(journey.lost(), [3, 5, 7, 8]);
        assert_eq!(journey.bursts(), [1, 1, 2]);
        assert_eq!((journey.duplicates(), journey.overtakers()), (1, 2));
        assert_eq!(journey.delays().len(), 6);
    }
}
