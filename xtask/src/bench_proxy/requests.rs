//! Small requests: over connections that stay open, over one each, paced or as fast as they go.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::backend::BODY;
use super::poll::Poll;
use crate::shell;

const REQUEST: &[u8] = b"GET /keep HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET /close HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: bench\r\nAccept: */*\r\nConnection: close\r\n\r\n";
/// After so long without anything, something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// When a measurement is over.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After these seconds.
    Seconds(f64),
    /// After so many exchanges on each connection: slow ones then count as much as quick ones.
    Each(u32),
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub until: Until,
    /// Seconds from one request of a connection to its next, at least.
    pub interval: f64,
    /// Seconds over which the connections begin.
    pub spread: f64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Seconds that each exchange took, sorted.
    pub times: Vec<f64>,
    /// Exchanges in a second, over all connections.
    pub rate: f64,
}

impl Outcome {
    pub fn quantile(&self, share: f64) -> f64 {
        shell::quantile(&self.times, share)
    }
}

struct Line {
    stream: TcpStream,
    sent: f64,
    due: f64,
    waiting: bool,
    left: u32,
    got: Vec<u8>,
}

/// Whether these bytes are a whole answer: the body's length is known, and it has no empty line in it.
fn whole(bytes: &[u8]) -> bool {
    bytes.len().checked_sub(BODY + 4).is_some_and(|at| &bytes[at..at + 4] == b"\r\n\r\n")
}

/// Exchanges over connections that stay open.
pub fn keep_alive(load: Load) -> Result<Outcome> {
    let threads = load.connections.min(2);
    let start = shell::now();
    let shares = (0..threads).map(|thread| (load.connections + thread) / threads);
    let running: Vec<_> = shares.map(|share| std::thread::spawn(move || keep_some_alive(load, share))).collect();
    let mut outcome = Outcome::default();
    for thread in running {
        let (times, seconds) = thread.join().map_err(|_| anyhow::anyhow!("a client ended early"))??;
        outcome.rate += times.len() as f64 / seconds;
        outcome.times.extend(times);
    }
    ensure!(!outcome.times.is_empty(), "no answer in {:.1} s", shell::now() - start);
    outcome.times.sort_by(f64::total_cmp);
    Ok(outcome)
}

/// One that is connected, and has been served once.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(&mut stream)?;
    Ok(stream)
}

/// One request and its answer, waiting for it.
pub fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let (mut got, mut buffer) = (Vec::new(), [0; 2048]);
    while !whole(&got) {
        match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => got.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(())
}

fn keep_some_alive(load: Load, connections: usize) -> Result<(Vec<f64>, f64)> {
    let mut poll = Poll::new()?;
    let mut lines = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = TcpStream::connect(load.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poll.add(&stream, number)?;
        let left = if let Until::Each(count) = load.until { count } else { u32::MAX };
        lines.push(Line { stream, sent: 0.0, due: 0.0, waiting: false, left, got: Vec::new() });
    }
    let begin = shell::now();
    // The first tenth of the time is for getting warm.
    for (number, line) in lines.iter_mut().enumerate() {
        line.due = begin + load.spread * number as f64 / connections as f64;
    }
    let (from, to) = match load.until {
        Until::Seconds(seconds) => (begin + seconds / 10.0, begin + seconds * 1.1),
        Until::Each(_) => (begin, f64::INFINITY),
    };
    let (mut times, mut ready, mut buffer) = (Vec::with_capacity(1 << 16), Vec::new(), vec![0; 16 * 1024]);
    let (mut open, mut last) = (connections, begin);
    while open > 0 {
        let now = shell::now();
        if now >= to {
            break;
        }
        ensure!(now - last < PATIENCE.as_secs_f64(), "no answer for {PATIENCE:?}");
        let mut next = to.min(now + 1.0);
        if load.interval > 0.0 || load.spread > 0.0 || last <= begin {
            for line in lines.iter_mut().filter(|line| !line.waiting && line.left > 0) {
                if line.due <= now { line.send()? } else { next = next.min(line.due) }
            }
        }
        poll.wait(Some(Duration::from_secs_f64((next - shell::now()).max(0.0))), &mut ready)?;
        for &number in &ready {
            let line = &mut lines[number];
            if !line.receive(&mut buffer)? {
                continue;
            }
            last = shell::now();
            if line.sent >= from {
                times.push(last - line.sent);
            }
            line.left -= 1;
            line.due = (line.sent + load.interval).max(last);
            if line.left == 0 {
                open -= 1;
            } else if load.interval == 0.0 {
                line.send()?;
            }
        }
    }
    Ok((times, last.max(from + 1e-9) - from))
}

impl Line {
    fn send(&mut self) -> Result<()> {
        self.sent = shell::now();
        self.waiting = true;
        Ok(self.stream.write_all(REQUEST)?)
    }

    /// Whether the answer is whole now.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("the connection was closed"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let done = if self.got.is_empty() && whole(&buffer[..count]) {
            true
        } else {
            self.got.extend_from_slice(&buffer[..count]);
            whole(&self.got)
        };
        if done {
            self.got.clear();
            self.waiting = false;
        }
        Ok(done)
    }
}

/// A connection for each request, so many at a time on each of two threads.
pub fn one_each(address: SocketAddr, at_a_time: usize, seconds: f64) -> Result<Outcome> {
    let running: Vec<_> = (0..2).map(|_| std::thread::spawn(move || one_each_here(address, at_a_time, seconds))).collect();
    let mut outcome = Outcome::default();
    for thread in running {
        let times = thread.join().map_err(|_| anyhow::anyhow!("a client ended early"))??;
        outcome.rate += times.len() as f64 / seconds;
        outcome.times.extend(times);
    }
    outcome.times.sort_by(f64::total_cmp);
    Ok(outcome)
}

fn one_each_here(address: SocketAddr, at_a_time: usize, seconds: f64) -> Result<Vec<f64>> {
    let mut poll = Poll::new()?;
    let start = |poll: &Poll, number: usize| -> Result<Line> {
        let sent = shell::now();
        // On loopback the handshake is over when this returns, without waiting.
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(LAST_REQUEST)?;
        stream.set_nonblocking(true)?;
        poll.add(&stream, number)?;
        Ok(Line { stream, sent, due: 0.0, waiting: true, left: 1, got: Vec::new() })
    };
    let mut lines = (0..at_a_time).map(|number| start(&poll, number)).collect::<Result<Vec<_>>>()?;
    let (from, mut last) = (shell::now() + seconds / 10.0, shell::now());
    let (mut times, mut ready, mut buffer) = (Vec::with_capacity(1 << 16), Vec::new(), vec![0; 16 * 1024]);
    loop {
        let now = shell::now();
        if now >= from + seconds {
            return Ok(times);
        }
        ensure!(now - last < PATIENCE.as_secs_f64(), "no answer for {PATIENCE:?}");
        poll.wait(Some(Duration::from_millis(100)), &mut ready)?;
        for &number in &ready {
            let line = &mut lines[number];
            match line.stream.read(&mut buffer) {
                Ok(0) => {
                    ensure!(whole(&line.got), "the connection was closed after {} bytes", line.got.len());
                    last = shell::now();
                    if last >= from && last < from + seconds {
                        times.push(last - line.sent);
                    }
                    lines[number] = start(&poll, number)?;
                }
                Ok(count) => line.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
