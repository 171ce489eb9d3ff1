//! What the server tells Prometheus: counts since its start, and how things are right now, looked up when it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use squall_engine::{InjectionPhase, InjectionState, State};
use squall_model::Verdict;
use squall_store::Filter;

use crate::runs::Ended;
use crate::{ApiError, App};

type Labels = Vec<(&'static str, String)>;

/// Ends of the buckets of recovery times, in seconds: from a tenth of a second to a quarter of an hour.
const RECOVERY: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];
/// Runs that are looked through for the last verdict of each experiment.
const LATE: usize = 1000;

/// What is counted since the server's start.
pub(crate) struct Metrics {
    registry: Registry,
    runs: Family<Labels, Counter>,
    injections: Family<Labels, Counter>,
    recovery: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let (runs, injections) = (Family::default(), Family::default());
        let recovery = Histogram::new(RECOVERY);
        registry.register("squall_runs", "Runs that this server has driven to their end, by verdict", runs.clone());
        registry.register("squall_injections", "Injections of those runs, by what became of them", injections.clone());
        let help = "From the end of the revert until the steady state was back";
        registry.register_with_unit("chaos_recovery_time", help, Unit::Seconds, recovery.clone());
        Self { registry, runs, injections, recovery }
    }
}

impl Metrics {
    fn ended(&self, Ended { experiment, verdict, state, .. }: &Ended) {
        self.runs.get_or_create(&vec![("experiment", experiment.clone()), ("verdict", verdict.name().to_owned())]).inc();
        let Some(state) = state else { return };
        if let Some((back, from)) = state.recovered_at.zip(state.reverted_at) {
            self.recovery.observe(Duration::from_micros(back.saturating_sub(from)).as_secs_f64());
        }
        for injection in state.injections.values() {
            let fault = fault(state, injection).to_owned();
            self.injections.get_or_create(&vec![("fault", fault), ("result", result(injection).to_owned())]).inc();
        }
    }
}

fn fault<'a>(state: &'a State, injection: &InjectionState) -> &'a str {
    match &state.program.nodes[injection.node].kind {
        squall_engine::NodeKind::Fault(fault) => &fault.fault,
        _ => "",
    }
}

/// What became of an injection, in one word.
fn result(injection: &InjectionState) -> &'static str {
    match (injection.phase, &injection.verified) {
        (InjectionPhase::Stuck, _) => "stuck",
        _ if injection.left_out => "left_out",
        (_, Some((true, _))) => "in_force",
        (_, Some((false, _))) => "no_effect",
        _ if injection.in_force.is_none() => "failed",
        _ => "unverified",
    }
}

/// Counts what ends. Runs until it is dropped.
pub(crate) async fn count(app: App) {
    let mut ends = app.runs.ends();
    while let Some(ended) = ends.next("being counted").await {
        app.metrics().ended(&ended);
    }
}

/// Everything, as text in the format of `OpenMetrics` 1.0.
pub(crate) async fn text(app: &App) -> Result<String, ApiError> {
    let now = now(app).await?;
    let mut text = String::new();
    let written = encode_registry(&mut text, &app.metrics().registry)
        .and_then(|()| encode_registry(&mut text, &now))
        .and_then(|()| encode_eof(&mut text));
    written.map_err(|fmt::Error| squall_api::Problem::internal("the metrics cannot be written"))?;
    Ok(text)
}

/// How things are right now.
async fn now(app: &App) -> Result<Registry, ApiError> {
    let mut registry = Registry::default();
    let info = Family::<Labels, Gauge>::default();
    info.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
    registry.register("squall_build_info", "The version of the server", info);
    let stopped = Gauge::<i64>::default();
    stopped.set(i64::from(app.runs.stopped().await?.is_some()));
    registry.register("squall_stopped", "1 while nothing may start, as somebody has pressed the red button", stopped);
    experiments(app, &mut registry).await?;
    live(app, &mut registry);
    hosts(app, &mut registry).await;
    notifications(app, &mut registry);
    Ok(registry)
}

/// The last verdict of each experiment, of all servers.
async fn experiments(app: &App, registry: &mut Registry) -> Result<(), ApiError> {
    let filter = Filter { limit: Some(LATE), ..Filter::default() };
    let mut last: BTreeMap<String, Verdict> = BTreeMap::new();
    for run in app.db.runs(&filter, None).await? {
        if let Some(verdict) = run.summary.verdict {
            last.entry(run.summary.experiment).or_insert(verdict);
        }
    }
    let status = Family::<Labels, Gauge>::default();
    for (experiment, verdict) in last {
        status.get_or_create(&vec![("experiment", experiment)]).set(i64::from(verdict == Verdict::Held));
    }
    registry.register("chaos_experiment_status", "1 if the last run of the experiment that ended has held, else 0", status);
    Ok(())
}

/// What this server drives.
fn live(app: &App, registry: &mut Registry) {
    let states = app.runs.states();
    let active = Gauge::<i64>::default();
    active.set(i64::try_from(states.len()).unwrap_or(i64::MAX));
    registry.register("squall_runs_active", "Runs that this server drives", active);
    let faults = Family::<Labels, Gauge>::default();
    let mut services = BTreeSet::new();
    for state in &states {
        let in_force = state.injections.values().filter(|injection| injection.phase == InjectionPhase::InForce);
        for injection in in_force {
            faults.get_or_create(&vec![("fault", fault(state, injection).to_owned())]).inc();
            let metadata = &state.program.experiment.metadata;
            services.insert(metadata.labels.get("service").unwrap_or(&metadata.name).clone());
        }
    }
    registry.register("squall_faults_in_force", "Injections of this server's runs that are in force", faults);
    let radius = Family::<Labels, Gauge>::default();
    let names = services.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    radius.get_or_create(&vec![("services", names)]).set(i64::try_from(services.len()).unwrap_or(i64::MAX));
    let help = "Services under a fault now: the label `service` of their experiments, or the experiment's name without one";
    registry.register("chaos_blast_radius", help, radius);
}

async fn hosts(app: &App, registry: &mut Registry) {
    let (linked, in_force) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
    for host in app.fleet.hosts().await {
        let labels = vec![("host", host.name)];
        linked.get_or_create(&labels).set(i64::from(host.connected));
        in_force.get_or_create(&labels).set(i64::from(host.in_force));
    }
    registry.register("squall_host_linked", "1 while the host's agent is linked to a server", linked);
    registry.register("squall_host_faults_in_force", "Injections in force on the host, as its agent said last", in_force);
}

fn notifications(app: &App, registry: &mut Registry) {
    let counts = app.notifications.counts();
    let mut counter = |name: &str, help: &str, count: &AtomicU64| {
        registry.register(name, help, ConstCounter::new(count.load(Ordering::Relaxed)));
    };
    counter("squall_notifications_delivered", "Deliveries of this server that arrived", &counts.delivered);
    counter("squall_notifications_failed", "Tries to deliver that failed", &counts.failed);
    counter("squall_notifications_dead", "Deliveries that were given up", &counts.dead);
}
