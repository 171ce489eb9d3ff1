//! The agent as a whole: who it is, its executor, and a link to each server.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall_api::link::HostReport;
use tokio::task::JoinSet;

use crate::executor::{Executor, ExecutorConfig};
use crate::join::{Identity, JoinError};
use crate::link::{self, Shared};
use crate::outbox::Outbox;
use crate::tls::Trust;

/// How an agent is run.
#[derive(Clone)]
pub struct AgentConfig {
    /// URL of a server, such as `https://squall.example:7443`. Without one, those that it has joined.
    pub server: Option<String>,
    /// A token to join with, if it has not joined.
    pub join: Option<String>,
    /// The host's name. Without one, that under which it has joined, or the system's.
    pub name: Option<String>,
    /// Labels of the host.
    pub labels: BTreeMap<String, String>,
    /// How it knows its server.
    pub trust: Trust,
    /// Names of the host's own policies, for people.
    pub policies: Vec<String>,
    /// What carries out requests.
    pub executor: ExecutorConfig,
}

/// The agent could not begin.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It is nobody.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// It has no server.
    #[error("which server? Give its URL with `--server`")]
    NoServer,
    /// What runs before it have left cannot be looked at.
    #[error("what earlier runs have left on this host cannot be put right: {0}")]
    Recover(#[source] std::io::Error),
}

/// An agent of which it is known who it is.
pub struct Agent {
    shared: Arc<Shared>,
    first: Vec<String>,
}

/// Where the identity is, within the state directory.
const DIRECTORY: &str = "agent";
/// How long servers may take to hear the last words of an agent that ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The host's name, as the system knows it, in the form that hosts of a fleet have.
fn system_name() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let name: String = node.chars().map(|c| if good(c) { c } else { '-' }).take(64).collect();
    let name = name.trim_start_matches(['-', '_', '.']).to_owned();
    if name.is_empty() { "host".into() } else { name }
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

impl Agent {
    /// Finds out who it is, and joins if it has not.
    pub async fn open(config: AgentConfig) -> Result<Self, AgentError> {
        let ground = &config.executor.ground;
        let directory: PathBuf = ground.state.path().join(DIRECTORY);
        let identity = match (Identity::load(&directory)?, &config.join) {
            (Some(known), _) => known,
            (None, Some(token)) => {
                let server = config.server.as_deref().ok_or(AgentError::NoServer)?;
                let name = config.name.clone().unwrap_or_else(system_name);
                Identity::join(&directory, server, token, &name, config.trust, ground.clock.clone()).await?
            }
            (None, None) => return Err(JoinError::NotJoined(directory).into()),
        };
        if let Some(wanted) = config.name.filter(|wanted| *wanted != identity.name) {
            return Err(JoinError::OtherName { is: identity.name, wanted, directory }.into());
        }
        let mut first: Vec<String> = config.server.into_iter().collect();
        first.extend(identity.servers.iter().cloned());
        let report = HostReport {
            name: identity.name.clone(),
            labels: config.labels,
            facts: ground.host.clone(),
            boot: boot(),
            policies: config.policies,
            blocked: None,
        };
        let shared = Shared {
            executor: Executor::new(config.executor),
            trust: config.trust,
            identity: Mutex::new(identity),
            directory,
            report: Mutex::new(report),
            up: Mutex::default(),
            named: tokio::sync::Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared), first })
    }

    /// The host's name.
    pub fn name(&self) -> String {
        self.shared.identity().name
    }

    /// What carries out requests.
    pub fn executor(&self) -> Executor {
        self.shared.executor.clone()
    }

    /// Puts right what earlier runs have left, and then serves until `end` is ready. Everything is put back before this returns; what
    /// could not be is its result.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<Vec<String>, AgentError> {
        let Self { shared, first } = self;
        let executor = shared.executor.clone();
        let mut links = Links { shared: shared.clone(), outboxes: HashMap::new(), tasks: JoinSet::new() };
        for url in &first {
            links.prepare(url);
        }
        // Servers must not be told that nothing is left before nothing is.
        for line in executor.recover().await.map_err(AgentError::Recover)? {
            tracing::warn!("recovered {line}");
        }
        links.start();
        tokio::select! {
            () = end => {}
            () = executor.keep() => {}
            () = links.keep() => {}
        }
        let failed = executor.end_all("the agent is ended").await;
        let clock = executor.clock();
        let until = clock.now() + LAST_WORDS;
        while clock.now() < until && links.up_and_waiting() {
            clock.sleep_until(clock.now() + Duration::from_millis(20)).await;
        }
        Ok(failed)
    }
}

/// A link to each server.
struct Links {
    shared: Arc<Shared>,
    outboxes: HashMap<String, (Arc<Outbox>, bool)>,
    tasks: JoinSet<()>,
}

impl Links {
    /// What is said to this server is kept from now on.
    fn prepare(&mut self, url: &str) {
        if self.outboxes.contains_key(url) {
            return;
        }
        let outbox = Arc::new(Outbox::default());
        self.shared.executor.add_outbox(outbox.clone());
        self.outboxes.insert(url.to_owned(), (outbox, false));
    }

    /// Links to every server that has none.
    fn start(&mut self) {
        for (url, (outbox, started)) in &mut self.outboxes {
            if !std::mem::replace(started, true) {
                self.tasks.spawn(link::keep(self.shared.clone(), url.clone(), outbox.clone()));
            }
        }
    }

    /// Links to servers as they are named, and tells all of them when the host is blocked.
    async fn keep(&mut self) {
        let mut blocked = self.shared.executor.blocked();
        loop {
            tokio::select! {
                () = self.shared.named.notified() => {
                    let servers = self.shared.identity().servers;
                    for url in &servers {
                        self.prepare(url);
                    }
                    self.start();
                }
                Ok(()) = blocked.changed() => self.outboxes.values().for_each(|(outbox, _)| link::tell_report(&self.shared, outbox)),
            }
        }
    }

    /// Whether a server that is linked has not heard everything.
    fn up_and_waiting(&self) -> bool {
        let up = self.shared.up.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        up.values().any(|url| self.outboxes.get(url).is_some_and(|(outbox, _)| !outbox.is_empty()))
    }
}
