//! A server that gives back what it gets, and single exchanges with it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use squall_sys::cpu_time::monotonic;

use crate::net::{Family, Host};

/// What carries an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A new connection.
    Tcp,
    /// One datagram.
    Udp,
}

/// Gives back over TCP and UDP, IPv4 and IPv6, on one port of a host, until it is dropped.
#[derive(Debug)]
pub struct Echo {
    host: Host,
    port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    /// On all addresses of a host.
    pub fn start(host: &Host, port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        // IPv4 comes to the same sockets, as mapped addresses.
        let any = SocketAddr::new(Family::V6.unspecified(), port);
        let (tcp, udp) = host.within(|| (TcpListener::bind(any), UdpSocket::bind(any)));
        let (tcp, udp) = (tcp.expect("a free port"), udp.expect("a free port"));
        tcp.set_nonblocking(true).expect("a mode");
        udp.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
        let stopping = stop.clone();
        threads.push(std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopping.load(Ordering::Relaxed) {
                if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(&buffer[..length], from);
                }
            }
        }));
        let stopping = stop.clone();
        threads.push(std::thread::spawn(move || {
            let mut connections = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                if let Ok((stream, _)) = tcp.accept() {
                    let stopping = stopping.clone();
                    connections.push(std::thread::spawn(move || serve(stream, &stopping)));
                } else {
                    wait_for_reader(&tcp);
                }
            }
            for connection in connections {
                let _ = connection.join();
            }
        }));
        Self { host: host.clone(), port, stop, threads }
    }

    /// Where it is.
    pub fn address(&self, family: Family) -> SocketAddr {
        self.host.socket(family, self.port)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn wait_for_reader(listener: &TcpListener) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit));
}

fn serve(mut stream: TcpStream, stop: &AtomicBool) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) if stream.write_all(&buffer[..length]).is_err() => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

/// Sends a few bytes from a host and waits until they come back: the round trip, for TCP with that of the connection.
pub fn exchange(from: &Host, to: SocketAddr, transport: Transport, limit: Duration) -> io::Result<Duration> {
    let payload = *b"to and fro";
    from.within(|| {
        let (begin, mut answer) = (monotonic(), [0; 10]);
        match transport {
            Transport::Tcp => {
                let mut stream = TcpStream::connect_timeout(&to, limit)?;
                stream.set_read_timeout(Some(limit))?;
                stream.write_all(&payload)?;
                stream.read_exact(&mut answer)?;
            }
            Transport::Udp => {
                let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
                let socket = UdpSocket::bind((family.unspecified(), 0))?;
                socket.connect(to)?;
                socket.set_read_timeout(Some(limit))?;
                socket.send(&payload)?;
                socket.recv(&mut answer)?;
            }
        }
        if answer == payload { Ok(monotonic() - begin) } else { Err(io::Error::other("another answer came")) }
    })
}
