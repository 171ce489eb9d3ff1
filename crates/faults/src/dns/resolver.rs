//! The resolver: takes the queries that are redirected to it, and passes on, answers, holds or ignores each.
//!
//! What is passed on goes to the server that it was meant for, as the same bytes, from a socket of its own that has the pass mark;
//! the answer goes back as the same bytes. Over TCP a client's connection has one connection to the real server behind it, so
//! that pipelined queries and transfers of zones, with many answers to one query, go through as they are.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};
use squall_engine::Clock;
use squall_sys::BootClock;
use squall_sys::conntrack::{Conntrack, Tuple};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;

use super::decide::{Judge, Verdict};
use super::job::DnsJob;
use super::message::{Asked, Transport};

/// How long the real server may take. Longer than any client waits for one try.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The most that a datagram can hold.
const LARGEST: usize = 65_535;
/// SERVFAIL: what a client is told where the real server's host refuses, so that it tries the next one at once.
const SERVFAIL: u8 = 2;
/// How long a packet may take on the loopback interface, where a busy host may put it off.
const LOOPBACK_WITHIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// After an error of accept(2), such as too many open files.
const PAUSE: Duration = Duration::from_millis(20);
/// Answers that wait for a client that does not read.
const WAITING_ANSWERS: usize = 64;

/// What all connections share.
pub(crate) struct Resolver {
    judge: Judge,
    mark: u32,
    /// Where the kernel does not say whom a query was for.
    fallback: Vec<SocketAddr>,
    conntrack: Mutex<Conntrack>,
    /// Whether a server is on this host.
    local: Mutex<HashMap<IpAddr, bool>>,
    /// Each query that is passed on needs a file descriptor.
    slots: Arc<Semaphore>,
}

/// The connection behind a client's.
#[derive(Default)]
struct Behind {
    to_server: Option<OwnedWriteHalf>,
    /// The server has ended it: then the client's ends too.
    ended: Arc<Notify>,
}

/// Sockets that were opened in the namespace, one for each family that it has.
pub(crate) struct Listeners {
    pub(crate) udp: Vec<std::net::UdpSocket>,
    pub(crate) tcp: Vec<std::net::TcpListener>,
}

impl Listeners {
    /// On the loopback addresses, with the same port everywhere. The second says whether IPv6 is there.
    pub(crate) fn bind(port: u16) -> io::Result<(Self, bool)> {
        let mut listeners = Self { udp: Vec::new(), tcp: Vec::new() };
        listeners.add((Ipv4Addr::LOCALHOST, port).into())?;
        let v6 = match listeners.add((Ipv6Addr::LOCALHOST, port).into()) {
            Ok(()) => true,
            // IPv6 is switched off in this namespace.
            Err(error) if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported) => false,
            Err(error) => return Err(error),
        };
        Ok((listeners, v6))
    }

    /// Sends a datagram to a socket, on the loopback interface: `NetworkUnreachable` where that is down, which takes packets and
    /// loses them.
    pub(crate) fn reach_themselves(&self) -> io::Result<()> {
        for socket in &self.udp {
            socket.send_to(&[0], socket.local_addr()?)?;
            let arrived = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&LOOPBACK_WITHIN))?;
            if arrived == 0 {
                return Err(io::ErrorKind::NetworkUnreachable.into());
            }
        }
        Ok(())
    }

    fn add(&mut self, address: SocketAddr) -> io::Result<()> {
        let (udp, tcp) = (std::net::UdpSocket::bind(address)?, std::net::TcpListener::bind(address)?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        self.udp.push(udp);
        self.tcp.push(tcp);
        Ok(())
    }
}

impl Resolver {
    pub(crate) fn new(job: &DnsJob, mark: u32, conntrack: Conntrack, slots: usize) -> Self {
        Self {
            judge: Judge::new(job),
            mark,
            fallback: job.nameservers.clone(),
            conntrack: Mutex::new(conntrack),
            local: Mutex::default(),
            slots: Arc::new(Semaphore::new(slots)),
        }
    }

    /// Serves for as long as the process lives; returns if a socket cannot be used.
    pub(crate) async fn serve(self: Arc<Self>, listeners: Listeners) -> io::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for udp in listeners.udp {
            tasks.spawn(Arc::clone(&self).serve_udp(Arc::new(UdpSocket::from_std(udp)?)));
        }
        for tcp in listeners.tcp {
            tasks.spawn(Arc::clone(&self).serve_tcp(TcpListener::from_std(tcp)?));
        }
        match tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Err(io::Error::other("no socket")),
        }
    }

    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) -> io::Result<()> {
        let local = socket.local_addr()?;
        let mut buffer = vec![0; LARGEST];
        loop {
            // An error here is an earlier answer that could not be delivered.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
            let query = buffer[..length].to_vec();
            let server = self.meant_by_udp(client, local);
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                self.judge.count_unforwarded();
                continue;
            };
            let (resolver, socket) = (Arc::clone(&self), Arc::clone(&socket));
            tokio::spawn(async move {
                if let Some(answer) = resolver.by_udp(&query, server).await {
                    // A client that is gone needs no answer.
                    let _ = socket.send_to(&answer, client).await;
                }
                drop(slot);
            });
        }
    }

    async fn by_udp(&self, query: &[u8], server: Option<SocketAddr>) -> Option<Vec<u8>> {
        let asked = Asked::read(query);
        match self.judge.decide(asked.as_ref(), Transport::Udp) {
            Verdict::Answer(answer) => Some(answer).filter(|answer| !answer.is_empty()),
            Verdict::Silence => None,
            verdict => {
                let answer = self.pass_on(query, asked.as_ref(), server?).await;
                if let Verdict::Hold(time) = verdict {
                    hold(time).await;
                }
                answer
            }
        }
    }

    /// Asks the real server.
    async fn pass_on(&self, query: &[u8], asked: Option<&Asked>, server: SocketAddr) -> Option<Vec<u8>> {
        let _passing = asked.filter(|_| self.is_local(server.ip())).map(|asked| self.judge.let_pass(asked));
        match timeout(ANSWER_WITHIN, ask_udp(query, server, self.mark)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_)) => {
                self.judge.count_unforwarded();
                asked.map(|asked| asked.with_code(SERVFAIL, Transport::Udp))
            }
            // It would not have answered the client either.
            Err(_) => None,
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                hold(PAUSE).await;
                continue;
            };
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { continue };
            let resolver = Arc::clone(&self);
            tokio::spawn(async move {
                // A connection that breaks is the client's to see.
                let _ = resolver.by_tcp(stream).await;
                drop(slot);
            });
        }
    }

    async fn by_tcp(self: &Arc<Self>, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let server = self.meant_by_tcp(&stream);
        let (mut from_client, to_client) = stream.into_split();
        let (answers, waiting) = mpsc::channel(WAITING_ANSWERS);
        let writer = tokio::spawn(write_frames(to_client, waiting));
        let mut behind = Behind::default();
        let result = loop {
            let read = tokio::select! {
                read = read_frame(&mut from_client) => read,
                () = behind.ended.notified() => break Ok(()),
            };
            let query = match read {
                Ok(Some(query)) => query,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let asked = Asked::read(&query);
            match self.judge.decide(asked.as_ref(), Transport::Tcp) {
                Verdict::Silence => {}
                // Whoever does not read its answers gets none.
                Verdict::Answer(answer) => drop(answers.send(answer).await),
                Verdict::Hold(time) => self.hold_tcp(query, asked, server, time, answers.clone()),
                Verdict::Pass => {
                    if let Err(error) = self.pass_on_tcp(&query, server, &mut behind, &answers).await {
                        self.judge.count_unforwarded();
                        break Err(error);
                    }
                }
            }
        };
        drop(answers);
        if result.is_err() {
            // The client sees at once that the connection is of no use.
            writer.abort();
        }
        // The real server is told that no more queries come, and what it still has to say is passed on.
        drop(behind);
        let _ = writer.await;
        result
    }

    /// Sends a query over the connection behind the client's, which is made with the first.
    async fn pass_on_tcp(
        &self,
        query: &[u8],
        server: Option<SocketAddr>,
        behind: &mut Behind,
        answers: &mpsc::Sender<Vec<u8>>,
    ) -> io::Result<()> {
        let to_server = if let Some(to_server) = &mut behind.to_server {
            to_server
        } else {
            let server = server.ok_or_else(|| io::Error::other("the server that was meant is not known"))?;
            let (mut from_server, to_server) = connect(server, self.mark).await?.into_split();
            let (answers, ended) = (answers.clone(), Arc::clone(&behind.ended));
            tokio::spawn(async move {
                while let Ok(Some(answer)) = read_frame(&mut from_server).await {
                    if answers.send(answer).await.is_err() {
                        break;
                    }
                }
                ended.notify_one();
            });
            behind.to_server.insert(to_server)
        };
        to_server.write_all(&framed(query)).await
    }

    /// Asks over a connection of its own, and holds the answer, while other queries of the client go on.
    fn hold_tcp(
        self: &Arc<Self>,
        query: Vec<u8>,
        asked: Option<Asked>,
        server: Option<SocketAddr>,
        time: Duration,
        answers: mpsc::Sender<Vec<u8>>,
    ) {
        let resolver = Arc::clone(self);
        tokio::spawn(async move {
            let Some(server) = server else { return resolver.judge.count_unforwarded() };
            let answer = {
                let _passing = asked.as_ref().filter(|_| resolver.is_local(server.ip())).map(|asked| resolver.judge.let_pass(asked));
                timeout(ANSWER_WITHIN, ask_tcp(&query, server, resolver.mark)).await
            };
            hold(time).await;
            match answer {
                // Whoever went away needs no answer.
                Ok(Ok(Some(answer))) => drop(answers.send(answer).await),
                _ => resolver.judge.count_unforwarded(),
            }
        });
    }

    /// The server that a datagram was sent to before it was redirected: the kernel's flow knows.
    fn meant_by_udp(&self, client: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
        let reply = Tuple { protocol: 17, source: local, destination: plain(client) };
        let flow = self.conntrack.lock().unwrap_or_else(PoisonError::into_inner).by_reply(reply).ok().flatten();
        flow.filter(squall_sys::conntrack::Flow::is_redirected).map(|flow| flow.original.destination).or_else(|| self.guess(client))
    }

    /// The server that a connection was made to before it was redirected (`SO_ORIGINAL_DST`).
    fn meant_by_tcp(&self, stream: &TcpStream) -> Option<SocketAddr> {
        let (local, client) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        let original = match local {
            SocketAddr::V4(_) => ip_original_dst(stream).map(SocketAddr::V4),
            SocketAddr::V6(_) => ipv6_original_dst(stream).map(SocketAddr::V6),
        };
        // One that was made to the resolver itself was meant for nobody else.
        original.ok().filter(|original| *original != local).or_else(|| self.guess(client))
    }

    fn guess(&self, client: SocketAddr) -> Option<SocketAddr> {
        let same = self.fallback.iter().find(|server| server.is_ipv4() == client.is_ipv4());
        same.or(self.fallback.first()).copied()
    }

    /// Whether an address is this host's own: then one can be bound to it.
    fn is_local(&self, address: IpAddr) -> bool {
        let mut known = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(address).or_insert_with(|| address.is_loopback() || std::net::UdpSocket::bind((address, 0)).is_ok())
    }
}

async fn hold(time: Duration) {
    let clock = BootClock::new();
    clock.sleep_until(clock.now() + time).await;
}

/// Without flow label and scope, as the kernel's flows have it.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

/// One exchange over UDP. Answers to other queries are not taken, as the client would not take them.
async fn ask_udp(query: &[u8], server: SocketAddr, mark: u32) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket2::SockRef::from(&socket).set_mark(mark)?;
    socket.connect(server).await?;
    socket.send(query).await?;
    loop {
        // Memory is taken when there is something to hold: many queries may wait for a server that is gone.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            // Without an error the readiness is taken back, and waited for again.
            match socket.try_io(Interest::ERROR, || socket.take_error()?.map_or(Err(io::ErrorKind::WouldBlock.into()), Err)) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let mut answer = vec![0; LARGEST];
        match socket.try_recv(&mut answer) {
            Ok(length) if query.len() < 2 || answer[..length].starts_with(&query[..2]) => {
                answer.truncate(length);
                return Ok(answer);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn connect(server: SocketAddr, mark: u32) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket2::SockRef::from(&socket).set_mark(mark)?;
    socket.set_nodelay(true)?;
    socket.connect(server).await
}

async fn ask_tcp(query: &[u8], server: SocketAddr, mark: u32) -> io::Result<Option<Vec<u8>>> {
    let mut stream = connect(server, mark).await?;
    stream.write_all(&framed(query)).await?;
    read_frame(&mut stream).await
}

/// A message with its length before it (RFC 1035, section 4.2.2), in one piece (RFC 7766, section 8).
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], &message[..length.into()]].concat()
}

/// The next message; none where the other side has ended the connection between two.
async fn read_frame(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; length.into()];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes answers in the order in which they come, until nobody is left who could send one.
async fn write_frames(mut to: OwnedWriteHalf, mut answers: mpsc::Receiver<Vec<u8>>) {
    while let Some(answer) = answers.recv().await {
        if to.write_all(&framed(&answer)).await.is_err() {
            return;
        }
    }
    // The client may be gone already.
    let _ = to.shutdown().await;
}
