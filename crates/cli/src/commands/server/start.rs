//! Puts the server together and serves.

use std::sync::Arc;

use squall_server::auth::{Auth, prepare};
use squall_server::fleet::{Fleet, FleetConfig};
use squall_server::notifications::Notifications;
use squall_server::runs::Runs;
use squall_server::{App, Parts, ServerConfig, SystemWallClock, WallClock};
use squall_store::{Database, SqliteDatabase, Store};
use squall_sys::BootClock;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::kinds::kinds;
use crate::context::{CliError, Context};

/// Serves until a signal comes.
pub fn serve(config: ServerConfig, cx: &Context) -> anyhow::Result<()> {
    crate::log::begin()?;
    raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serving(config, cx));
    runtime.shutdown_background();
    served
}

async fn serving(config: ServerConfig, cx: &Context) -> anyhow::Result<()> {
    let state = cx.state_dir()?;
    let clock = Arc::new(BootClock::new());
    let wall: Arc<dyn WallClock> = Arc::new(SystemWallClock);
    let failed = |what: &str, error: &dyn std::fmt::Display| CliError::failed(format!("{what}: {error}"), None);
    let collector = crate::telemetry::collector()?;
    let api = listen(&config.listen, "--listen").await?;
    let agents = listen(&config.agents, "--agents").await?;
    let tls = config.tls.as_ref().map(squall_server::api_tls).transpose().map_err(|e| CliError::usage(e, None))?;
    // Port 0 is one of the kernel's choice: what is told to others is the one that it chose.
    let config = ServerConfig { listen: api.local_addr()?.to_string(), agents: agents.local_addr()?.to_string(), ..config };
    let db = database(&config.database, &state, clock.clone()).await?;
    let name = config.name.clone().unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let mut fleet = FleetConfig::new(name.clone(), vec![config.agents_url()], clock.clone(), wall.clone());
    fleet.names = host_of(&config.agents_url()).into_iter().collect();
    fleet.certificate =
        config.agents_tls.as_ref().map(squall_server::agents_certificate).transpose().map_err(|e| CliError::usage(e, None))?;
    let fleet = Fleet::open(db.clone(), fleet).await.map_err(|e| failed("the agents' links", &e))?;
    let auth = Auth::new(config.auth.clone(), &config.url(), clock.clone())
        .map_err(|e| CliError::usage(format!("auth.{}: {}", e.place, e.message), None))?;
    let limits = Arc::new(squall_server::policy::Policies::new(db.clone(), wall.clone()));
    let runs = Runs::new(db.clone(), fleet.clone(), kinds(clock.clone()), state.clone(), wall.clone(), limits, name.clone());
    let notifications =
        Notifications::new(&config.notifications, db.clone(), clock, &name, &config.url()).map_err(|e| CliError::usage(e, None))?;
    let app = App::new(Parts { db, wall, auth, fleet: fleet.clone(), runs: runs.clone(), notifications });
    let first = prepare(&app, state.path()).await?;
    cx.say(format!("squall server `{name}`: {}", config.url()))?;
    cx.note(format!("agents: {}   database: {}", config.agents_url(), shown(&config.database, &state)));
    if let Some(path) = first {
        cx.note(format!("sign in as `admin` with the password in {}", path.display()));
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        () = squall_server::serve(api, tls, squall_server::router(app.clone()), runs.clock().clone()) => {}
        ended = fleet.serve(agents) => ended.map_err(|e| failed("the agents' links", &e))?,
        () = runs.clone().keep() => {}
        () = squall_server::background(app.clone()) => {}
        () = traced(app.clone(), collector) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // What is under way is put back before the server goes; agents would do it by themselves a lease later.
    let left = runs.end_all("the server, which is stopping").await;
    cx.note(if left == 0 { "stopped".to_owned() } else { format!("stopped; {left} runs are put back by their agents") });
    Ok(())
}

/// As many descriptors as the system lets this process have: each agent's link is one.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the server has to do with {current:?} descriptors");
    }
}

async fn listen(address: &str, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let hint = format!("give a free address and port with {option}, such as 127.0.0.1:0 for any port");
        CliError::usage(format!("{address} cannot be listened on: {e}"), Some(hint)).into()
    })
}

async fn database(url: &str, state: &squall_undo::StateDir, clock: Arc<BootClock>) -> anyhow::Result<Arc<dyn Database>> {
    if url == "sqlite" {
        let path = state.path().join(Store::FILE);
        return Ok(Arc::new(SqliteDatabase::open(&path, clock).map_err(|e| CliError::failed(e.to_string(), None))?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let database = squall_store::PostgresDatabase::connect(url, clock).await;
        return Ok(Arc::new(database.map_err(|e| CliError::failed(e.to_string(), None))?));
    }
    let hint = "write `sqlite`, or `postgres://user@host/database`".to_owned();
    Err(CliError::usage(format!("`{url}` is no database that Squall knows"), Some(hint)).into())
}

/// The database, without a password.
fn shown(url: &str, state: &squall_undo::StateDir) -> String {
    if url == "sqlite" {
        return state.path().join(Store::FILE).display().to_string();
    }
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => url.to_owned(),
    }
}

/// The name or address of a URL.
fn host_of(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    Some(host.trim_matches(['[', ']']).to_owned())
}

/// Sends traces, where a collector is given.
async fn traced(app: App, collector: Option<squall_telemetry::Collector>) {
    match collector {
        Some(collector) => squall_server::export_traces(app, collector).await,
        None => std::future::pending().await,
    }
}
