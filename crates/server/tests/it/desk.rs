//! A server on a free port of loopback that goes by the real clock, with every kind of probe and fault, and with what it does
//! besides answering: it sends notifications and follows runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use squall_api::client::Client;
use squall_api::session::{Login, PasswordChange, Whoami};
use squall_api::users::{NewUser, Role, User};
use squall_engine::{BoxFuture, Clock, Registry, TrafficControl, TrafficError};
use squall_model::{
    Event, InjectionId, Measure, Measured, Record, RevertedBy, RunId, Started, TargetRef, Time, Timer, Traffic, TrafficSummary, Value,
    Verdict,
};
use squall_server::auth::{Auth, prepare};
use squall_server::fleet::{Fleet, FleetConfig};
use squall_server::notifications::{Notifications, NotificationsConfig};
use squall_server::runs::{Kinds, Runs};
use squall_server::{App, Parts, SystemWallClock, WallClock};
use squall_store::{BeginRun, Database, MemoryDatabase};
use squall_sys::BootClock;
use squall_undo::StateDir;
use tokio::net::TcpListener;

use crate::team::{PASSWORD, patient};

struct NoTraffic;

impl TrafficControl for NoTraffic {
    fn start(&self, _: &[Traffic], _: u64) -> Result<(), TrafficError> {
        Ok(())
    }

    fn read(&self, name: &str, _: Measure, _: Time) -> Result<f64, String> {
        Err(format!("there is no traffic `{name}`"))
    }

    fn stop(&self) -> BoxFuture<'_, Vec<TrafficSummary>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// A server. It ends with the test's runtime.
pub struct Desk {
    pub url: String,
    pub app: App,
    pub db: Arc<dyn Database>,
    pub directory: tempfile::TempDir,
    runs: std::sync::atomic::AtomicU64,
}

impl Desk {
    pub async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(BootClock::new());
        let wall: Arc<dyn WallClock> = Arc::new(SystemWallClock);
        let db: Arc<dyn Database> = Arc::new(MemoryDatabase::new(clock.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let directory = tempfile::tempdir().expect("a directory");
        let auth = Auth::new(patient(), &url, clock.clone()).expect("a configuration");
        let fleet = FleetConfig::new("desk", vec!["https://127.0.0.1:1".into()], clock.clone(), wall.clone());
        let fleet = Fleet::open(db.clone(), fleet).await.expect("a fleet");
        let limits = Arc::new(squall_server::policy::Policies::new(db.clone(), wall.clone()));
        let state = StateDir::new(directory.path()).expect("a state directory");
        let registry = Registry { faults: squall_faults::all(), probes: squall_probes::all(), targets: squall_faults::targets() };
        let kinds = Kinds {
            registry: Arc::new(registry),
            clock: clock.clone(),
            traffic: Box::new(|| Arc::new(NoTraffic)),
            rollback: |_| Err("there are no rollbacks here".into()),
            fill: |text, _: &BTreeMap<String, String>| Ok(text.to_owned()),
            library: |_| None,
            search: |_| Vec::new(),
            chance: || u64::from(std::process::id()),
        };
        let runs = Runs::new(db.clone(), fleet.clone(), kinds, state, wall.clone(), limits, "desk".into());
        let of_server = clock.clone();
        let config = NotificationsConfig {
            allow: vec!["127.0.0.0/8".into()],
            secret_directories: vec![directory.path().to_owned()],
            ..NotificationsConfig::default()
        };
        let notifications = Notifications::new(&config, db.clone(), clock, "desk", &url).expect("a configuration");
        let app = App::new(Parts { db: db.clone(), wall, auth, fleet, runs, notifications });
        tokio::spawn(squall_server::serve(listener, None, squall_server::router(app.clone()), of_server));
        tokio::spawn(squall_server::background(app.clone()));
        Self { url, app, db, directory, runs: std::sync::atomic::AtomicU64::new(0) }
    }

    async fn login(&self, user: &str, password: &str) -> Client {
        let client = Client::new(&self.url, None).expect("a URL");
        client.login(&Login { user: user.into(), password: password.into() }).await.expect("signed in").0
    }

    async fn settled(&self, user: &str, first: &str) -> Client {
        let client = self.login(user, first).await;
        let change = PasswordChange { current: first.into(), new: PASSWORD.into() };
        client.put::<Whoami>("session/password", &change).await.expect("changed");
        self.login(user, PASSWORD).await
    }

    pub async fn admin(&self) -> Client {
        let file = prepare(&self.app, self.directory.path()).await.expect("prepared").expect("a first password");
        let first = std::fs::read_to_string(file).expect("readable").trim().to_owned();
        self.settled("admin", &first).await
    }

    pub async fn user(&self, admin: &Client, name: &str, role: Role) -> Client {
        let first = format!("{PASSWORD} first");
        let new = NewUser { name: name.into(), roles: [role].into(), password: Some(first.clone()), ..NewUser::default() };
        admin.post::<User>("users", &new).await.expect("a user");
        self.settled(name, &first).await
    }

    /// A file with a secret that channels may refer to.
    pub fn secret(&self, name: &str, value: &str) -> Json {
        let path = self.directory.path().join(name);
        std::fs::write(&path, value).expect("written");
        json!({ "file": path })
    }

    /// A run as an agent and a server would leave it in the journal: steady, a fault, samples that are `bad` or not, reverted.
    /// Until the fault is reverted.
    pub async fn run(&self, experiment: &str, bad: bool, cause: Json) -> Journal<'_> {
        let manifest = format!(
            "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: {{ name: {experiment}, labels: {{ service: checkout, team: payments }} }}\nspec:\n  \
             hypothesis:\n    statement: It stays at zero.\n    probes:\n      - name: error rate\n        file: {{ path: /nowhere, measure: number }}\n        \
             expect: {{ lt: 1 }}\n        every: 20ms\n  steady: {{ for: 60ms }}\n  method:\n    - name: the pause\n      fault: process.pause\n      \
             target: {{ process: {{ name: payments }} }}\n      for: 1s\n  recovery: {{ within: 5s, stable: 40ms }}\n"
        );
        let number = self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = Timestamp::now();
        let run = RunId::new(u64::try_from(now.as_millisecond()).expect("after 1970") + number, 9);
        let started = Started {
            version: squall_model::JOURNAL_VERSION,
            run: run.clone(),
            experiment: experiment.into(),
            manifest,
            seed: 1,
            wall: now.to_string(),
            host: "desk".into(),
            user: "ada".into(),
            squall: "0".into(),
        };
        let labels = BTreeMap::from([("service".to_owned(), "checkout".to_owned()), ("team".to_owned(), "payments".to_owned())]);
        let begin = BeginRun {
            started: started.clone(),
            labels,
            extra: json!({ "server": "desk", "cause": cause }),
            records: Vec::new(),
            fence: None,
        };
        self.db.begin(begin).await.expect("begun");
        let mut journal = Journal { desk: self, run, began: now, seq: 0, at: 0 };
        let injection = InjectionId(1);
        let target = TargetRef { injection, id: "host-a/process:1:1".into(), label: "payments (pid 1)".into() };
        let mut events =
            vec![Event::Started(Box::new(started)), Event::Planned, sample(0.0), sample(0.0), sample(0.0), sample(0.0), sample(0.0)];
        events.push(Event::Elapsed { timer: Timer::SteadyEnd });
        events.push(Event::Selected { node: 1, matched: 1, targets: vec![target], control: Vec::new() });
        events.extend([Event::Armed { injection }, Event::Injected { injection }]);
        events.push(Event::Verified { injection, in_force: true, evidence: "it is paused".into() });
        events.extend((0..5).map(|_| sample(if bad { 4.0 } else { 0.0 })));
        for event in events {
            journal.write(event).await;
        }
        journal
    }

    /// A run from its start to its end.
    pub async fn whole(&self, experiment: &str, verdict: Verdict) -> RunId {
        let bad = verdict == Verdict::Deviated;
        self.run(experiment, bad, Json::Null).await.end(verdict).await
    }
}

fn sample(value: f64) -> Event {
    Event::Sampled { probe: 0, took: 100, measured: Measured::Value(Value::Number(value)) }
}

/// The journal of a run.
pub struct Journal<'a> {
    desk: &'a Desk,
    pub run: RunId,
    began: Timestamp,
    seq: u64,
    at: u64,
}

impl Journal<'_> {
    pub async fn write(&mut self, event: Event) {
        let record = Record { seq: self.seq, at: self.at, event };
        self.desk.db.append(&self.run, &[record], false, None).await.expect("written");
        self.seq += 1;
        self.at += 20_000;
    }

    /// Reverts and recovers, and ends.
    pub async fn end(mut self, verdict: Verdict) -> RunId {
        let injection = InjectionId(1);
        self.write(Event::Elapsed { timer: Timer::TimeBox(injection) }).await;
        self.write(Event::Reverted { injection, by: RevertedBy::Engine, how: "continued".into() }).await;
        for _ in 0..5 {
            self.write(sample(0.0)).await;
        }
        self.write(Event::Ended { verdict, reason: format!("it {}", verdict.name()) }).await;
        // The journal has its own time: what happens next is to be later than its end by every clock.
        let clock = self.desk.app.runs.clock();
        while Timestamp::now() < self.began + Duration::from_micros(self.at) {
            clock.sleep_until(clock.now() + Duration::from_millis(10)).await;
        }
        self.run
    }
}

/// Asks until the answer is as it should be.
pub async fn until<T>(client: &Client, path: &str, check: impl Fn(&Json) -> Option<T>) -> T {
    let clock = BootClock::new();
    let end = clock.now() + Duration::from_secs(20);
    loop {
        let answer: Json = client.get(path).await.expect("an answer");
        if let Some(found) = check(&answer) {
            return found;
        }
        assert!(clock.now() < end, "{path}: {answer:#}");
        clock.sleep_until(clock.now() + Duration::from_millis(20)).await;
    }
}
