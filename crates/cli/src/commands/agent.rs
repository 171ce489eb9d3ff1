//! `squall agent`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use squall_agent::executor::ExecutorConfig;
use squall_agent::local::{self, DEFAULT_DURATION, Ground, LONGEST_DURATION, LocalApi, LocalConfig};
use squall_agent::{Agent, AgentConfig, Trust};
use squall_sys::BootClock;
use squall_undo::Watchdog;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::context::{CliError, Context, exit};
use crate::policy::Policies;
use crate::registry::registry;

/// Let a server run experiments on this host
///
/// The agent dials out: nothing has to be opened on this host. It joins once, with a token of the server, and gets a certificate; from then
/// on it needs neither token nor `--server`. What it puts in force is on loan: if nothing is heard of the server for the lease of a run, it
/// puts everything back by itself, and if it is killed, its watchdogs do. Its own policies are the last word on this host.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall agent --server https://squall.example:7443 --join sqj_… --label zone=a --label role=web
  squall agent                                       the same again, after a restart
  squall agent --policy /etc/squall/agent.yaml       with limits that no server can widen
  squall agent --local-socket /run/squall/agent.sock faults for services of this host, without a server

Exit codes: 0 ended by a signal and everything put back, 2 wrong usage, 6 something could not be put back")]
pub struct Args {
    /// URL of the server's listener for agents
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A one-time token of the server: `squall hosts add` gives it
    #[arg(long, value_name = "TOKEN", env = "SQUALL_JOIN_TOKEN", hide_env_values = true)]
    join: Option<String>,
    /// The name of this host, by which experiments select it [default: the system's]
    #[arg(long)]
    name: Option<String>,
    /// A label of this host: `zone`, `role` and `service` are the usual ones
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// A policy that applies besides the host's own
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// How the server is known: by the fingerprint in the token, or by the authorities that the system trusts
    #[arg(long, value_name = "WHOSE", default_value = "pinned")]
    ca: Authority,
    /// Serve the local API (`/faults`) on this Unix socket
    #[arg(long, value_name = "PATH")]
    local_socket: Option<PathBuf>,
    /// A user who may use the socket besides root and the agent's own, by number
    #[arg(long, value_name = "UID", requires = "local_socket")]
    local_user: Vec<u32>,
    /// Serve the local API on this address of the loopback interface, too
    #[arg(long, value_name = "ADDRESS:PORT", requires = "local_token_file")]
    local_tcp: Option<SocketAddr>,
    /// The token that the local API asks for on TCP; made if it is not there
    #[arg(long, value_name = "FILE")]
    local_token_file: Option<PathBuf>,
}

/// How a server is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Authority {
    /// By the server's own authority, whose fingerprint is in the token
    Pinned,
    /// By the authorities that the system trusts, and the name in the URL
    System,
}

fn start_watchdog(run_dir: &Path) -> Result<Watchdog, String> {
    let args = [std::ffi::OsString::from("watchdog"), "--run-dir".into(), run_dir.into()];
    // This program, even if another version has been put in its place meanwhile.
    Watchdog::start(Path::new("/proc/self/exe"), args).map_err(|e| e.to_string())
}

/// Runs the agent.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    crate::log::begin()?;
    let labels = crate::remote::labels(&args.label)?;
    let policies = Arc::new(Policies::load(&args.policy)?);
    let kinds = registry();
    let ground = Ground {
        state: cx.state_dir()?,
        registry: kinds,
        host: squall_sys::facts(),
        clock: Arc::new(BootClock::new()),
        watchdog: Arc::new(start_watchdog),
    };
    let windows = policies.clone();
    let allowed_now: local::AllowedNow = Arc::new(move || windows.allow_now(jiff::Timestamp::now()));
    let local = (args.local_socket.is_some() || args.local_tcp.is_some()).then(|| {
        let config = LocalConfig {
            ground: ground.clone(),
            gate: policies.clone(),
            allowed_now: allowed_now.clone(),
            faults_directory: None,
            socket: args.local_socket.clone(),
            users: args.local_user.clone(),
            tcp: args.local_tcp,
            token_file: args.local_token_file.clone(),
            default_duration: DEFAULT_DURATION,
            longest: LONGEST_DURATION,
        };
        Arc::new(LocalApi::new(config))
    });
    let joined = ground.state.path().join("agent").exists();
    let config = AgentConfig {
        server: args.server,
        join: args.join,
        name: args.name,
        labels,
        trust: if args.ca == Authority::System { Trust::System } else { Trust::Pinned },
        policies: policies.names(),
        executor: ExecutorConfig { ground, gate: policies, allowed_now, local: local.clone() },
    };
    let alone = local.is_some() && config.server.is_none() && !joined;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let left = runtime.block_on(serve((!alone).then_some(config), local, cx));
    runtime.shutdown_background();
    let left = left?;
    for what in &left {
        cx.note(format!("not put back: {what}; `squall recover` tries again"));
    }
    Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// Serves servers, the local API, or both, until a signal ends it. What could not be put back is the result.
async fn serve(config: Option<AgentConfig>, local: Option<Arc<LocalApi>>, cx: &Context) -> anyhow::Result<Vec<String>> {
    let (end, ending) = watch::channel(false);
    let ended = |mut ending: watch::Receiver<bool>| async move {
        // The sender lives as long as this function.
        let _ = ending.wait_for(|end| *end).await;
    };
    let agent = match config {
        Some(config) => Some(Agent::open(config).await.map_err(|e| CliError::usage(e.to_string(), None))?),
        None => None,
    };
    if let Some(agent) = &agent {
        cx.note(format!("agent of host `{}`", agent.name()));
    }
    // Whichever ends first ends the others.
    let linked = async {
        let left = if let Some(agent) = agent {
            agent.run(ended(ending.clone())).await.map_err(|e| CliError::failed(e.to_string(), None))
        } else {
            ended(ending.clone()).await;
            Ok(Vec::new())
        };
        end.send_replace(true);
        left
    };
    let listening = async {
        let served = if let Some(local) = local {
            local::serve(local, |_| {}, ended(ending.clone())).await.map_err(|e| CliError::failed(e.to_string(), None))
        } else {
            ended(ending.clone()).await;
            Ok(())
        };
        end.send_replace(true);
        served
    };
    let signals = async {
        let signalled = tokio::select! {
            signalled = signals() => signalled,
            () = ended(ending.clone()) => Ok(()),
        };
        end.send_replace(true);
        signalled
    };
    let (left, listened, signalled) = tokio::join!(linked, listening, signals);
    signalled?;
    listened?;
    Ok(left?)
}

/// Ready when a signal asks for the agent's end.
async fn signals() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
