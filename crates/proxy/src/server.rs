//! Proxies at work: worker threads, what they listen on, and what each open connection follows.

mod apart;
mod connection;
mod layers;
mod route;
mod table;
mod unread;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use apart::apart;
pub(crate) use connection::Connection;
pub(crate) use layers::Layers;
pub use layers::RuleError;
pub(crate) use route::Shared;
pub use route::{Counters, Route};
pub(crate) use table::Table;

use crate::address::{self, Address, ListenError, Listening};
use crate::events::EventLog;
use crate::tls::AuthorityDir;
use worker::{Command, Worker};

/// How proxies are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads; 0 for one a core.
    pub workers: usize,
    /// What decisions start from.
    pub seed: u64,
    /// Events that are kept for readers; 0 keeps none.
    pub events: usize,
    /// Who signs the certificates that proxies show; for this process alone by default.
    pub authority: AuthorityDir,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: 0, seed: 0, events: 10_000, authority: AuthorityDir::in_memory() }
    }
}

/// The threads that all proxies of a process share. Dropping it closes every proxy.
#[derive(Debug)]
pub struct Proxies {
    workers: Arc<Vec<Worker>>,
    events: Arc<EventLog>,
    seed: u64,
    authority: AuthorityDir,
    /// Whose turn it is with a listener that cannot be shared.
    turn: AtomicUsize,
}

impl Proxies {
    /// Starts the threads.
    pub fn start(options: &Options) -> io::Result<Self> {
        let count = match options.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let workers = (0..count).map(Worker::start).collect::<io::Result<Vec<_>>>()?;
        let events = Arc::new(EventLog::new(options.events));
        Ok(Self { workers: Arc::new(workers), events, seed: options.seed, authority: options.authority.clone(), turn: AtomicUsize::new(0) })
    }

    /// Opens a proxy: when this returns, it accepts connections.
    ///
    /// # Errors
    /// The address is none, is taken, or may not be had. Whether the upstream can be reached shows with each connection.
    pub fn open(&self, name: &str, listen: &str, upstream: &str) -> Result<Route, ListenError> {
        let (listen, upstream) = (Address::parse(listen)?, Address::parse(upstream)?);
        let listening = address::listen(&listen, self.workers.len())?;
        let shown = match &listening {
            Listening::Tcp(address, _) => address.to_string(),
            Listening::Unix(file, _) => format!("unix:{}", file.path().display()),
        };
        let shared = Arc::new(Shared::new(name, shown, upstream, self.seed, self.events.clone(), self.authority.clone()));
        let mut file = None;
        match listening {
            Listening::Tcp(_, listeners) => {
                for (worker, listener) in self.workers.iter().zip(listeners) {
                    worker.send(Command::ListenTcp(shared.clone(), listener));
                }
            }
            Listening::Unix(socket, listener) => {
                file = Some(socket);
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.workers.len();
                self.workers[turn].send(Command::ListenUnix(shared.clone(), listener));
            }
        }
        Ok(Route::new(shared, self.workers.clone(), file))
    }

    /// What happened on their connections.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    /// What decisions start from.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        for worker in self.workers.iter() {
            worker.send(Command::Stop);
        }
        for worker in self.workers.iter() {
            worker.join();
        }
    }
}
