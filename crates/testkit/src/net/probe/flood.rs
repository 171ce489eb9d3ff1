//! More datagrams than a limit lets through: how many come, by the second.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use squall_sys::cpu_time::{monotonic, sleep_until_monotonic};

use super::urgent;
use crate::net::{Family, Host};

/// Bytes of the network and transport headers before a datagram's payload.
const fn headers(family: Family) -> usize {
    match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// Datagrams as long as the network takes (1,500 bytes with headers), sent faster than they are to arrive.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Bytes a second to send, headers included.
    pub bytes_per_second: f64,
    /// How long.
    pub lasting: Duration,
    /// What comes so long after the first is not counted: bursts that are allowed at first.
    pub warm_up: Duration,
}

impl Flood {
    /// Bytes a second that arrive, network headers included.
    pub fn run(&self, from: &Host, to: &Host, family: Family) -> f64 {
        let receiver = to.within(|| UdpSocket::bind(to.socket(family, 0)).expect("a socket at the destination"));
        let address = receiver.local_addr().expect("bound");
        let sender = from.within(|| {
            let socket = UdpSocket::bind((family.unspecified(), 0)).expect("a socket at the source");
            socket.connect(address).expect("a route");
            // What does not fit is lost here and not waited for.
            socket.set_nonblocking(true).expect("a mode");
            socket
        });
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 16 << 20);
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let arrived = scope.spawn(|| receive(&receiver, &ended));
            scope.spawn(|| self.send(&sender, family)).join().expect("sends");
            ended.store(true, Ordering::Release);
            self.rate(&arrived.join().expect("receives"))
        })
    }

    fn send(&self, socket: &UdpSocket, family: Family) {
        let payload = vec![0x5a; 1500 - headers(family)];
        let begin = monotonic();
        let every = Duration::from_secs_f64(1500.0 / self.bytes_per_second);
        let mut next = begin;
        while next < begin + self.lasting {
            sleep_until_monotonic(next);
            let _ = socket.send(&payload);
            next += every;
        }
    }

    /// Between the first and the last that count, the first one's own bytes left out.
    fn rate(&self, arrivals: &[Duration]) -> f64 {
        let Some(first) = arrivals.first() else { return 0.0 };
        let counted: Vec<&Duration> = arrivals.iter().filter(|at| **at >= *first + self.warm_up).collect();
        match counted.as_slice() {
            [first, .., last] => 1500.0 * (counted.len() - 1) as f64 / last.saturating_sub(**first).as_secs_f64(),
            _ => 0.0,
        }
    }
}

/// When they came, until none came for a while after the end.
fn receive(socket: &UdpSocket, ended: &AtomicBool) -> Vec<Duration> {
    urgent();
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
    let (mut arrivals, mut buffer) = (Vec::new(), vec![0; 2048]);
    loop {
        match socket.recv(&mut buffer) {
            // What is still queued when the sender has ended drains at the same rate, and is not needed.
            Ok(_) if !ended.load(Ordering::Acquire) => arrivals.push(monotonic()),
            _ if ended.load(Ordering::Acquire) => return arrivals,
            _ => {}
        }
    }
}
