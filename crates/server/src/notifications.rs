//! Telling people: channels and deliveries of `squall-notify`, over the server's database.
//!
//! Whoever has something to tell calls [`Notifications::tell`], which waits for nothing and cannot fail: no run is ever held up by
//! a receiver. One server at a time, the holder of a lease, sends what waits and follows the journals of all runs (`follow`), so
//! that what happens to a run is told once, whichever server drives it, and also if that server dies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::Clock;
use squall_model::Time;
use squall_notify::{Counts, Deliverer, Guards, Notice, Outbox, Reach, SecretPlaces, Settings, Transport};
use squall_store::{Database, Fence, LeaseError};

use crate::{App, follow};

/// What channels may do, and how long deliveries are remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NotificationsConfig {
    /// Networks that channels may send to although they are refused by default: the server itself, link-local addresses and
    /// the clouds' metadata services. `127.0.0.0/8`, for a receiver beside the server.
    pub allow: Vec<String>,
    /// Variables of the server's environment that channels may refer to; `*` at the end stands for any characters.
    pub secret_variables: Vec<String>,
    /// Directories whose files channels may refer to. Systemd's `$CREDENTIALS_DIRECTORY` is always one.
    pub secret_directories: Vec<PathBuf>,
    /// Certificate authorities that are trusted besides the system's, one PEM file each.
    pub authorities: Vec<PathBuf>,
    /// For how long deliveries that arrived are remembered.
    pub keep_delivered: Time,
    /// For how long dead letters are kept.
    pub keep_dead: Time,
    /// A host that was not heard of for so long is told of as lost.
    pub host_lost_after: Time,
}

impl Default for NotificationsConfig {
    fn default() -> Self {
        let day = 24 * 3600;
        Self {
            allow: Vec::new(),
            secret_variables: vec!["SQUALL_SECRET_*".to_owned()],
            secret_directories: vec!["/etc/squall/secrets".into()],
            authorities: Vec::new(),
            keep_delivered: Time::from_secs(7 * day),
            keep_dead: Time::from_secs(30 * day),
            host_lost_after: Time::from_secs(60),
        }
    }
}

/// Channels and deliveries. Cheap to clone.
#[derive(Clone)]
pub struct Notifications(Arc<Inner>);

struct Inner {
    outbox: Outbox,
    transport: Transport,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
    settings: Settings,
    host_lost_after: Duration,
    server: String,
    url: String,
}

/// The lease of the server that sends and follows.
const LEASE: &str = "notifier";
/// After so long without a word, another server takes over.
const TTL: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How often a notice is written anew while the database fails.
const TRIES: u32 = 30;

impl Notifications {
    /// From the configuration. `server` is this server's name; `url`, where browsers reach it.
    pub fn new(
        config: &NotificationsConfig,
        db: Arc<dyn Database>,
        clock: Arc<dyn Clock>,
        server: &str,
        url: &str,
    ) -> Result<Self, String> {
        let network = |text: &String| {
            text.parse::<ipnet::IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from)).map_err(|_| text.clone())
        };
        let allow = config.allow.iter().map(network).collect::<Result<Vec<_>, _>>();
        let allow = allow.map_err(|text| format!("notifications.allow: `{text}` is no network; write it like `127.0.0.0/8`"))?;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let secrets = SecretPlaces {
            variables: config.secret_variables.clone(),
            directories: config.secret_directories.iter().cloned().chain(credentials).collect(),
        };
        let read = |path: &PathBuf| std::fs::read(path).map_err(|e| format!("notifications.authorities: {}: {e}", path.display()));
        let roots = config.authorities.iter().map(read).collect::<Result<_, _>>()?;
        let guards = Guards { reach: Reach { allow }, secrets };
        let transport = Transport::new(guards, roots, clock.clone()).map_err(|e| format!("notifications: {e}"))?;
        let settings = Settings { keep_delivered: config.keep_delivered.std(), keep_dead: config.keep_dead.std(), ..Settings::default() };
        Ok(Self(Arc::new(Inner {
            outbox: Outbox::new(db),
            transport,
            clock,
            counts: Arc::default(),
            settings,
            host_lost_after: config.host_lost_after.std(),
            server: server.to_owned(),
            url: url.trim_end_matches('/').to_owned(),
        })))
    }

    /// Channels and deliveries in the database.
    pub fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    /// What messages are sent with.
    pub fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// What this server has delivered, for metrics.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// The address of a page, for people.
    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.0.url)
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(crate) fn host_lost_after(&self) -> Duration {
        self.0.host_lost_after
    }

    /// Tells whoever wants to know. Waits for nothing, and cannot fail: while the database cannot be written it is tried again for
    /// some time, and then only the log has it.
    pub fn tell(&self, notice: Notice) {
        let notifications = self.clone();
        tokio::spawn(async move {
            for _ in 0..TRIES {
                match notifications.write(&notice).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(notice = notice.id, %error, "a notice was not written yet"),
                }
                let clock = notifications.clock();
                clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
            }
            tracing::error!(notice = notice.id, event = notice.event.name(), "a notice is lost: the database cannot be written");
        });
    }

    /// Tells whoever wants to know, and says when that is on disk.
    pub(crate) async fn write(&self, notice: &Notice) -> Result<(), squall_notify::OutboxError> {
        let now = self.0.clock.wall().parse().unwrap_or(notice.at);
        self.0.outbox.add(notice, now).await.map(drop)
    }
}

/// Sends what waits and follows what happens, whenever this server holds the lease. Runs until it is dropped.
pub(crate) async fn keep(app: App) {
    let this = app.notifications.clone();
    let clock = this.clock().clone();
    loop {
        match app.db.acquire(LEASE, &this.0.server, TTL).await {
            Ok(Some(fence)) => term(&app, &this, &fence).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the lease of notifications cannot be taken"),
        }
        clock.sleep_until(clock.now() + RENEW_EVERY).await;
    }
}

async fn term(app: &App, this: &Notifications, fence: &Fence) {
    let outbox = this.0.outbox.fenced(fence.clone());
    let deliverer =
        Deliverer::new(outbox, this.0.transport.clone(), this.0.clock.clone(), this.0.settings.clone()).counting(this.0.counts.clone());
    tokio::select! {
        () = held(app, this, fence) => tracing::info!("another server sends notifications from now on"),
        ended = deliverer.run(std::future::pending()) => if let Err(error) = ended {
            tracing::info!(%error, "no longer delivering");
        },
        () = follow::follow(app) => {}
    }
}

/// Returns when the lease is lost, or may be.
async fn held(app: &App, this: &Notifications, fence: &Fence) {
    let clock = this.clock();
    let mut renewed = clock.now();
    loop {
        clock.sleep_until(clock.now() + RENEW_EVERY).await;
        match app.db.renew(fence, TTL).await {
            Ok(()) => renewed = clock.now(),
            Err(LeaseError::Lost(_)) => return,
            Err(LeaseError::Store(error)) => {
                tracing::warn!(%error, "the lease of notifications was not renewed");
                if clock.now() > renewed + TTL {
                    return;
                }
            }
        }
    }
}
