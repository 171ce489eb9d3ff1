//! The link to one server: hello, commands and beats in, answers out; again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use http::Method;
use http_body_util::BodyExt;
use squall_api::link::{
    BEAT_EVENT, Beat, COMMAND_EVENT, Command, Hello, HostReport, LINKED_ALREADY, Message, PROTOCOL, SERVERS_EVENT, Welcome,
};
use squall_engine::Clock;

use crate::executor::Executor;
use crate::http::{Connection, HttpError};
use crate::join::Identity;
use crate::outbox::Outbox;
use crate::sse::{Events, SentEvent};
use crate::tls::{Trust, joined};

/// The first and the longest wait before the next try to connect; the real one is a random part of it.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// A link that was up for so long does not belong to a server that cannot stay up: the waits begin anew.
const LASTING: Duration = Duration::from_secs(2);
/// The same where the server refuses the agent: only a person can change that.
const REFUSED_BACKOFF: Duration = Duration::from_secs(30);
/// A link on which nothing comes for so many beats is dead.
const SILENT: u32 = 3;

/// What all links of an agent share.
pub(crate) struct Shared {
    pub executor: Executor,
    pub trust: Trust,
    pub identity: Mutex<Identity>,
    pub directory: std::path::PathBuf,
    pub report: Mutex<HostReport>,
    /// Links that are up: the server's id, and by which URL.
    pub up: Mutex<BTreeMap<String, String>>,
    /// A server has named others.
    pub named: tokio::sync::Notify,
}

/// Why a link ended.
enum End {
    Failed(HttpError),
    /// The agent has a new certificate: it is used from now on.
    Renewed,
}

impl From<HttpError> for End {
    fn from(error: HttpError) -> Self {
        Self::Failed(error)
    }
}

/// Links stay up by themselves: this one to this URL, until it is dropped.
pub(crate) async fn keep(shared: Arc<Shared>, url: String, outbox: Arc<Outbox>) {
    let clock = shared.executor.clock();
    let mut wait = BACKOFF.0;
    loop {
        let began = clock.now();
        let end = session(&shared, &url, &outbox).await;
        shared.up().retain(|_, by| *by != url);
        outbox.take_back();
        let most = match end {
            End::Renewed => continue,
            End::Failed(HttpError::Refused { status, refusal }) if status == LINKED_ALREADY => {
                tracing::debug!(url, %refusal, "one link to a server is enough");
                REFUSED_BACKOFF
            }
            End::Failed(HttpError::Refused { status, refusal }) if status == 409 => {
                tracing::debug!(url, %refusal, "the session is over");
                BACKOFF.0
            }
            End::Failed(error @ HttpError::Refused { .. }) => {
                tracing::error!(url, %error, "the server refuses this agent");
                REFUSED_BACKOFF
            }
            End::Failed(error) => {
                tracing::warn!(url, %error, "no link to the server; trying again");
                // One that was up for a while begins anew.
                wait = if clock.now() > began + LASTING { BACKOFF.0 } else { (wait * 2).min(BACKOFF.1) };
                wait
            }
        };
        clock.sleep_until(clock.now() + most.mul_f64(chance())).await;
    }
}

/// Some part of one, so that agents that lost a server together do not come back together.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without chance they come back together, and that is all.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

impl Shared {
    fn up(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The host as it is now.
    pub fn report(&self) -> HostReport {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.blocked = self.executor.ground().state.stopped();
        report
    }

    /// Keeps what a server says of all servers.
    fn learn(&self, servers: &[String]) {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<String> = servers.iter().filter(|url| !identity.servers.contains(url)).cloned().collect();
        if new.is_empty() {
            return;
        }
        identity.servers.extend(new);
        if let Err(error) = identity.save(&self.directory) {
            tracing::warn!(%error, "the servers could not be written down");
        }
        self.named.notify_one();
    }
}

/// One link, from its begin to its end.
async fn session(shared: &Arc<Shared>, url: &str, outbox: &Arc<Outbox>) -> End {
    match linked(shared, url, outbox).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

async fn linked(shared: &Arc<Shared>, url: &str, outbox: &Arc<Outbox>) -> Result<std::convert::Infallible, End> {
    let clock = shared.executor.clock();
    let tls = joined(shared.trust, &shared.identity()).map_err(|e| HttpError::Connect(e.to_string()))?;
    let connection = Arc::new(Connection::open(url, shared.trust, tls, clock.clone()).await?);
    let hello = Hello {
        protocol: PROTOCOL,
        squall: env!("CARGO_PKG_VERSION").to_owned(),
        host: shared.report(),
        outstanding: shared.executor.outstanding(),
        linked: shared.up().iter().filter(|(_, by)| *by != url).map(|(server, _)| server.clone()).collect(),
    };
    let welcome: Welcome = connection.exchange("/agent/v1/hello", &hello).await?;
    // The server sees no other link of this agent: if there is one to it, it is dead, and finds that out by itself.
    shared.up().insert(welcome.server.clone(), url.to_owned());
    let response = connection.send(Method::GET, "/agent/v1/link", &welcome.session, Vec::new()).await?;
    shared.learn(&welcome.servers);
    tracing::info!(url, server = welcome.server, "linked");
    Link { shared, outbox, connection, silent: welcome.beat_every.std() * SILENT, welcome, events: Events::default(), clock }
        .run(response.into_body())
        .await
}

/// A link that is up.
struct Link<'a> {
    shared: &'a Arc<Shared>,
    outbox: &'a Arc<Outbox>,
    connection: Arc<Connection>,
    welcome: Welcome,
    silent: Duration,
    events: Events,
    clock: Arc<dyn Clock>,
}

impl Link<'_> {
    async fn run(mut self, mut body: hyper::body::Incoming) -> Result<std::convert::Infallible, End> {
        let broken = |why: &str| HttpError::Broken(why.to_owned());
        let mut dead = self.clock.now() + self.silent;
        let mut posting: Fuse<BoxFuture<'static, Result<(), HttpError>>> = Fuse::terminated();
        let mut is_posting = false;
        let mut renewal = self.clock.now() + until_renewal(self.shared);
        loop {
            tokio::select! {
                frame = body.frame() => {
                    let frame = frame.ok_or_else(|| broken("the server ended the link"))?.map_err(|e| broken(&e.to_string()))?;
                    let Some(data) = frame.data_ref() else { continue };
                    let events = self.events.push(data).map_err(|e| broken(&e.to_string()))?;
                    if !events.is_empty() {
                        dead = self.clock.now() + self.silent;
                    }
                    events.into_iter().try_for_each(|event| self.take(event))?;
                }
                () = self.outbox.ready(), if !is_posting => {
                    posting = self.post().fuse();
                    is_posting = true;
                }
                posted = &mut posting, if is_posting => {
                    posted?;
                    self.outbox.acknowledge();
                    is_posting = false;
                }
                () = self.clock.sleep_until(dead) => return Err(broken("nothing was heard of the server for three beats").into()),
                () = self.clock.sleep_until(renewal) => {
                    if self.renew().await {
                        return Err(End::Renewed);
                    }
                    renewal = self.clock.now() + RENEW_AGAIN;
                }
            }
        }
    }

    fn take(&self, event: SentEvent) -> Result<(), HttpError> {
        let broken = |e: serde_json::Error| HttpError::Broken(format!("a frame of the server cannot be read: {e}"));
        match event.name.as_str() {
            BEAT_EVENT => {
                let at = self.clock.now();
                let Beat { runs } = serde_json::from_str(&event.data).map_err(broken)?;
                let (executor, server) = (self.shared.executor.clone(), self.welcome.server.clone());
                executor.beat(&server, &runs);
                let in_force = executor.in_force();
                self.outbox.alive(in_force, Box::new(move || executor.renew(&server, &runs, at)));
            }
            COMMAND_EVENT => {
                let Command { id, request } = serde_json::from_str(&event.data).map_err(broken)?;
                self.shared.executor.take(&self.welcome.server, id, request, self.outbox);
            }
            SERVERS_EVENT => self.shared.learn(&serde_json::from_str::<Vec<String>>(&event.data).map_err(broken)?),
            // Of a server that knows more than this agent: both speak the same version, so it can do without.
            _ => {}
        }
        Ok(())
    }

    fn post(&self) -> BoxFuture<'static, Result<(), HttpError>> {
        let (connection, session, body) = (self.connection.clone(), self.welcome.session.clone(), self.outbox.take());
        Box::pin(async move { connection.send(Method::POST, "/agent/v1/messages", &session, body).await.map(drop) })
    }

    /// Whether there is a new certificate.
    async fn renew(&self) -> bool {
        let before = self.shared.identity();
        if !until_renewal(self.shared).is_zero() {
            return false;
        }
        match before.renew(&self.connection).await {
            Ok(new) => {
                let saved = new.save(&self.shared.directory);
                *self.shared.identity.lock().unwrap_or_else(PoisonError::into_inner) = new;
                match saved {
                    Ok(()) => tracing::info!("the agent's certificate is renewed"),
                    Err(error) => tracing::error!(%error, "the new certificate could not be written down"),
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the agent's certificate could not be renewed; trying again");
                false
            }
        }
    }
}

/// Between two looks at the age of the certificate: wall clocks are set.
const RENEW_AGAIN: Duration = Duration::from_mins(10);

/// How long until the certificate is to be renewed, or looked at again.
fn until_renewal(shared: &Shared) -> Duration {
    let at = shared.identity().renew_at().unwrap_or(jiff::Timestamp::MAX);
    let left = at.duration_since(jiff::Timestamp::now());
    Duration::try_from(left).unwrap_or_default().min(RENEW_AGAIN)
}

/// Tells a server what is new of the host.
pub(crate) fn tell_report(shared: &Shared, outbox: &Outbox) {
    outbox.say(&Message::Host(Box::new(shared.report())), None);
}
