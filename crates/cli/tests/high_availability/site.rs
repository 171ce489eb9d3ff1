//! Where it happens: a database, two servers, two agents, and processes to pause.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use squall_api::Page;
use squall_api::client::{Client, ClientError, Credential};
use squall_api::hosts::{Host, JoinToken};
use squall_api::session::{Login, PasswordChange};
use squall_api::tokens::NewToken;
use squall_testkit::{Postgres, Victim};

/// Schedules that pause a process every minute, each at a second of its own.
pub const SCHEDULES: usize = 14;
/// Those who start runs by the API, one after another.
pub const PEOPLE: usize = 3;
/// One more process is for the schedule whose runs replace each other, and one for the last run.
pub const VICTIMS: usize = SCHEDULES + PEOPLE + 2;
/// The longest wait for anything here.
pub const PATIENCE: Duration = Duration::from_secs(90);
pub const HOSTS: [&str; 2] = ["web-1", "web-2"];

pub struct Server {
    name: String,
    state: PathBuf,
    api: u16,
    agents: u16,
    database: String,
    process: Mutex<Option<Child>>,
    pub client: Client,
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}

/// Starts the program that is a copy of its own in the directory of the states: all of them are of one build, however long this takes.
fn squall(state: &Path, args: &[&str]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(state.with_extension("log")).expect("a log");
    let errors = log.try_clone().expect("a log");
    let mut command = Command::new(state.with_file_name("squall"));
    command.arg("--state-dir").arg(state).args(args).env("NO_COLOR", "1").env_remove("SQUALL_POLICY");
    command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("squall starts")
}

impl Server {
    fn new(name: &str, directory: &Path, database: &str) -> Self {
        let (api, agents) = (port(), port());
        let client = Client::new(&format!("http://127.0.0.1:{api}"), None).expect("a URL");
        let state = directory.join(name);
        Self { name: name.into(), state, api, agents, database: database.into(), process: Mutex::default(), client }
    }

    pub fn start(&self) {
        let (api, agents) = (format!("127.0.0.1:{}", self.api), format!("127.0.0.1:{}", self.agents));
        let args = ["server", "--name", &self.name, "--listen", &api, "--agents", &agents, "--database", &self.database];
        *self.process.lock().expect("mine") = Some(squall(&self.state, &args));
    }

    /// SIGKILL, and it is gone.
    pub fn kill(&self) {
        let Some(mut process) = self.process.lock().expect("mine").take() else { return };
        assert!(process.try_wait().expect("waited").is_none(), "server {} has ended by itself:\n{}", self.name, self.log());
        process.kill().expect("killed");
        process.wait().expect("reaped");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.state.with_extension("log")).unwrap_or_default()
    }

    /// Until it answers.
    pub async fn answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.client.get::<Json>("health").await {
            assert!(Instant::now() < deadline, "server {} does not answer: {error}\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Looks at the victims all the time, and counts how often each was paused.
pub struct Watch {
    stop: Arc<AtomicBool>,
    pub times: Arc<Vec<AtomicU32>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn of(pids: Vec<u32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let times: Arc<Vec<AtomicU32>> = Arc::new(pids.iter().map(|_| AtomicU32::new(0)).collect());
        let (stopping, counted) = (stop.clone(), times.clone());
        let thread = std::thread::spawn(move || {
            let mut was = vec![false; pids.len()];
            while !stopping.load(Ordering::Relaxed) {
                for (n, pid) in pids.iter().enumerate() {
                    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                    let is = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
                    counted[n].fetch_add(u32::from(is && !was[n]), Ordering::Relaxed);
                    was[n] = is;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { stop, times, thread: Some(thread) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// All of it. Everything ends with it, servers and agents before what they use.
pub struct Site {
    pub servers: [Server; 2],
    agents: Mutex<Vec<Child>>,
    pub watch: Watch,
    pub victims: Vec<Victim>,
    /// Something that probes reach.
    pub port: u16,
    directory: tempfile::TempDir,
    _postgres: Postgres,
}

impl Drop for Site {
    fn drop(&mut self) {
        let servers = self.servers.iter().filter_map(|server| server.process.lock().ok()?.take());
        for mut child in servers.chain(std::mem::take(self.agents.get_mut().expect("mine"))) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Site {
    pub async fn open(kills: u32) -> Self {
        let postgres = Postgres::start();
        let directory = tempfile::Builder::new().prefix("squall-ha-").tempdir().expect("a directory");
        std::fs::copy(env!("CARGO_BIN_EXE_squall"), directory.path().join("squall")).expect("copied");
        let socket = postgres.data().with_file_name("run").display().to_string().replace('/', "%2F");
        let database = format!("postgres://postgres@{socket}/postgres");
        let [mut one, mut two] = ["one", "two"].map(|name| Server::new(name, directory.path(), &database));
        one.start();
        one.answers().await;
        let token = sign_in(&one).await;
        for server in [&mut one, &mut two] {
            server.client = server.client.clone().with(Credential::Token(token.clone()));
        }
        let victims: Vec<Victim> = (0..VICTIMS).map(|_| Victim::sleeper_for(600 + 60 * kills)).collect();
        let watch = Watch::of(victims.iter().map(Victim::pid).collect());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let site = Self { servers: [one, two], agents: Mutex::default(), watch, victims, port, directory, _postgres: postgres };
        site.join().await;
        // Agents are told of the second server when it comes.
        site.servers[1].start();
        site.servers[1].answers().await;
        for server in &site.servers {
            site.linked(server).await;
        }
        site
    }

    async fn join(&self) {
        let new = json!({ "uses": HOSTS.len() });
        let token: JoinToken = self.servers[0].client.post("hosts/tokens", &new).await.expect("a token");
        let url = format!("https://127.0.0.1:{}", self.servers[0].agents);
        for host in HOSTS {
            let args = ["agent", "--server", &url, "--join", &token.token, "--name", host];
            self.agents.lock().expect("mine").push(squall(&self.directory.path().join(host), &args));
        }
    }

    /// Until both agents are linked to a server.
    pub async fn linked(&self, server: &Server) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let hosts: Result<Page<Host>, ClientError> = server.client.get("hosts").await;
            if hosts.as_ref().is_ok_and(|hosts| hosts.items.iter().filter(|host| host.connected).count() == HOSTS.len()) {
                return;
            }
            assert!(Instant::now() < deadline, "server {}: {hosts:?}\n{}", server.name, self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn logs(&self) -> String {
        let log = |name: &str| {
            let text = std::fs::read_to_string(self.directory.path().join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name}\n{}", lines[lines.len().saturating_sub(150)..].join("\n"))
        };
        ["one", "two", "web-1", "web-2"].map(log).join("\n")
    }

    /// An experiment that pauses a victim for so long.
    pub fn manifest(&self, name: &str, victim: usize, time: &str) -> String {
        let (host, process, port) = (HOSTS[victim % HOSTS.len()], self.victims[victim].name(), self.port);
        format!(
            "apiVersion: squall.dev/v1
kind: Experiment
metadata: {{ name: {name} }}
spec:
  hypothesis:
    statement: Whoever listens goes on listening.
    probes:
      - name: port
        tcp: {{ address: \"127.0.0.1:{port}\", measure: roundTrip }}
        expect: {{ lt: 5s }}
        every: 200ms
  steady: {{ for: 400ms }}
  method:
    - name: pause
      fault: process.pause
      target: {{ process: {{ name: {process} }}, hosts: {{ names: [{host}] }} }}
      for: {time}
"
        )
    }
}

/// As the first admin, for a token that is good on both servers.
async fn sign_in(server: &Server) -> String {
    let password = server.state.join("first-admin-password");
    let password = std::fs::read_to_string(password).expect("the first password").trim().to_owned();
    let new = "a long pass phrase";
    let login = |password: &str| Login { user: "admin".into(), password: password.into() };
    let (session, _) = server.client.clone().login(&login(&password)).await.expect("signed in");
    let change = PasswordChange { current: password, new: new.into() };
    let _: Json = session.put("session/password", &change).await.expect("changed");
    let (session, _) = server.client.clone().login(&login(new)).await.expect("signed in again");
    let token: Json = session.post("tokens", &NewToken { name: "test".into(), ..NewToken::default() }).await.expect("a token");
    token["secret"].as_str().expect("the secret").to_owned()
}
