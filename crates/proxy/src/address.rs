//! Where a proxy listens and where it connects to: `host:port`, `[v6]:port`, `:port`, `unix:/path`, and `original`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket as Raw, Type};
use squall_engine::marks::PROXY_MARK;
use tokio::net::{TcpStream, UnixStream};

use crate::socket::Socket;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// An address as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host (a name, or an address without brackets; empty for all interfaces) and a port.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// As an upstream: wherever the client wanted to go before the kernel redirected it here.
    Original,
}

/// A proxy cannot listen. The texts are those of Go's `net` package, as users of Toxiproxy know them.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is none.
    #[error("listen tcp: address {0}: missing port in address")]
    NoPort(String),
    /// The port is none.
    #[error("listen tcp: lookup tcp/{0}: unknown port")]
    Port(String),
    /// The name is not known.
    #[error("listen tcp: lookup {host}: {source}")]
    Lookup {
        /// Which name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("listen {family} {address}: bind: {}", reason(.source))]
    Bind {
        /// `tcp` or `unix`.
        family: &'static str,
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// The error's text as strerror(3) has it, in lower case and without a number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, ListenError> {
        if text == "original" {
            return Ok(Self::Original);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| ListenError::NoPort(text.to_owned()))?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(ListenError::NoPort(text.to_owned()));
        }
        let number = if port.is_empty() { Ok(0) } else { port.parse() };
        Ok(Self::Tcp(bare.unwrap_or(host).to_owned(), number.map_err(|_| ListenError::Port(port.to_owned()))?))
    }

    /// The name for TLS and `Host`; empty for a Unix socket.
    pub fn host(&self) -> &str {
        match self {
            Self::Tcp(host, _) => host,
            Self::Unix(_) | Self::Original => "",
        }
    }

    /// Connects; to `original` if that is what is written. All addresses of a name are tried in turn.
    pub async fn connect(&self, original: Option<SocketAddr>) -> io::Result<Socket> {
        match self {
            Self::Original => match original {
                Some(address) => connect_tcp(address, Some(PROXY_MARK)).await,
                None => Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "nobody redirected this connection here")),
            },
            Self::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
            Self::Tcp(host, port) => {
                if let Ok(ip) = host.parse::<IpAddr>() {
                    return connect_tcp(SocketAddr::new(ip, *port), None).await;
                }
                // As with Go: no host is this one.
                let name = if host.is_empty() { "localhost" } else { host.as_str() };
                let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address"));
                for address in tokio::net::lookup_host((name, *port)).await? {
                    match connect_tcp(address, None).await {
                        Ok(socket) => return Ok(socket),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

/// As `TcpStream::connect`, and a system call less: only a socket that reports an error is asked which (connect(2)).
async fn connect_tcp(address: SocketAddr, mark: Option<u32>) -> io::Result<Socket> {
    let socket = Raw::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(mark) = mark {
        socket.set_mark(mark).map_err(|error| io::Error::new(error.kind(), format!("SO_MARK: {error} (run as root)")))?;
    }
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    let ready = stream.ready(tokio::io::Interest::WRITABLE).await?;
    if (ready.is_error() || ready.is_write_closed())
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    Ok(Socket::Tcp(stream))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Original => f.write_str("original"),
        }
    }
}

/// Where a client wanted to go before `nf_tables` redirected it (`SO_ORIGINAL_DST`, from conntrack). None if it came by itself.
pub(crate) fn original_destination(client: &TcpStream) -> Option<SocketAddr> {
    let here = client.local_addr().ok()?;
    let socket = socket2::SockRef::from(client);
    let is_v4 = here.ip().to_canonical().is_ipv4();
    let address = if is_v4 { socket.original_dst_v4() } else { socket.original_dst_v6() }.ok()?.as_socket()?;
    (address.ip() != here.ip().to_canonical() || address.port() != here.port()).then_some(address)
}

/// Sockets that listen on one address.
#[derive(Debug)]
pub(crate) enum Listening {
    /// One for each worker: the kernel spreads connections over them.
    Tcp(SocketAddr, Vec<std::net::TcpListener>),
    /// One, and the file to be removed.
    Unix(UnixFile, std::os::unix::net::UnixListener),
}

/// A Unix socket's file, removed with this.
#[derive(Debug)]
pub(crate) struct UnixFile(PathBuf);

impl UnixFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for UnixFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listens on this address with so many sockets.
pub(crate) fn listen(address: &Address, sockets: usize) -> Result<Listening, ListenError> {
    match address {
        Address::Unix(path) => listen_unix(path),
        Address::Original => Err(ListenError::NoPort("original".into())),
        Address::Tcp(host, port) => {
            let mut last = None;
            for candidate in candidates(host, *port)? {
                match listen_tcp(candidate, sockets) {
                    Ok((address, listeners)) => return Ok(Listening::Tcp(address, listeners)),
                    // A kernel without IPv6 has a second candidate for all interfaces.
                    Err(source) => last = Some(source),
                }
            }
            let source = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
            Err(ListenError::Bind { family: "tcp", address: address.to_string(), source })
        }
    }
}

fn candidates(host: &str, port: u16) -> Result<Vec<SocketAddr>, ListenError> {
    let all = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Ok(all.to_vec()),
        Ok(ip) => Ok(vec![SocketAddr::new(ip, port)]),
        Err(_) if host.is_empty() => Ok(all.to_vec()),
        Err(_) => {
            let found = (host, port).to_socket_addrs().map_err(|source| ListenError::Lookup { host: host.to_owned(), source })?;
            // IPv4 first, as most programs that are told a name will look there.
            let mut found: Vec<SocketAddr> = found.collect();
            found.sort_by_key(SocketAddr::is_ipv6);
            found.truncate(1);
            Ok(found)
        }
    }
}

fn listen_tcp(address: SocketAddr, sockets: usize) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    // The first is bound without SO_REUSEPORT, so that a port that any other socket has is refused, even one of our own user's
    // that would share it. From then on it lets the others in.
    let first = bind(address, false)?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut listeners = vec![first];
    for _ in 1..sockets.max(1) {
        listeners.push(bind(bound, true)?);
    }
    for socket in &listeners {
        socket.listen(BACKLOG)?;
    }
    Ok((bound, listeners.into_iter().map(Into::into).collect()))
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Raw> {
    let socket = Raw::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen_unix(path: &Path) -> Result<Listening, ListenError> {
    let failed = |source| ListenError::Bind { family: "unix", address: path.display().to_string(), source };
    let listener = match std::os::unix::net::UnixListener::bind(path) {
        // A file that nobody listens on was left behind.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            std::fs::remove_file(path).map_err(failed)?;
            std::os::unix::net::UnixListener::bind(path).map_err(failed)?
        }
        result => result.map_err(failed)?,
    };
    let file = UnixFile(path.to_owned());
    listener.set_nonblocking(true).map_err(failed)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    Ok(Listening::Unix(file, listener))
}

fn is_abandoned(path: &Path) -> bool {
    matches!(std::os::unix::net::UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:80", "[::1]:8080", "example.com:443", ":9000", "unix:/run/a.sock", "original"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        let error = |text| Address::parse(text).unwrap_err().to_string();
        assert_eq!(error("localhost"), "listen tcp: address localhost: missing port in address");
        assert_eq!(error("localhost:http"), "listen tcp: lookup tcp/http: unknown port");
        assert_eq!(error("::1:80"), "listen tcp: address ::1:80: missing port in address");
    }

    #[test]
    fn a_port_that_somebody_has_is_refused_even_to_those_who_would_share() {
        let local = Address::parse("127.0.0.1:0").unwrap();
        let Ok(Listening::Tcp(bound, listeners)) = listen(&local, 2) else { panic!("it listens") };
        assert_eq!(listeners.len(), 2);
        let again = Address::parse(&bound.to_string()).unwrap();
        let error = listen(&again, 2).unwrap_err().to_string();
        assert_eq!(error, format!("listen tcp {bound}: bind: address already in use"));
        drop(listeners);
        assert!(listen(&again, 2).is_ok());
    }

    #[test]
    fn an_abandoned_unix_socket_is_taken_over_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let address = Address::Unix(path.clone());
        let held = listen(&address, 1).unwrap();
        assert!(listen(&address, 1).unwrap_err().to_string().ends_with("bind: address already in use"));
        assert!(path.exists());
        drop(held);
        assert!(!path.exists());
    }
}
