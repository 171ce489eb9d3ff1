//! A proxy in front of an upstream, for one test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use squall_proxy::tls::{Authority, AuthorityDir, TlsSpec, UpstreamTls};
use squall_proxy::{EventLog, Happened, Options, Proxies, RuleSpec};

/// A proxy on loopback with a `tls` block and rules, and the files that its clients need.
pub(crate) struct Field {
    pub(crate) port: u16,
    pub(crate) authority: Arc<Authority>,
    pub(crate) events: Arc<EventLog>,
    directory: tempfile::TempDir,
    _proxies: Proxies,
}

impl Field {
    /// Ends TLS in front of a server that says `ok` to every request.
    pub(crate) fn new(rules: &serde_json::Value) -> Self {
        Self::with(&TlsSpec { upstream: UpstreamTls::Plain, ..TlsSpec::default() }, rules, plain_server())
    }

    pub(crate) fn with(spec: &TlsSpec, rules: &serde_json::Value, upstream: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rules: Vec<RuleSpec> = serde_json::from_value(rules.clone()).unwrap();
        let place = AuthorityDir::at(directory.path());
        let authority = place.get().unwrap();
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let proxies = Proxies::start(&Options { workers: 1, seed: 1, events: 1000, authority: place }).unwrap();
        let route = proxies.open("p", "127.0.0.1:0", &upstream.to_string()).unwrap();
        route.set_rules(&rules, Some(spec)).unwrap();
        let port = route.listen().rsplit(':').next().unwrap().parse().unwrap();
        Self { port, authority, events: proxies.events().clone(), directory, _proxies: proxies }
    }

    /// The authority's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A file beside it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The faults that clients were shown in handshakes, and the errors of those without a fault.
    pub(crate) fn handshakes(&self) -> Vec<String> {
        let told = |what| match what {
            Happened::Handshake { fault, error, .. } => Some(fault.or(error).unwrap_or_else(|| "good".into())),
            _ => None,
        };
        self.events.after(0).into_iter().filter_map(|event| told(event.what)).collect()
    }
}

/// An HTTP server that says `ok` and closes.
pub(crate) fn plain_server() -> SocketAddr {
    server(|mut stream| {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.windows(4).any(|w| w == b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    })
}

/// A server that does this with each connection.
pub(crate) fn server(each: impl Fn(std::net::TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, each) = (stream.unwrap(), each.clone());
            std::thread::spawn(move || each(stream));
        }
    });
    address
}
