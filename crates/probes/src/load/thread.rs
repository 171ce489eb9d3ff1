//! The thread that makes the load: it starts each request when it is due.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use squall_engine::Clock;
use squall_model::Traffic;
use tokio::sync::{oneshot, watch};

use super::pace::Pacer;
use super::request::Kind;
use super::schedule::{Schedule, weights};
use super::stats::Stats;

/// The nice value that the thread asks for.
const PRIORITY: i32 = -10;

/// One traffic, as the thread and its readers share it.
pub(crate) struct Running {
    pub(crate) name: String,
    /// On the clock, where the schedule begins.
    pub(crate) start: Duration,
    pub(crate) timeout: Duration,
    pub(crate) limit: u32,
    pub(crate) kinds: Vec<Kind>,
    weights: Vec<u32>,
    stats: Mutex<Stats>,
}

/// What the thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Make load.
    Go,
    /// Start no more requests; wait so long for those under way.
    Stop(Duration),
}

impl Running {
    pub(crate) fn new(traffic: &Traffic, kinds: Vec<Kind>, start: Duration) -> Self {
        let weights = match &traffic.http {
            Some(_) => vec![1],
            None => weights(&traffic.mix),
        };
        let stats = Mutex::new(Stats::new());
        Self { name: traffic.name.clone(), start, timeout: traffic.timeout.std(), limit: traffic.max_in_flight, kinds, weights, stats }
    }

    pub(crate) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until told to stop and everything under way has ended or the wait is over. Then `done` resolves.
pub(crate) fn run(
    clock: &Arc<dyn Clock>,
    traffics: &[(Arc<Running>, Schedule)],
    orders: &watch::Receiver<Order>,
    ready: oneshot::Sender<Result<(), String>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().event_interval(13).max_blocking_threads(4).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever started the thread waits for this.
            let _ = ready.send(Err(format!("no event loop for the load: {error}")));
            return;
        }
    };
    raise_priority();
    runtime.block_on(async {
        let pacers: Result<Vec<Pacer>, _> = traffics.iter().map(|_| Pacer::new()).collect();
        let pacers = match pacers {
            Ok(pacers) => pacers,
            Err(error) => {
                let _ = ready.send(Err(format!("no timer for the load: {error}")));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        let each = traffics.iter().zip(pacers).map(|((running, schedule), pacer)| {
            let (clock, running, schedule, orders) = (clock.clone(), running.clone(), schedule.clone(), orders.clone());
            tokio::spawn(async move { pace(&clock, &running, schedule, &pacer, orders).await })
        });
        // A task that panicked has left its statistics behind; there is nothing more to do for it here.
        drop(join_all(each).await);
        finish(traffics, orders).await;
    });
    // Connections and requests under way end with the runtime.
}

/// The generator's own wait for a processor would be in every latency, so it goes before what it measures (which may well
/// share this host). It takes little time; where it may not ask for this, all is as before.
fn raise_priority() {
    let thread = Some(rustix::thread::gettid());
    if rustix::process::getpriority_process(thread).is_ok_and(|nice| nice > PRIORITY) {
        let _ = rustix::process::setpriority_process(thread, PRIORITY);
    }
}

/// Starts each request when it is due, until told to stop.
async fn pace(clock: &Arc<dyn Clock>, running: &Arc<Running>, mut schedule: Schedule, pacer: &Pacer, mut orders: watch::Receiver<Order>) {
    loop {
        let Some(due) = schedule.due() else {
            // No more arrivals; what is under way goes on.
            let _ = orders.wait_for(|order| *order != Order::Go).await;
            break;
        };
        let now = clock.now().saturating_sub(running.start);
        let early = due.saturating_sub(now);
        if !early.is_zero() {
            tokio::select! {
                biased;
                _ = orders.wait_for(|order| *order != Order::Go) => break,
                slept = pacer.sleep(early) => if slept.is_err() { break },
            }
            continue;
        }
        if *orders.borrow() != Order::Go {
            break;
        }
        let number = schedule.advance();
        let kind = schedule.kind(number, &running.weights);
        let slot = running.stats().begin(due, now, running.limit);
        if let Some(slot) = slot {
            let (clock, running) = (clock.clone(), running.clone());
            tokio::spawn(async move {
                let late = clock.now().saturating_sub(running.start + due);
                let failure = running.kinds[kind].send(running.timeout.saturating_sub(late)).await;
                let now = clock.now().saturating_sub(running.start);
                running.stats().end(slot, now, failure);
            });
        }
        // After a pause of this thread many are due at once: let the first ones go out before the last is made ready.
        if number.is_multiple_of(16) {
            tokio::task::yield_now().await;
        }
    }
    running.stats().stopped(clock.now().saturating_sub(running.start));
}

/// Waits for requests under way, for as long as the order allows.
async fn finish(traffics: &[(Arc<Running>, Schedule)], orders: &watch::Receiver<Order>) {
    let Order::Stop(grace) = *orders.borrow() else { return };
    let idle = async {
        let mut turn = tokio::time::interval(Duration::from_millis(2));
        while traffics.iter().any(|(running, _)| running.stats().has_under_way()) {
            turn.tick().await;
        }
    };
    // Too late is an answer too: the summary says what is unfinished.
    let _ = tokio::time::timeout(grace, idle).await;
}
