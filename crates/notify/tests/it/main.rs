//! Deliveries to real receivers: HTTP servers and mail servers on loopback.

mod crash;
mod delivery;
mod mail;
mod receiver;
mod webhooks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use squall_engine::Clock;
use squall_notify::{Channel, Deliverer, EventKind, Guards, Notice, Outbox, Reach, SecretPlaces, Settings, Transport};
use squall_store::{Batch, Database, MemoryDatabase, Write};
use squall_sys::BootClock;

/// Bytes 0 to 31.
const WEBHOOK_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-python/bin/python");
    assert!(path.exists(), "{} is needed for this test; `cargo xtask clients` installs it", path.display());
    path
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// A server's part of deliveries, over a database.
struct Bench {
    clock: Arc<dyn Clock>,
    database: Arc<dyn Database>,
    outbox: Outbox,
    transport: Transport,
    secrets: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(BootClock::new());
        Self::with(clock.clone(), Arc::new(MemoryDatabase::new(clock)), Vec::new())
    }

    fn with(clock: Arc<dyn Clock>, database: Arc<dyn Database>, roots: Vec<Vec<u8>>) -> Self {
        let secrets = tempfile::tempdir().expect("a directory");
        let guards = guards(secrets.path());
        let transport = Transport::new(guards, roots, clock.clone()).expect("a transport");
        Self { outbox: Outbox::new(database.clone()), clock, database, transport, secrets }
    }

    /// A reference to a secret with this value.
    fn secret(&self, name: &str, value: &str) -> serde_json::Value {
        let path = self.secrets.path().join(name);
        std::fs::write(&path, value).expect("written");
        serde_json::json!({ "file": path })
    }

    async fn channel(&self, name: &str, body: serde_json::Value) -> Channel {
        let channel: Channel = serde_json::from_value(body.clone()).expect("a channel");
        assert_eq!(channel.check(self.transport.guards()), [], "{body}");
        let put = Write::Put { kind: Outbox::CHANNEL.into(), id: name.into(), body };
        self.database.commit(Batch::new([put])).await.expect("written");
        channel
    }

    async fn tell(&self, notice: &Notice) {
        self.outbox.add(notice, self.wall()).await.expect("written");
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall().parse().expect("a time")
    }

    fn deliverer(&self) -> Deliverer {
        Deliverer::new(self.outbox.clone(), self.transport.clone(), self.clock.clone(), Settings::default())
    }

    /// Delivers until it is dropped.
    fn deliver(&self) -> Delivering {
        let deliverer = self.deliverer();
        Delivering(tokio::spawn(async move { deliverer.run(std::future::pending()).await.expect("delivers") }))
    }
}

struct Delivering(tokio::task::JoinHandle<()>);

impl Drop for Delivering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Loopback is where these tests have their receivers.
fn guards(secrets: &Path) -> Guards {
    let reach = Reach { allow: vec!["127.0.0.0/8".parse().expect("a network")] };
    Guards { reach, secrets: SecretPlaces { variables: Vec::new(), directories: vec![secrets.to_owned()] } }
}

fn notice(id: &str, event: EventKind) -> Notice {
    let mut notice = Notice::new(id, event, "2026-11-21T12:00:00Z".parse().expect("a time"), "r000000000000");
    (notice.run, notice.experiment) = (Some("r000000000000".into()), Some("slow-payments".into()));
    notice
}
