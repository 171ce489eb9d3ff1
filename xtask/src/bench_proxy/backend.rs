//! The server behind the proxies: a process of its own, so that neither its descriptors nor its memory are the client's.
//!
//! One port answers small requests (and closes after those for `/close`), two send without end: from memory, as those do that have
//! something to say, and from a cache.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use super::poll::Poll;
use crate::shell;

/// Bytes of each body: an answer is over when so many have come after the empty line.
pub const BODY: usize = 64;
/// What each thread of a bulk transfer reads and writes at once.
pub const BULK: usize = 256 * 1024;
/// Where the bytes of a bulk transfer come from, and where they go: more than a processor's caches hold.
pub const MEMORY: usize = 64 << 20;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n";
const LAST_ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\nConnection: close\r\n\r\n";

/// The running server.
pub struct Backend {
    child: Child,
    /// Answers requests.
    pub respond: SocketAddr,
    /// Sends without end, out of memory.
    pub source: SocketAddr,
    /// Sends without end, the same bytes again and again, which never leave the processor's cache.
    pub cached: SocketAddr,
}

impl Backend {
    pub fn start() -> Result<Self> {
        let mut command = shell::command(std::env::current_exe()?);
        let mut child = command.arg("bench-proxy-backend").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let mut ports = line.split_whitespace().map(str::parse::<SocketAddr>);
        let (Some(Ok(respond)), Some(Ok(source)), Some(Ok(cached))) = (ports.next(), ports.next(), ports.next()) else {
            let _ = child.kill();
            anyhow::bail!("the bench's own server did not start: {line}")
        };
        Ok(Self { child, respond, source, cached })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the server, for ever; ends with whoever started it.
pub fn serve() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    super::namespace::raise_descriptors()?;
    let source = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let cached = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let first = listener(0)?;
    let respond = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..2 {
        listeners.push(listener(respond.port())?);
    }
    shell::say(&format!("{respond} {} {}", source.local_addr()?, cached.local_addr()?));
    for listener in listeners {
        std::thread::spawn(move || answer_all(&listener));
    }
    std::thread::spawn(move || send_all(&cached, BULK));
    send_all(&source, MEMORY)
}

/// Sends these many bytes again and again, to everybody.
fn send_all(listener: &TcpListener, size: usize) -> Result<()> {
    // Made before anybody waits for it.
    let bytes: Arc<[u8]> = vec![0x5a; size].into();
    for stream in listener.incoming().flatten() {
        let bytes = bytes.clone();
        std::thread::Builder::new().stack_size(64 * 1024).spawn(move || send_without_end(stream, &bytes))?;
    }
    Ok(())
}

/// One of those that share a port, each with a thread of its own.
fn listener(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(65_535)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn send_without_end(mut stream: TcpStream, bytes: &[u8]) {
    while bytes.chunks(BULK).all(|piece| stream.write_all(piece).is_ok()) {}
}

struct Peer {
    stream: TcpStream,
    /// The last bytes that were read: an empty line may come in two pieces.
    tail: [u8; 4],
    /// The first byte of the path, which tells whether to close.
    last: bool,
    fresh: bool,
}

/// Answers on one thread. Requests have no body, and none is sent before the answer to the one before.
fn answer_all(listener: &TcpListener) -> Result<()> {
    let body = "squall! ".repeat(BODY / 8);
    let (answer, last_answer) = (format!("{ANSWER}{body}"), format!("{LAST_ANSWER}{body}"));
    let mut poll = Poll::new()?;
    poll.add(listener, usize::MAX)?;
    let (mut peers, mut free, mut ready) = (Vec::<Option<Peer>>::new(), Vec::new(), Vec::new());
    let mut buffer = vec![0; 16 * 1024];
    loop {
        poll.wait(None, &mut ready)?;
        for &number in &ready {
            if number == usize::MAX {
                accept(listener, &poll, &mut peers, &mut free)?;
                continue;
            }
            let Some(peer) = peers[number].as_mut() else { continue };
            let goes_on = match peer.stream.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    let whole = peer.take(&buffer[..count]);
                    let bytes = if peer.last { &last_answer } else { &answer };
                    !whole || (peer.stream.write_all(bytes.as_bytes()).is_ok() && !peer.last)
                }
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            if !goes_on {
                peers[number] = None;
                free.push(number);
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, peers: &mut Vec<Option<Peer>>, free: &mut Vec<usize>) -> Result<()> {
    // Some each time, so that those who are connected are not kept waiting.
    for _ in 0..16 {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let number = free.pop().unwrap_or_else(|| {
                    peers.push(None);
                    peers.len() - 1
                });
                poll.add(&stream, number)?;
                peers[number] = Some(Peer { stream, tail: [0; 4], last: false, fresh: true });
            }
            Err(_) => break,
        }
    }
    Ok(())
}

impl Peer {
    /// Whether the request is over with these bytes.
    fn take(&mut self, bytes: &[u8]) -> bool {
        if std::mem::take(&mut self.fresh) {
            self.last = bytes.starts_with(b"GET /close");
        }
        for &byte in &bytes[bytes.len().saturating_sub(4)..] {
            self.tail.rotate_left(1);
            self.tail[3] = byte;
        }
        let whole = self.tail == *b"\r\n\r\n";
        self.fresh = whole;
        whole
    }
}
