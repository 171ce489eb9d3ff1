//! Toxiproxy's HTTP API (2.12), and Squall's own routes beside it.
//!
//! It has a thread and an event loop of its own, so that traffic through the proxies cannot starve it; each request is
//! carried out on a thread that may block, so that a slow name lookup holds up nobody but who asked for it.

mod go_json;
mod go_text;
mod input;
mod metrics;
mod output;
mod route;
mod routes;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use input::{ReadError, proxies_from_json, proxy_from_json};

use crate::address::{self, Address, ListenError, Listening};
use crate::control::Control;

/// The version of Toxiproxy whose API this is, as `GET /version` says it.
pub const VERSION: &str = "2.12.0";

/// Is told of each request that was answered.
pub type OnRequest = Arc<dyn Fn(&Access) + Send + Sync>;

/// What else the API does.
#[derive(Clone, Default)]
pub struct ApiOptions {
    /// `GET /metrics` counts what passes the proxies.
    pub proxy_metrics: bool,
    /// `GET /metrics` tells of this process.
    pub runtime_metrics: bool,
    /// Is told of each request that was answered.
    pub on_request: Option<OnRequest>,
}

impl std::fmt::Debug for ApiOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { proxy_metrics, runtime_metrics, on_request } = self;
        f.debug_struct("ApiOptions")
            .field("proxy_metrics", proxy_metrics)
            .field("runtime_metrics", runtime_metrics)
            .field("on_request", &on_request.is_some())
            .finish()
    }
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who asked.
    pub client: SocketAddr,
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub url: String,
    /// As the client calls itself.
    pub user_agent: String,
    /// What it was told.
    pub status: u16,
    /// Bytes of the answer's body.
    pub size: usize,
    /// From the head of the request to the answer.
    pub duration: Duration,
    /// The route's name, as `ProxyIndex`; empty where there is none.
    pub handler: &'static str,
}

/// The API at work. It ends with its drop, which waits for the requests that are under way, though not for ever.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Api {
    /// Listens (`host:port`; the IPv4 address of a name, where it has one) and serves.
    ///
    /// # Errors
    /// The address is none, or is taken.
    pub fn start(control: Control, listen: &str, options: ApiOptions) -> Result<Self, ListenError> {
        let parsed = Address::parse(listen)?;
        let failed = |source: io::Error| ListenError::Bind { family: "tcp", address: listen.to_owned(), source };
        let (address, listener) = match address::listen(&parsed, 1)? {
            Listening::Tcp(address, mut listeners) => (address, listeners.pop()),
            Listening::Unix(..) => (SocketAddr::from(([0, 0, 0, 0], 0)), None),
        };
        let listener = listener.ok_or_else(|| failed(io::ErrorKind::Unsupported.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name("proxy-api").build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let run = move || {
            runtime.block_on(serve::serve(control, listener, options, stopped, ready));
            // Whoever still looks up a name is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("proxy-api".into()).spawn(run).map_err(failed)?;
        let api = Self { address, stop: Some(stop), thread: Some(thread) };
        match is_ready.recv() {
            Ok(Ok(())) => Ok(api),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(failed(io::ErrorKind::Other.into())),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // The thread may have ended by itself.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests;
