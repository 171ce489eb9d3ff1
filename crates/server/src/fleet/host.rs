//! One host: what is remembered of it, and the link to its agent while there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_api::hosts::{Host, HostFeature};
use squall_api::link::{Answer, HostReport, Outstanding};
use tokio::sync::{Notify, mpsc, oneshot};

use super::CallError;

/// The kind of the documents of hosts; their ids are the hosts' names.
pub(super) const HOST: &str = "host";
/// The kind of the documents that say when a host was heard of last: written seldom, and by every server.
pub(super) const SEEN: &str = "host-seen";

/// What is remembered of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HostDocument {
    /// When it joined.
    pub joined: Timestamp,
    /// Labels that its token gave it. They win over those that it says it has.
    pub labels: BTreeMap<String, String>,
    /// Certificates that are good: serial numbers, and when each ends.
    pub serials: BTreeMap<String, Timestamp>,
    /// SHA-256 of the public key that it joined with.
    pub key: String,
    /// Version of its agent; empty until it has said hello.
    pub squall: String,
    /// As it said hello last.
    #[serde(with = "shared")]
    pub report: Option<Arc<HostReport>>,
}

/// A value that is shared in memory, as any other in a document.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde gives it so")]
    pub fn serialize<T: Serialize, S: Serializer>(value: &Option<Arc<T>>, to: S) -> Result<S::Ok, S::Error> {
        value.as_deref().serialize(to)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<T>>, D::Error> {
        Option::deserialize(from).map(|value: Option<T>| value.map(Arc::new))
    }
}

/// When a host was heard of last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SeenDocument {
    pub seen: Timestamp,
}

/// A host that is linked to this server.
#[derive(Debug)]
pub struct LiveHost {
    /// Its name.
    pub name: String,
    /// Its labels: its own, and those of the token that it joined with.
    pub labels: BTreeMap<String, String>,
    /// All that its agent says of it.
    pub report: Arc<HostReport>,
    in_force: AtomicU32,
}

impl LiveHost {
    fn new(name: &str, document: &HostDocument, report: Arc<HostReport>, in_force: u32) -> Self {
        let mut labels = report.labels.clone();
        labels.extend(document.labels.clone());
        Self { name: name.to_owned(), labels, report, in_force: AtomicU32::new(in_force) }
    }

    /// How many injections are in force on it, as it said last.
    pub fn in_force(&self) -> u32 {
        self.in_force.load(Ordering::Relaxed)
    }
}

/// A command that is not answered.
pub(super) struct Pending {
    pub frame: Bytes,
    pub answer: oneshot::Sender<Answer>,
}

/// An agent that has said hello.
pub(super) struct Session {
    pub id: String,
    /// Its link, once it has opened it.
    pub link: Option<mpsc::UnboundedSender<Bytes>>,
    /// What it had in force when it said hello.
    pub outstanding: Vec<Outstanding>,
}

/// A host in memory.
pub(super) struct HostEntry {
    pub name: String,
    state: Mutex<HostState>,
    /// The link has come or gone.
    pub changed: Notify,
}

pub(super) struct HostState {
    pub document: HostDocument,
    pub version: u64,
    pub session: Option<Session>,
    /// While it is linked.
    pub live: Option<Arc<LiveHost>>,
    /// When its link broke, or this server started.
    pub down: Duration,
    /// When it was heard of last, on the clock that decides.
    pub heard: Duration,
    /// The same for people; and whether the database knows.
    pub seen: Timestamp,
    pub seen_is_news: bool,
    pub pending: BTreeMap<u64, Pending>,
    pub runs: BTreeSet<squall_model::RunId>,
}

impl HostEntry {
    pub fn new(name: &str, document: HostDocument, version: u64, now: Duration, seen: Timestamp) -> Self {
        let state = HostState {
            document,
            version,
            session: None,
            live: None,
            down: now,
            heard: now,
            seen,
            seen_is_news: false,
            pending: BTreeMap::new(),
            runs: BTreeSet::new(),
        };
        Self { name: name.to_owned(), state: Mutex::new(state), changed: Notify::new() }
    }

    pub fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn unknown(&self) -> CallError {
        CallError::Unknown(self.name.clone())
    }

    /// As the API has it.
    pub fn describe(&self, seen: Option<Timestamp>) -> Host {
        let state = self.state();
        let document = &state.document;
        let report = state.live.as_ref().map(|live| live.report.clone()).or_else(|| document.report.clone());
        let mut labels = report.as_ref().map(|report| report.labels.clone()).unwrap_or_default();
        labels.extend(document.labels.clone());
        let facts = report.as_ref().map(|report| &report.facts);
        let feature = |(name, feature): (&String, &squall_engine::Feature)| {
            let feature = feature.clone();
            (name.clone(), HostFeature { available: feature.available, detail: feature.detail, hint: feature.hint })
        };
        Host {
            name: self.name.clone(),
            labels,
            connected: state.live.is_some(),
            seen: seen.filter(|seen| *seen > state.seen).unwrap_or(state.seen),
            joined: document.joined,
            squall: document.squall.clone(),
            kernel: facts.map(|facts| facts.kernel.clone()).unwrap_or_default(),
            cores: facts.map_or(0, |facts| facts.cores),
            memory: facts.map_or(0, |facts| facts.memory.0),
            features: facts.map(|facts| facts.features.iter().map(feature).collect()).unwrap_or_default(),
            policies: report.as_ref().map(|report| report.policies.clone()).unwrap_or_default(),
            blocked: report.as_ref().and_then(|report| report.blocked.clone()),
            in_force: state.live.as_ref().map_or(0, |live| live.in_force()),
        }
    }
}

impl HostState {
    /// It is linked: what it is asked from now on reaches it, and so does what was not answered.
    pub fn up(&mut self, name: &str, link: mpsc::UnboundedSender<Bytes>, report: Arc<HostReport>) {
        for pending in self.pending.values() {
            // The other end is held by whoever called this.
            let _ = link.send(pending.frame.clone());
        }
        if let Some(session) = &mut self.session {
            session.link = Some(link);
        }
        self.live = Some(Arc::new(LiveHost::new(name, &self.document, report, 0)));
    }

    /// Its link is gone. Whether it had one.
    pub fn down(&mut self, now: Duration) -> bool {
        self.session = None;
        let was = self.live.take().is_some();
        if was {
            self.down = now;
        }
        was
    }

    /// It was heard of.
    pub fn hear(&mut self, now: Duration, wall: Timestamp) {
        self.heard = now;
        self.seen = wall;
        self.seen_is_news = true;
    }

    /// How many injections are in force.
    pub fn in_force(&self, count: u32) {
        if let Some(live) = &self.live {
            live.in_force.store(count, Ordering::Relaxed);
        }
    }

    /// It says something new of itself.
    pub fn report(&mut self, name: &str, report: Arc<HostReport>) {
        if let Some(live) = &self.live {
            self.live = Some(Arc::new(LiveHost::new(name, &self.document, report, live.in_force())));
        }
    }

    /// Sends something, if it is linked.
    pub fn send(&self, frame: Bytes) -> bool {
        self.session.as_ref().and_then(|session| session.link.as_ref()).is_some_and(|link| link.send(frame).is_ok())
    }
}

/// Whether a name is one that a host can have: it becomes part of certificates, documents and texts.
pub(super) fn is_host_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(good) && name.as_bytes()[0].is_ascii_alphanumeric()
}
