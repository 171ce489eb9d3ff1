//! Hosts with an agent: how they join, the link to each, and what is asked of them.
//!
//! Agents dial in over TLS with certificates of the server's own authority ([`Fleet::serve`]); what they say and hear is in
//! `squall_api::link`. Each server of a database has a link to every agent, so that any of them can drive a run.
//!
//! ```text
//! runs    drive(run, hosts) ─▶ beats name the run ─▶ leases on the hosts are renewed
//!         call(host, request) ─▶ command on the link ─▶ answer   (resent if the link breaks and comes back in time)
//!         leave(run)        ─▶ beats name it no more ─▶ what is left of it is reverted by the hosts themselves
//! ```
mod authority;
mod beat;
mod call;
mod error;
mod host;
mod join;
mod listen;
mod servers;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use squall_api::hosts::Host;
use squall_api::link::{BEAT_EVERY, Outstanding};
use squall_engine::Clock;
use squall_model::{InjectionId, RevertedBy, RunId};
use squall_store::{Batch, Change, Changes, CommitError, Database, List, Write};
use tokio::sync::broadcast;

use crate::WallClock;
use authority::Authority;
use host::{HOST, HostDocument, HostEntry, SEEN, SeenDocument};

pub use call::StoppedHosts;
pub use error::{CallError, FleetError};
pub use host::LiveHost;

/// After a start, agents have so long to link again before what they are needed for goes on without them: their longest wait between two
/// tries, and some.
const SETTLES_WITHIN: Duration = Duration::from_secs(12);
/// How often is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Slow readers of events may be so many behind.
const EVENTS: usize = 4096;

/// How a fleet is kept.
#[derive(Clone)]
pub struct FleetConfig {
    /// Id of this server among those that share the database; agents know its runs by it, also after it was started again.
    pub server: String,
    /// Where agents reach this server, such as `https://squall.example:7443`. The first one is told to hosts that join.
    pub urls: Vec<String>,
    /// Names and addresses that its certificate is for, for those who check it by name.
    pub names: Vec<String>,
    /// A certificate of somebody else's authority in place of the server's own: chain and key, PEM. Agents then join with `--ca system`.
    pub certificate: Option<(String, String)>,
    /// How often it beats.
    pub beat_every: Duration,
    /// How long a broken link may take to come back before a call fails.
    pub grace: Duration,
    /// How long certificates of agents are good for; they renew them when two thirds of it are over.
    pub certificate_life: Duration,
    /// Decides.
    pub clock: Arc<dyn Clock>,
    /// For people, and for certificates.
    pub wall: Arc<dyn WallClock>,
}

impl FleetConfig {
    /// With the usual times.
    pub fn new(server: impl Into<String>, urls: Vec<String>, clock: Arc<dyn Clock>, wall: Arc<dyn WallClock>) -> Self {
        Self {
            server: server.into(),
            urls,
            names: Vec::new(),
            certificate: None,
            beat_every: BEAT_EVERY.std(),
            grace: Duration::from_secs(5),
            certificate_life: Duration::from_hours(24 * 30),
            clock,
            wall,
        }
    }
}

/// What happens to hosts.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetEvent {
    /// A new host has joined.
    Joined {
        /// The host.
        host: String,
    },
    /// A host is linked.
    Connected {
        /// The host.
        host: String,
        /// What it has in force, or could not put back: what is not among it is not in force.
        outstanding: Vec<Outstanding>,
    },
    /// The link to a host broke, or it has fallen silent.
    Lost {
        /// The host.
        host: String,
    },
    /// A host has put something back without having been asked.
    Reverted {
        /// The host.
        host: String,
        /// The run.
        run: RunId,
        /// The injection.
        injection: InjectionId,
        /// Who did it.
        by: RevertedBy,
        /// Why, and what was done.
        how: String,
    },
    /// A host says something new of itself.
    Changed {
        /// The host.
        host: String,
    },
    /// A host is no longer one of the fleet.
    Forgotten {
        /// The host.
        host: String,
    },
}

/// The hosts with an agent. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    db: Arc<dyn Database>,
    config: FleetConfig,
    authority: Authority,
    tls: RwLock<(Arc<rustls::ServerConfig>, Duration)>,
    hosts: RwLock<Hosts>,
    frames: Mutex<beat::Frames>,
    events: broadcast::Sender<FleetEvent>,
    /// Agent URLs of every server, this one's first.
    servers: RwLock<Vec<String>>,
    /// When this server started.
    opened: Duration,
    /// Hosts of a run, for those that have not joined when it begins, and to find them when it ends.
    driven: Mutex<HashMap<RunId, Vec<String>>>,
    /// Joins with one token are one after another: each writes it anew.
    joining: tokio::sync::Mutex<()>,
    next: AtomicU64,
}

/// All hosts, by name and by the group that they are beaten with.
#[derive(Default)]
struct Hosts {
    by_name: BTreeMap<String, Arc<HostEntry>>,
    groups: Vec<Vec<Arc<HostEntry>>>,
}

impl Hosts {
    fn group_of(name: &str) -> usize {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
        usize::try_from(hash % beat::GROUPS as u64).unwrap_or_default()
    }

    fn insert(&mut self, host: Arc<HostEntry>) {
        self.groups.resize_with(beat::GROUPS, Vec::new);
        self.groups[Self::group_of(&host.name)].push(host.clone());
        self.by_name.insert(host.name.clone(), host);
    }

    fn remove(&mut self, name: &str) -> Option<Arc<HostEntry>> {
        let removed = self.by_name.remove(name)?;
        self.groups[Self::group_of(name)].retain(|host| host.name != name);
        Some(removed)
    }

    fn group(&self, group: usize) -> Vec<Arc<HostEntry>> {
        self.groups.get(group).cloned().unwrap_or_default()
    }

    fn all(&self) -> Vec<Arc<HostEntry>> {
        self.by_name.values().cloned().collect()
    }
}

impl Fleet {
    /// Reads the hosts and the authority from the database, or makes the authority, and begins to beat.
    pub async fn open(db: Arc<dyn Database>, config: FleetConfig) -> Result<Self, FleetError> {
        let wall = config.wall.now();
        let authority = Authority::load(db.as_ref(), wall).await?;
        let tls = authority.tls(&config.names, config.certificate.as_ref(), wall)?;
        let changes = db.watch();
        // Answers to commands of a server that was here before must not be taken for those to its own.
        let next = u64::from_be_bytes(authority::random::<8>()?) >> 12;
        let now = config.clock.now();
        let fleet = Self(Arc::new(Inner {
            db,
            authority,
            tls: RwLock::new((tls, now)),
            hosts: RwLock::default(),
            frames: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            servers: RwLock::new(config.urls.clone()),
            opened: now,
            driven: Mutex::default(),
            joining: tokio::sync::Mutex::default(),
            next: AtomicU64::new(next),
            config,
        }));
        fleet.load_all().await?;
        fleet.register().await;
        tokio::spawn(beat::keep(Arc::downgrade(&fleet.0)));
        tokio::spawn(follow(Arc::downgrade(&fleet.0), changes));
        Ok(fleet)
    }

    /// What happens from now on. A reader that is far behind misses some, and learns that it did.
    pub fn events(&self) -> broadcast::Receiver<FleetEvent> {
        self.0.events.subscribe()
    }

    /// SHA-256 of the certificate of the agents' authority, in hexadecimal, as tokens carry it.
    pub fn fingerprint(&self) -> String {
        self.0.authority.fingerprint()
    }

    /// The certificate of the agents' authority, PEM.
    pub fn authority(&self) -> &str {
        &self.0.authority.certificate
    }

    /// Every host that has joined, by name.
    pub async fn hosts(&self) -> Vec<Host> {
        // Other servers write it too; without it, what this one heard is shown.
        let seen = self.0.db.list(SEEN, &List::default()).await.unwrap_or_default();
        let seen: HashMap<String, Timestamp> =
            seen.into_iter().filter_map(|document| Some((document.id.clone(), document.decode::<SeenDocument>().ok()?.seen))).collect();
        self.all().iter().map(|host| host.describe(seen.get(&host.name).copied())).collect()
    }

    /// One host.
    pub fn host(&self, name: &str) -> Option<Host> {
        self.entry(name).map(|host| host.describe(None))
    }

    /// Every host that is linked to this server, by name.
    pub fn connected(&self) -> Vec<Arc<LiveHost>> {
        self.all().iter().filter_map(|host| host.state().live.clone()).collect()
    }

    /// Whether every host is linked to this server, or it has been up for so long that those that are there are. Right after a start, one
    /// that is missing says nothing.
    pub fn has_settled(&self) -> bool {
        self.now() >= self.0.opened + SETTLES_WITHIN || self.all().iter().all(|host| host.state().live.is_some())
    }

    /// Ready when it has.
    pub async fn settled(&self) {
        while !self.has_settled() {
            self.0.config.clock.sleep_until(self.now() + LOOK_EVERY).await;
        }
    }

    /// From now on beats to these hosts name the run: their leases of it are renewed. To be said before anything is injected for it.
    pub fn drive(&self, run: RunId, hosts: impl IntoIterator<Item = String>) {
        let hosts: Vec<String> = hosts.into_iter().collect();
        let mut driven = self.0.driven.lock().unwrap_or_else(PoisonError::into_inner);
        for host in hosts.iter().filter_map(|name| self.entry(name)) {
            host.state().runs.insert(run.clone());
        }
        let known = driven.entry(run).or_default();
        known.extend(hosts);
        known.sort_unstable();
        known.dedup();
    }

    /// From now on no beat names the run: hosts put back what is left of it.
    pub fn leave(&self, run: &RunId) {
        let hosts = self.0.driven.lock().unwrap_or_else(PoisonError::into_inner).remove(run).unwrap_or_default();
        for host in hosts.iter().filter_map(|name| self.entry(name)) {
            host.state().runs.remove(run);
        }
    }

    fn entry(&self, name: &str) -> Option<Arc<HostEntry>> {
        self.0.hosts.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    fn all(&self) -> Vec<Arc<HostEntry>> {
        self.0.hosts.read().unwrap_or_else(PoisonError::into_inner).all()
    }

    fn tell(&self, event: FleetEvent) {
        // Nobody listens: nobody needs to know.
        let _ = self.0.events.send(event);
    }

    fn wall(&self) -> Timestamp {
        self.0.config.wall.now()
    }

    fn now(&self) -> Duration {
        self.0.config.clock.now()
    }

    fn next_id(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn load_all(&self) -> Result<(), FleetError> {
        let documents = self.0.db.list(HOST, &List::default()).await?;
        for host in self.all().iter().filter(|host| !documents.iter().any(|document| document.id == host.name)) {
            // It may have joined since the list was made.
            self.load_host(&host.name).await?;
        }
        for document in documents {
            self.remember(&document.id, document.decode()?, document.version);
        }
        Ok(())
    }

    /// Takes over what the database says of a host.
    async fn load_host(&self, name: &str) -> Result<(), FleetError> {
        match self.0.db.get(HOST, name).await? {
            Some(document) => self.remember(name, document.decode()?, document.version),
            None => self.drop_host(name),
        }
        Ok(())
    }

    fn remember(&self, name: &str, document: HostDocument, version: u64) {
        let driven = self.0.driven.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = self.0.hosts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.by_name.get(name) {
            let mut state = host.state();
            if version > state.version {
                (state.document, state.version) = (document, version);
            }
            return;
        }
        let joined = document.joined;
        let host = HostEntry::new(name, document, version, self.now(), joined);
        host.state().runs = driven.iter().filter(|(_, hosts)| hosts.iter().any(|host| host == name)).map(|(run, _)| run.clone()).collect();
        hosts.insert(Arc::new(host));
    }

    fn drop_host(&self, name: &str) {
        let removed = self.0.hosts.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(host) = removed {
            self.lost(&host, None);
            self.tell(FleetEvent::Forgotten { host: name.to_owned() });
        }
    }

    /// Changes a host's document, whoever changes it meanwhile. `change` says whether there is anything to write.
    async fn change_host(&self, name: &str, change: impl Fn(&mut HostDocument) -> bool) -> Result<(), FleetError> {
        for _ in 0..16 {
            let Some(document) = self.0.db.get(HOST, name).await? else { return Err(FleetError::Unknown(name.to_owned())) };
            let mut body: HostDocument = document.decode()?;
            if !change(&mut body) {
                return Ok(());
            }
            let json = serde_json::to_value(&body).map_err(|e| FleetError::Invalid(e.to_string()))?;
            let replace = Write::Replace { kind: HOST.into(), id: name.into(), version: document.version, body: json };
            match self.0.db.commit(Batch::new(vec![replace])).await {
                Ok(done) => {
                    self.remember(name, body, done.versions.first().copied().unwrap_or_default());
                    return Ok(());
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(FleetError::Invalid(format!("host `{name}` is changed all the time")))
    }

    /// Makes the server's certificate anew in time.
    fn look_at_own_certificate(&self) {
        let mut tls = self.0.tls.write().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        if now < tls.1 + authority::SERVER_LIFE * 2 / 3 {
            return;
        }
        match self.0.authority.tls(&self.0.config.names, self.0.config.certificate.as_ref(), self.wall()) {
            Ok(config) => *tls = (config, now),
            Err(error) => tracing::error!(%error, "the server's certificate could not be renewed"),
        }
    }
}

/// Takes over what other servers change.
async fn follow(fleet: std::sync::Weak<Inner>, mut changes: Changes) {
    while let Some(change) = changes.next().await {
        let Some(inner) = fleet.upgrade() else { return };
        let fleet = Fleet(inner);
        let loaded = match change {
            Change::Document { kind, id } if kind == HOST => fleet.load_host(&id).await,
            Change::Document { kind, .. } if kind == servers::SERVER => fleet.look_at_servers().await,
            Change::Missed => match fleet.load_all().await {
                Ok(()) => fleet.look_at_servers().await,
                failed => failed,
            },
            Change::Document { .. } | Change::Run(_) => continue,
        };
        if let Err(error) = loaded {
            tracing::warn!(%error, "what was changed of hosts or servers could not be read");
        }
    }
}
