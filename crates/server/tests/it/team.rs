//! A server of a team, on a free port of loopback, in memory unless a test wants its file.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use squall_api::client::{Client, ClientError};
use squall_api::session::{Login, PasswordChange, Whoami};
use squall_api::users::{NewUser, Role, User};
use squall_engine::{BoxFuture, Clock, Registry, TrafficControl, TrafficError};
use squall_model::{Measure, Time, Traffic, TrafficSummary};
use squall_server::auth::{Auth, AuthConfig, prepare};
use squall_server::fleet::{Fleet, FleetConfig};
use squall_server::notifications::{Notifications, NotificationsConfig};
use squall_server::runs::{Kinds, Runs};
use squall_server::{App, Parts, WallClock};
use squall_store::{Database, MemoryDatabase};
use squall_testkit::FakeClock;
use squall_undo::StateDir;
use tokio::net::TcpListener;

/// What `admin` and everybody else has as a password.
pub const PASSWORD: &str = "correct horse battery staple";

/// Wall time that goes with the clock that tests move.
struct Wall(FakeClock);

impl WallClock for Wall {
    fn now(&self) -> Timestamp {
        self.0.wall().parse().expect("a time")
    }
}

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
pub struct Team {
    pub url: String,
    pub app: App,
    pub clock: FakeClock,
    pub directory: tempfile::TempDir,
}

/// Whoever is not what a test is about may ask as often as it likes.
pub fn patient() -> AuthConfig {
    AuthConfig { anonymous_burst: 1_000_000, ..AuthConfig::default() }
}

impl Team {
    pub async fn start() -> Self {
        Self::with(patient(), None).await
    }

    /// With this configuration, and the URL that browsers are said to use.
    pub async fn with(config: AuthConfig, url: Option<&str>) -> Self {
        let clock = FakeClock::default();
        let db = Arc::new(MemoryDatabase::new(Arc::new(clock.clone())));
        Self::over(db, clock, config, url).await
    }

    pub async fn over(db: Arc<dyn Database>, clock: FakeClock, config: AuthConfig, url: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = format!("http://{}", listener.local_addr().expect("an address"));
        let directory = tempfile::tempdir().expect("a directory");
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let wall: Arc<dyn WallClock> = Arc::new(Wall(clock.clone()));
        let auth = Auth::new(config, url.unwrap_or(&own), shared.clone()).expect("a configuration");
        let fleet = FleetConfig::new("test", vec!["https://127.0.0.1:1".into()], shared.clone(), wall.clone());
        let fleet = Fleet::open(db.clone(), fleet).await.expect("a fleet");
        let limits = Arc::new(squall_server::policy::Policies::new(db.clone(), wall.clone()));
        let state = StateDir::new(directory.path()).expect("a state directory");
        let kinds = Kinds {
            registry: Arc::new(Registry::default()),
            clock: shared,
            traffic: Box::new(|| Arc::new(NoTraffic)),
            rollback: |_| Err("there are no rollbacks here".into()),
            fill: |text, _: &BTreeMap<String, String>| Ok(text.to_owned()),
            library: |_| None,
            search: |_| Vec::new(),
            chance: || 7,
        };
        let runs = Runs::new(db.clone(), fleet.clone(), kinds, state, wall.clone(), limits, "test".into());
        let notifications = Notifications::new(&NotificationsConfig::default(), db.clone(), Arc::new(clock.clone()), "test", &own)
            .expect("a configuration");
        let app = App::new(Parts { db, wall, auth, fleet, runs, notifications });
        tokio::spawn(squall_server::serve(listener, None, squall_server::router(app.clone()), Arc::new(clock.clone())));
        Self { url: own, app, clock, directory }
    }

    /// Nobody.
    pub fn nobody(&self) -> Client {
        Client::new(&self.url, None).expect("a URL")
    }

    /// Signs in.
    pub async fn login(&self, user: &str, password: &str) -> Result<(Client, Whoami), ClientError> {
        self.nobody().login(&Login { user: user.into(), password: password.into() }).await
    }

    /// The first admin, in a session, after the first password was changed.
    pub async fn admin(&self) -> Client {
        let file = prepare(&self.app, self.directory.path()).await.expect("prepared").expect("a first password");
        let first = std::fs::read_to_string(file).expect("readable").trim().to_owned();
        let (client, whoami) = self.login("admin", &first).await.expect("signed in");
        assert!(whoami.must_change);
        self.change(&client, &first).await;
        self.login("admin", PASSWORD).await.expect("signed in").0
    }

    async fn change(&self, client: &Client, current: &str) {
        let change = PasswordChange { current: current.into(), new: PASSWORD.into() };
        client.put::<Whoami>("session/password", &change).await.expect("changed");
    }

    /// A user with these roles, in a session.
    pub async fn user(&self, admin: &Client, name: &str, roles: &[Role]) -> Client {
        let first = format!("{PASSWORD} first");
        let new =
            NewUser { name: name.into(), roles: roles.iter().copied().collect(), password: Some(first.clone()), ..NewUser::default() };
        admin.post::<User>("users", &new).await.expect("a user");
        let (client, _) = self.login(name, &first).await.expect("signed in");
        self.change(&client, &first).await;
        self.login(name, PASSWORD).await.expect("signed in").0
    }

    /// Any request, with any headers: what a browser or an attacker would send.
    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Json>) -> Answer {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let mut request = client.request(method.parse().expect("a method"), format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        Answer { status, headers, json: serde_json::from_str(&text).unwrap_or(Json::Null), text }
    }

    /// Signs in as a browser does: the cookie as the server sets it, with its attributes, and the CSRF token.
    pub async fn browser(&self, user: &str, password: &str, headers: &[(&str, &str)]) -> (Answer, String, String) {
        let answer = self.raw("POST", "/api/v1/session", headers, Some(&json!({ "user": user, "password": password }))).await;
        let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        let csrf = answer.json["csrf"].as_str().unwrap_or_default().to_owned();
        (answer, cookie, csrf)
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub json: Json,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

/// The status of a refusal.
pub fn status<T: std::fmt::Debug>(result: Result<T, ClientError>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(error) => error.status().unwrap_or_else(|| panic!("{error}")),
    }
}
