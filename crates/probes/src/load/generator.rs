//! The generator as the engine sees it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use squall_engine::{BoxFuture, Clock, TrafficControl, TrafficError};
use squall_model::{HttpTraffic, Measure, Time, Traffic, TrafficSummary};
use tokio::sync::{oneshot, watch};

use super::request::Network;
use super::schedule::Schedule;
use super::thread::{Order, Running, run};
use crate::wire::Trust;

/// How long [`TrafficControl::stop`] waits for requests under way.
const GRACE: Duration = Duration::from_secs(1);

/// Makes the load of one run, on a thread of its own that exists while there is load.
pub struct LoadGenerator {
    clock: Arc<dyn Clock>,
    trust: Trust,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    traffics: Vec<Arc<Running>>,
    thread: Option<Thread>,
}

struct Thread {
    orders: watch::Sender<Order>,
    ended: oneshot::Receiver<()>,
    handle: JoinHandle<()>,
}

impl LoadGenerator {
    /// A generator whose schedule is kept by this clock, which must go at the speed of real time.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, trust: Trust::default(), state: Mutex::default() }
    }

    /// Believes the certificates that the authority in this PEM file signed, instead of the system's authorities.
    #[must_use]
    pub fn trusting(mut self, authority: PathBuf) -> Self {
        self.trust = Trust::Authority(authority);
        self
    }

    /// Believes any certificate.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.trust = Trust::Anyone;
        self
    }

    /// Stops every traffic, waits up to `grace` for requests under way, and tells what was seen in all.
    pub async fn finish(&self, grace: Duration) -> Vec<TrafficSummary> {
        let thread = self.state().thread.take();
        if let Some(Thread { orders, ended, handle }) = thread {
            orders.send_replace(Order::Stop(grace));
            // Closed without a word means that the thread has ended, too.
            let _ = ended.await;
            // It has nothing left to do but to return; a panic there has been printed and left the statistics behind.
            let _ = handle.join();
        }
        let now = self.clock.now();
        let traffics = self.state().traffics.clone();
        traffics.iter().map(|running| running.stats().summary(&running.name, now.saturating_sub(running.start))).collect()
    }

    /// How many requests of the traffic took longer than that, of those that have ended since the start.
    pub fn slower_than(&self, name: &str, latency: Time) -> Option<u64> {
        self.state().traffics.iter().find(|running| running.name == name).map(|running| running.stats().slower_than(latency.std()))
    }

    /// The 99th percentile of how long after it was due a request was started. Latencies count from when a request was due,
    /// so this is this generator's own share of them: when it is not small against them, the host is too busy to measure.
    pub fn lateness(&self, name: &str) -> Option<Time> {
        self.state().traffics.iter().find(|running| running.name == name).map(|running| running.stats().lateness().into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrafficControl for LoadGenerator {
    fn start(&self, traffic: &[Traffic], seed: u64) -> Result<(), TrafficError> {
        let mut state = self.state();
        let Some(first) = traffic.first() else { return Ok(()) };
        let error = |name: &str, message: String| TrafficError { name: name.to_owned(), message };
        if state.thread.is_some() {
            return Err(error(&first.name, "the load is already running".into()));
        }
        let network = Network::new(self.trust.clone());
        let mut prepared = Vec::new();
        for one in traffic {
            let kinds = kinds(one).map_err(|e| error(&one.name, e))?;
            let kinds = kinds.iter().map(|kind| network.kind(kind)).collect::<Result<Vec<_>, _>>().map_err(|e| error(&one.name, e))?;
            prepared.push((one, kinds));
        }
        raise_descriptor_limit(traffic.iter().map(|one| u64::from(one.max_in_flight)).sum());
        let start = self.clock.now();
        let running: Vec<(Arc<Running>, Schedule)> =
            prepared.into_iter().map(|(one, kinds)| (Arc::new(Running::new(one, kinds, start)), Schedule::new(one, seed))).collect();
        state.traffics = running.iter().map(|(running, _)| running.clone()).collect();
        state.thread = Some(spawn(self.clock.clone(), running).map_err(|e| error(&first.name, e))?);
        Ok(())
    }

    fn read(&self, name: &str, measure: Measure, window: Time) -> Result<f64, String> {
        let running = self.state().traffics.iter().find(|running| running.name == name).cloned();
        let Some(running) = running else { return Err(format!("there is no traffic `{name}` under way")) };
        let now = self.clock.now().saturating_sub(running.start);
        running.stats().read(measure, window, now)
    }

    fn stop(&self) -> BoxFuture<'_, Vec<TrafficSummary>> {
        Box::pin(self.finish(GRACE))
    }
}

impl Drop for LoadGenerator {
    fn drop(&mut self) {
        if let Some(Thread { orders, handle, .. }) = self.state().thread.take() {
            orders.send_replace(Order::Stop(Duration::ZERO));
            // No load may outlive its generator.
            let _ = handle.join();
        }
    }
}

/// The kinds of request of a traffic: `http` or `mix`, one of them.
fn kinds(traffic: &Traffic) -> Result<Vec<HttpTraffic>, String> {
    match (&traffic.http, traffic.mix.as_slice()) {
        (None, []) => Err("has no requests; write `http`, or `mix` with several".into()),
        (Some(_), [_, ..]) => Err("has both `http` and `mix`; keep one".into()),
        (Some(one), []) => Ok(vec![one.clone()]),
        (None, mix) if mix.iter().all(|kind| kind.weight == 0) => Err("every weight of `mix` is 0; give one of them more".into()),
        (None, mix) => Ok(mix.to_vec()),
    }
}

fn spawn(clock: Arc<dyn Clock>, running: Vec<(Arc<Running>, Schedule)>) -> Result<Thread, String> {
    let (orders, receiver) = watch::channel(Order::Go);
    let (ready_sender, mut ready) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let handle = std::thread::Builder::new()
        .name("squall-load".into())
        .spawn(move || {
            run(&clock, &running, &receiver, ready_sender);
            // Nobody may be waiting.
            let _ = end.send(());
        })
        .map_err(|e| format!("no thread for the load: {e}"))?;
    // The thread says within microseconds whether it could set itself up.
    loop {
        match ready.try_recv() {
            Ok(Ok(())) => return Ok(Thread { orders, ended, handle }),
            Ok(Err(error)) => return Err(error),
            Err(oneshot::error::TryRecvError::Closed) => return Err("the load's thread ended at once".into()),
            Err(oneshot::error::TryRecvError::Empty) => std::thread::yield_now(),
        }
    }
}

/// A stall of the server leaves a connection open for each request, so the soft limit is raised towards the hard one.
fn raise_descriptor_limit(in_flight: u64) {
    let wanted = in_flight.saturating_add(512);
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.current.is_none_or(|current| current >= wanted);
    if !enough {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // Where it cannot be raised, requests beyond it fail with `overload`, which says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
    }
}
