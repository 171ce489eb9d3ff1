//! Proxies and their API until a signal ends them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::mpsc;

use serde_json::Value;
use squall_proxy::api::{Access, Api, ApiOptions, VERSION};
use squall_proxy::control::{Control, Notice, Notices};
use squall_proxy::tls::AuthorityDir;
use squall_proxy::{EventLog, Options};
use squall_undo::StateDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::CliError;
use crate::toxiproxy::{Level, Log};

/// What is to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the API listens; none is without one.
    pub api: Option<String>,
    /// Threads that carry traffic; 0 for one a core.
    pub workers: usize,
    /// What decisions start from; none is another each time.
    pub seed: Option<u64>,
    /// Events that are kept.
    pub events: usize,
    /// `GET /metrics` tells of this process.
    pub runtime_metrics: bool,
    /// `GET /metrics` counts what passes.
    pub proxy_metrics: bool,
    /// Who signs the certificates that proxies show.
    pub authority: AuthorityDir,
}

/// The authority of this state directory. Without one, as for a user who has no home, it lives as long as the process, and
/// clients get its certificate from nowhere.
pub fn authority_in<E>(state: Result<StateDir, E>) -> AuthorityDir {
    state.map_or_else(|_| AuthorityDir::in_memory(), |state| AuthorityDir::at(state.path()))
}

/// Runs until SIGINT or SIGTERM. `prepare` makes the proxies that are there from the start.
pub fn serve(plan: &Plan, log: Log, prepare: impl FnOnce(&Control) -> anyhow::Result<()>) -> anyhow::Result<()> {
    raise_descriptors();
    // Before anything listens, so that no signal comes too early to be noticed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let seed = plan.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 1);
    let (sender, notices) = mpsc::channel();
    let options = Options { workers: plan.workers, seed, events: plan.events, authority: plan.authority.clone() };
    let control = Control::start_with(&options, Notices::to(sender))?;
    let prepared = prepare(&control);
    // What is there from the start is told before it is said to be ready.
    for notice in notices.try_iter() {
        tell(notice, log);
    }
    prepared?;
    let teller = std::thread::Builder::new().name("notices".into()).spawn(move || {
        for notice in notices {
            tell(notice, log);
        }
    })?;
    let api = plan.api.as_deref().map(|listen| start_api(&control, listen, plan, log)).transpose()?;
    log.line(Level::Info, "Ready", &[("seed", seed.into())]);
    runtime.block_on(async {
        let events = trace(control.events(), log);
        tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, () = events => {} }
    });
    log.line(Level::Info, "Shutdown started", &[]);
    // Nobody may change the proxies while they close.
    drop(api);
    for proxy in control.list() {
        // One that is gone already needs no deleting.
        let _ = control.delete(&proxy.name);
    }
    drop(control);
    // It has read the last notice, as nobody can send another.
    let _ = teller.join();
    Ok(())
}

/// Two descriptors for each connection are soon more than the usual soft limit of 1024. A program that uses select(2) would not
/// bear more; this one does not.
fn raise_descriptors() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Without, it serves fewer connections, and says so when there are no more descriptors.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

fn start_api(control: &Control, listen: &str, plan: &Plan, log: Log) -> anyhow::Result<Api> {
    let on_request = (log.level <= Level::Debug).then(|| Arc::new(move |access: &Access| show(access, log)) as _);
    let options = ApiOptions { proxy_metrics: plan.proxy_metrics, runtime_metrics: plan.runtime_metrics, on_request };
    let api = Api::start(control.clone(), listen, options).map_err(|error| {
        CliError::failed(format!("the API cannot listen: {error}"), "perhaps one runs already; another port: --port 8475".to_owned())
    })?;
    let address = format!("http://{}", api.address());
    log.line(Level::Info, "Starting Toxiproxy HTTP server", &[("address", address.into()), ("version", VERSION.into())]);
    Ok(api)
}

fn tell(notice: Notice, log: Log) {
    match notice {
        Notice::Started { proxy, listen, upstream } => {
            log.line(Level::Info, "Started proxy", &[("name", proxy.into()), ("listen", listen.into()), ("upstream", upstream.into())]);
        }
        Notice::Stopped { proxy, listen } => {
            log.line(Level::Info, "Terminated proxy", &[("name", proxy.into()), ("listen", listen.into())]);
        }
        Notice::Expired { proxy, name } => {
            log.line(Level::Info, "Removed, as its time is over", &[("name", proxy.into()), ("fault", name.into())]);
        }
    }
}

fn show(access: &Access, log: Log) {
    let fields: [(&str, Value); 8] = [
        ("client", access.client.to_string().into()),
        ("method", access.method.as_str().into()),
        ("url", access.url.as_str().into()),
        ("user_agent", access.user_agent.as_str().into()),
        ("status", access.status.into()),
        ("size", access.size.into()),
        ("duration", (access.duration.as_secs_f64() * 1e3).into()),
        ("handler", access.handler.into()),
    ];
    log.line(Level::Debug, "", &fields);
}

/// Writes what keeps proxies from accepting, and at the lowest level all events, as they come; never ends.
async fn trace(events: &EventLog, log: Log) {
    let mut last = 0;
    loop {
        if let Some(trouble) = events.take_trouble() {
            log.line(Level::Error, "Cannot accept connections, which wait; it goes on when some have ended", &[("err", trouble.into())]);
        }
        let all = if log.level > Level::Trace { Vec::new() } else { events.after(last) };
        for event in all {
            last = event.number;
            log.line(Level::Trace, "Event", &[("event", serde_json::to_value(&event).unwrap_or_default())]);
        }
        // A timer that cannot be had (no descriptor left) delays lines of a log, and nothing else.
        if squall_proxy::time::sleep(std::time::Duration::from_millis(100)).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
