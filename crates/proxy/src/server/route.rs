//! One proxy that listens, and what is known of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Duration;

use super::layers::{Layers, RuleError};
use super::table::Table;
use super::worker::{Command, Worker};
use crate::address::{Address, UnixFile};
use crate::events::{EventLog, Happened};
use crate::http::{Arms, RuleSet};
use crate::rule::RuleSpec;
use crate::tls::{AuthorityDir, CompiledTls, TlsSpec};
use crate::toxic::{Direction, ToxicSpec};

/// How long workers may take to let go of a listener.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a proxy's connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) listen: String,
    pub(crate) upstream: Address,
    pub(crate) seed: u64,
    pub(crate) events: Arc<EventLog>,
    pub(crate) next_connection: AtomicU64,
    open: AtomicU64,
    received: [AtomicU64; 2],
    sent: [AtomicU64; 2],
    refused: AtomicU64,
    version: AtomicU64,
    toxics: RwLock<Arc<Table>>,
    authority: AuthorityDir,
    layers: RwLock<Arc<Layers>>,
    reads_http: AtomicBool,
}

impl Shared {
    pub(super) fn new(name: &str, listen: String, upstream: Address, seed: u64, events: Arc<EventLog>, authority: AuthorityDir) -> Self {
        Self {
            name: name.to_owned(),
            listen,
            upstream,
            seed,
            events,
            next_connection: AtomicU64::new(1),
            open: AtomicU64::new(0),
            received: Default::default(),
            sent: Default::default(),
            refused: AtomicU64::new(0),
            version: AtomicU64::new(0),
            toxics: RwLock::default(),
            authority,
            layers: RwLock::default(),
            reads_http: AtomicBool::new(false),
        }
    }

    pub(crate) fn toxics(&self) -> Arc<Table> {
        self.toxics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn layers(&self) -> Arc<Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether its connections carry HTTP to be read. Cheap enough to be asked before each write.
    pub(super) fn reads_http(&self) -> bool {
        self.reads_http.load(Ordering::Acquire)
    }

    pub(super) fn set_layers(&self, layers: Layers) {
        self.reads_http.store(layers.http.is_some() && layers.tls.is_none(), Ordering::Release);
        *self.layers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(layers);
    }

    /// Cheap enough to be asked before each read.
    pub(crate) fn toxics_version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn set_toxics(&self, toxics: Vec<ToxicSpec>) {
        let mut table = self.toxics.write().unwrap_or_else(PoisonError::into_inner);
        *table = Arc::new(table.changed(&self.name, self.seed, toxics));
        self.version.store(table.version, Ordering::Release);
    }

    pub(crate) fn received(&self, direction: Direction, bytes: usize) {
        self.received[direction as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, direction: Direction, bytes: usize) {
        self.sent[direction as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A connection waits that cannot be accepted now.
    pub(super) fn cannot_accept(&self, error: &std::io::Error) {
        if self.refused.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000) {
            self.events.record(&self.name, 0, Happened::CannotAccept { error: error.to_string() });
        }
    }

    pub(super) fn opened(&self) -> u64 {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes and connections of a proxy since it was opened, as of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that are open.
    pub open: u64,
    /// Bytes read, from the client and from the upstream.
    pub received: [u64; 2],
    /// Bytes written, to the upstream and to the client.
    pub sent: [u64; 2],
}

/// A proxy that listens. Clones are the same proxy; it is open until [`close`](Self::close), or the end of its
/// [`Proxies`](crate::Proxies).
#[derive(Debug, Clone)]
pub struct Route {
    shared: Arc<Shared>,
    workers: Arc<Vec<Worker>>,
    file: Arc<Mutex<Option<UnixFile>>>,
}

impl Route {
    pub(super) fn new(shared: Arc<Shared>, workers: Arc<Vec<Worker>>, file: Option<UnixFile>) -> Self {
        Self { shared, workers, file: Arc::new(Mutex::new(file)) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it listens: `127.0.0.1:41234`, `[::]:80`, `unix:/run/a.sock`.
    pub fn listen(&self) -> &str {
        &self.shared.listen
    }

    /// Where it connects to.
    pub fn upstream(&self) -> &Address {
        &self.shared.upstream
    }

    /// Sets the toxics, in the order in which bytes pass them. A toxic is known by its name: one that stays as it was goes on
    /// undisturbed. Open connections follow before they take in another byte.
    pub fn set_toxics(&self, toxics: Vec<ToxicSpec>) {
        self.shared.set_toxics(toxics);
        for worker in self.workers.iter() {
            worker.send(Command::Changed(self.shared.clone()));
        }
    }

    /// Sets what is done to what the bytes mean. Connections that are accepted from now on follow; those that are open and carry
    /// HTTP/1 without TLS follow from their next request on, and a connection that has carried nothing yet does too. Others that were
    /// opened before the first rule stay as they are until they end, which the event log says ([`Unread`](crate::events::Happened::Unread)).
    ///
    /// A rule that stays as it was keeps its counts and attempts.
    ///
    /// # Errors
    /// A rule that cannot be carried out; then nothing has changed.
    pub fn set_rules(&self, rules: &[RuleSpec], tls: Option<&TlsSpec>) -> Result<(), RuleError> {
        let shared = &self.shared;
        let layers = Layers::compile(&shared.name, shared.seed, &shared.authority, rules, tls, Some(&shared.layers()))?;
        shared.set_layers(layers);
        Ok(())
    }

    /// What each HTTP rule did since it was set, by its name, in requests.
    pub fn arms(&self) -> Vec<(String, Arms)> {
        self.shared.layers().http.as_ref().map(RuleSet::arms).unwrap_or_default()
    }

    /// What each rule on TLS did since it was set, by its name, in connections.
    pub fn tls_arms(&self) -> Vec<(String, Arms)> {
        self.shared.layers().tls.as_ref().map(CompiledTls::arms).unwrap_or_default()
    }

    /// What has passed.
    pub fn counters(&self) -> Counters {
        let shared = &self.shared;
        let load = |pair: &[AtomicU64; 2]| [pair[0].load(Ordering::Relaxed), pair[1].load(Ordering::Relaxed)];
        Counters {
            accepted: shared.next_connection.load(Ordering::Relaxed) - 1,
            open: shared.open.load(Ordering::Relaxed),
            received: load(&shared.received),
            sent: load(&shared.sent),
        }
    }

    /// Stops listening and drops all connections. The address is free when this returns. Closing twice is fine.
    pub fn close(&self) {
        let (done, all_done) = mpsc::channel();
        for worker in self.workers.iter() {
            worker.send(Command::Close(self.shared.clone(), done.clone()));
        }
        drop(done);
        // Each answers, or is gone and its listeners with it.
        while all_done.recv_timeout(PATIENCE).is_ok() {}
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
