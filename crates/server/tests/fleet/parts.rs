//! What the processes of a field do.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use squall_agent::executor::ExecutorConfig;
use squall_agent::local::Ground;
use squall_agent::{Agent, AgentConfig, Trust};
use squall_api::hosts::NewJoinToken;
use squall_api::link::{Answer, Inject, Request};
use squall_engine::{Clock, Gate, GateRequest, Registry, RegistryUndoer, Target};
use squall_model::{InjectionId, RunId, Time};
use squall_server::SystemWallClock;
use squall_server::fleet::{Fleet, FleetConfig};
use squall_store::SqliteDatabase;
use squall_sys::BootClock;
use squall_undo::{StateDir, Watchdog};

/// The beat of tests: leases of two seconds can be tried a hundred times.
pub const BEAT: Duration = Duration::from_millis(300);

fn value<'a>(words: &[&'a str], name: &str) -> &'a str {
    words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)).copied().unwrap_or_default()
}

/// Descriptors for thousands of links.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn runtime() -> tokio::runtime::Runtime {
    raise_limit();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// `serve --state DIR --listen ADDRESS --url URL [--beat MILLISECONDS] [--certificate FILE --key FILE] [--life MILLISECONDS]`: answers one
/// JSON line to each on standard input. `life` is that of agents' certificates.
pub fn serve(words: &[&str]) {
    let beat = value(words, "--beat").parse().map_or(BEAT, Duration::from_millis);
    let state = Path::new(value(words, "--state")).to_owned();
    std::fs::create_dir_all(&state).expect("a state directory");
    let listen: SocketAddr = value(words, "--listen").parse().expect("an address");
    runtime().block_on(async {
        let clock = Arc::new(BootClock::new());
        let db = Arc::new(SqliteDatabase::open(&state.join("squall.db"), clock.clone()).expect("a database"));
        let mut config = FleetConfig::new("one", vec![value(words, "--url").to_owned()], clock, Arc::new(SystemWallClock));
        config.beat_every = beat;
        config.grace = Duration::from_secs(3);
        config.certificate_life = value(words, "--life").parse().map_or(config.certificate_life, Duration::from_millis);
        let read = |name: &str| std::fs::read_to_string(value(words, name)).ok();
        config.certificate = read("--certificate").zip(read("--key"));
        let fleet = Fleet::open(db, config).await.expect("a fleet");
        let listener = tokio::net::TcpListener::bind(listen).await.expect("a port");
        let serving = fleet.clone();
        tokio::spawn(async move { serving.serve(listener).await });
        say(&json!({ "ready": true }));
        let (lines, mut asked) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        while let Some(line) = asked.recv().await {
            let fleet = fleet.clone();
            // One that waits for an agent must not hold up the others.
            tokio::spawn(async move {
                let order: Value = serde_json::from_str(&line).expect("an order");
                let mut answer = obey(&fleet, &order).await.unwrap_or_else(|error| json!({ "error": error }));
                answer["n"] = order["n"].clone();
                say(&answer);
            });
        }
    });
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}

async fn obey(fleet: &Fleet, order: &Value) -> Result<Value, String> {
    let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
    let run = || text("run").parse::<RunId>().map_err(|error| error.to_string());
    match text("do").as_str() {
        "token" => {
            let uses = order["uses"].as_u64().and_then(|uses| u32::try_from(uses).ok());
            let token = fleet.join_token(NewJoinToken { uses, ..NewJoinToken::default() }).await.map_err(|error| error.to_string())?;
            Ok(json!({ "token": token.token }))
        }
        "connected" => {
            let hosts = fleet.connected();
            let in_force: u32 = hosts.iter().map(|host| host.in_force()).sum();
            Ok(json!({ "connected": hosts.len(), "inForce": in_force }))
        }
        "wall" => Ok(json!({ "seconds": jiff::Timestamp::now().as_second() })),
        "drive" => {
            let hosts = fleet.connected().into_iter().map(|host| host.name.clone());
            let (skip, take) = (order["skip"].as_u64().unwrap_or_default(), order["take"].as_u64().unwrap_or(u64::MAX));
            let hosts = hosts.skip(usize::try_from(skip).unwrap_or(0)).take(usize::try_from(take).unwrap_or(usize::MAX));
            fleet.drive(run()?, hosts);
            Ok(json!({}))
        }
        "leave" => {
            fleet.leave(&run()?);
            Ok(json!({}))
        }
        "inject" => inject(fleet, order, run()?).await,
        "forget" => fleet.forget(&text("host")).await.map(|()| json!({})).map_err(|error| error.to_string()),
        "unblock" => match fleet.call(&text("host"), Request::Unblock, Duration::from_secs(5)).await {
            Ok(answer) => Ok(json!({ "answer": answer })),
            Err(error) => Err(error.to_string()),
        },
        "stop" => {
            let stopped = fleet.stop_all("the test", order["block"] == json!(true), Duration::from_secs(20)).await;
            let reverted: usize = stopped.hosts.iter().map(|host| host.reverted.len()).sum();
            let failed: Vec<_> = stopped.hosts.iter().flat_map(|host| host.failed.clone()).collect();
            Ok(json!({
                "hosts": stopped.hosts.len(), "unreached": stopped.unreached.len(), "reverted": reverted, "failed": failed,
                "tookUs": u64::try_from(stopped.took.as_micros()).unwrap_or(u64::MAX),
            }))
        }
        other => Err(format!("`{other}`?")),
    }
}

/// Pauses the process of a name on a host, in a run of its own.
async fn inject(fleet: &Fleet, order: &Value, run: RunId) -> Result<Value, String> {
    let host = order["host"].as_str().unwrap_or_default();
    let find = Request::Find { kind: "process".into(), selector: json!({ "name": order["process"] }), except: None };
    let within = Duration::from_secs(30);
    let Answer::Found { targets, .. } = fleet.call(host, find, within).await.map_err(|error| error.to_string())? else {
        return Err("it did not look".into());
    };
    let pick = usize::try_from(order["pick"].as_u64().unwrap_or_default()).unwrap_or_default();
    let target = targets.into_iter().nth(pick).ok_or("it found nothing")?;
    fleet.drive(run.clone(), [host.to_owned()]);
    let inject = Inject {
        run,
        injection: InjectionId(1),
        fault: "process.pause".into(),
        args: json!({}),
        target,
        duration: Some(Time::from_secs(60)),
        latest: Time::from_secs(60),
        seed: 1,
        accept_irreversible: true,
        lease: Time::from(Duration::from_millis(order["leaseMs"].as_u64().unwrap_or(2_000))),
    };
    let answer = fleet.call(host, Request::Inject(Box::new(inject)), within).await.map_err(|error| error.to_string())?;
    Ok(json!({ "answer": answer }))
}

/// The kinds of this program: those that need no other process.
fn registry() -> Arc<Registry> {
    Arc::new(Registry { faults: squall_faults::all(), probes: Vec::new(), targets: squall_faults::targets() })
}

struct Open;

impl Gate for Open {
    fn protected(&self, _: &Target) -> Option<String> {
        None
    }

    fn allow(&self, _: &GateRequest<'_>) -> Result<(), squall_engine::Denied> {
        Ok(())
    }
}

fn start_watchdog(directory: &Path) -> Result<Watchdog, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    Watchdog::start(&program, [std::ffi::OsString::from("watchdog"), "--run-dir".into(), directory.into()])
        .map_err(|error| error.to_string())
}

/// `watchdog --run-dir DIR`, started by an agent.
pub fn watchdog(directory: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(squall_undo::watch(Path::new(directory), &RegistryUndoer(registry()))).expect("watched");
}

fn config(words: &[&str], name: &str, state: &Path, registry: Arc<Registry>) -> AgentConfig {
    let ground = Ground {
        state: StateDir::new(state).expect("a state directory"),
        registry,
        host: squall_sys::facts(),
        clock: Arc::new(BootClock::new()),
        watchdog: Arc::new(start_watchdog),
    };
    let token = value(words, "--join");
    AgentConfig {
        server: Some(value(words, "--server").to_owned()),
        join: (!token.is_empty()).then(|| token.to_owned()),
        name: Some(name.to_owned()),
        labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        trust: if value(words, "--ca") == "system" { Trust::System } else { Trust::Pinned },
        policies: Vec::new(),
        executor: ExecutorConfig { ground, gate: Arc::new(Open), allowed_now: Arc::new(|| Ok(())), local: None },
    }
}

/// `agent --server URL [--join TOKEN] --name NAME --state DIR`
pub fn agent(words: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let opened = Agent::open(config(words, value(words, "--name"), Path::new(value(words, "--state")), registry())).await;
        match opened {
            Ok(agent) => {
                say(&json!({ "ready": agent.name() }));
                agent.run(std::future::pending()).await.expect("it runs");
            }
            Err(error) => say(&json!({ "error": error.to_string() })),
        }
    });
}

/// `agents --server URL --join TOKEN --name PREFIX --state DIR --count N`: many, which break nothing.
pub fn agents(words: &[&str]) {
    let count: usize = value(words, "--count").parse().expect("a number of agents");
    runtime().block_on(async {
        let facts_once = registry();
        let joining = Arc::new(tokio::sync::Semaphore::new(16));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..count {
            let name = format!("{}-{number}", value(words, "--name"));
            let config = config(words, &name, &Path::new(value(words, "--state")).join(&name), facts_once.clone());
            let joining = joining.clone();
            tasks.spawn(async move {
                let permit = joining.acquire_owned().await.expect("open");
                let agent = Agent::open(config).await.unwrap_or_else(|error| panic!("{name}: {error}"));
                drop(permit);
                agent.run(std::future::pending()).await
            });
        }
        let ended = tasks.join_next().await;
        panic!("an agent ended: {ended:?}");
    });
}

/// Time that nobody can set.
pub fn now() -> Duration {
    BootClock::new().now()
}
