//! The worker that sends what waits. One at a time in a whole installation (the server's lease sees to it; the outbox is fenced).
//!
//! Each channel is served by itself, one message at a time: one that hangs delays nobody else. Notices about the same subject
//! reach a channel in order: a later one waits until the earlier has arrived or was given up.
//!
//! Before a message is sent the try is written down, so that a message that kills the process is not tried for ever, and with a
//! time before which nobody tries again; after it, what came of it. Killed in between, it is sent again: at least once.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use squall_engine::Clock;
use squall_store::Change;
use tokio::task::JoinSet;

use crate::outbox::Waiting;
use crate::rate::Bucket;
use crate::transport::wall;
use crate::{Channel, Delivery, DeliveryState, Known, Outbox, OutboxError, Receipt, SendError, Sending, Transport};

/// How the deliverer works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// It looks at everything anew after so long, even if nothing seems to have changed.
    pub look_every: Duration,
    /// Delivered messages are remembered for so long.
    pub keep_delivered: Duration,
    /// Dead letters are kept for so long.
    pub keep_dead: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self { look_every: Duration::from_secs(15), keep_delivered: day * 7, keep_dead: day * 30 }
    }
}

/// What has happened since the start, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Deliveries that arrived.
    pub delivered: AtomicU64,
    /// Tries that failed.
    pub failed: AtomicU64,
    /// Deliveries that were given up.
    pub dead: AtomicU64,
    /// Deliveries that wait now.
    pub waiting: AtomicU64,
    /// Times that the database could not be used.
    pub database_errors: AtomicU64,
}

/// At most so many are looked at; the rest waits until these are done.
const MOST: usize = 10_000;
/// How long after the end of a channel's timeout a try counts as lost with the process that made it.
const GRACE: Duration = Duration::from_secs(5);
/// How long a database that fails is left alone.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// Sends what waits.
#[derive(Clone)]
pub struct Deliverer {
    outbox: Outbox,
    transport: Transport,
    clock: Arc<dyn Clock>,
    settings: Settings,
    counts: Arc<Counts>,
}

impl std::fmt::Debug for Deliverer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deliverer").field("settings", &self.settings).field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// What the loop knows between two looks.
#[derive(Default)]
struct Memory {
    waiting: Vec<(String, Known<Waiting>)>,
    channels: HashMap<String, Channel>,
    /// When each is due, on the monotonic clock, by the version that said so. Worked out once: a wall clock that is set
    /// later changes nothing.
    due: HashMap<(String, u64), Duration>,
    buckets: HashMap<String, Bucket>,
    busy: HashSet<String>,
}

impl Deliverer {
    /// A deliverer for an outbox.
    pub fn new(outbox: Outbox, transport: Transport, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        Self { outbox, transport, clock, settings, counts: Arc::default() }
    }

    /// Counts into these instead of its own.
    #[must_use]
    pub fn counting(self, counts: Arc<Counts>) -> Self {
        Self { counts, ..self }
    }

    /// What has happened since the start.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Sends what waits, and what comes, until told to stop or until another server delivers. What is being sent then is sent
    /// again by whoever comes next.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> Result<(), OutboxError> {
        let mut stop = std::pin::pin!(stop);
        let (mut memory, mut changes, mut tries) = (Memory::default(), self.outbox.watch(), JoinSet::new());
        let (mut stale, mut next_look, mut next_sweep, mut watching) = (true, Duration::ZERO, self.clock.now(), true);
        loop {
            if stale || self.clock.now() >= next_look {
                let pause = if self.loaded(self.look(&mut memory).await)? { self.settings.look_every } else { DATABASE_PAUSE };
                (stale, next_look) = (false, self.clock.now() + pause);
            }
            if self.clock.now() >= next_sweep {
                let pause = if self.loaded(self.sweep().await)? { SWEEP_EVERY } else { DATABASE_PAUSE };
                next_sweep = self.clock.now() + pause;
            }
            let wake = self.start(&mut memory, &mut tries).min(next_look).min(next_sweep);
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = self.clock.sleep_until(wake) => {}
                change = changes.next(), if watching => match change {
                    Some(Change::Document { kind, .. }) => stale |= kind == Outbox::WAITING || kind == Outbox::CHANNEL,
                    Some(Change::Missed) => stale = true,
                    Some(Change::Run(_)) => {}
                    None => watching = false,
                },
                Some(done) = tries.join_next() => {
                    stale = true;
                    match done {
                        Ok((channel, outcome)) => {
                            memory.busy.remove(&channel);
                            if !self.loaded(outcome)? {
                                next_look = self.clock.now() + DATABASE_PAUSE;
                                stale = false;
                            }
                        }
                        // A try that panicked is a mistake in Squall; its channel must not stay busy for ever.
                        Err(_) => memory.busy.clear(),
                    }
                }
            }
        }
    }

    /// Whether it worked. That another server delivers ends it; a database that fails is tried again.
    fn loaded<T>(&self, outcome: Result<T, OutboxError>) -> Result<bool, OutboxError> {
        match outcome {
            Ok(_) => Ok(true),
            Err(OutboxError::Fenced) => Err(OutboxError::Fenced),
            Err(_) => {
                self.counts.database_errors.fetch_add(1, Ordering::Relaxed);
                Ok(false)
            }
        }
    }

    async fn look(&self, memory: &mut Memory) -> Result<(), OutboxError> {
        memory.channels = self.outbox.channels().await?.0.into_iter().collect();
        memory.waiting = self.outbox.waiting(MOST).await?;
        memory.waiting.sort_by(|(a, x), (b, y)| (x.value.at, x.value.sequence, a).cmp(&(y.value.at, y.value.sequence, b)));
        self.counts.waiting.store(memory.waiting.len() as u64, Ordering::Relaxed);
        let (now, wall) = (self.clock.now(), wall(&*self.clock));
        let mut due = HashMap::new();
        for (id, known) in &memory.waiting {
            let key = (id.clone(), known.version);
            let longest = memory.channels.get(&known.value.channel).map_or(Duration::ZERO, |channel| channel.retry.longest());
            let left = Duration::try_from(known.value.not_before.duration_since(wall)).unwrap_or_default().min(longest);
            let when = memory.due.get(&key).copied().unwrap_or(now + left);
            due.insert(key, when);
        }
        memory.due = due;
        memory.buckets.retain(|name, _| memory.channels.contains_key(name));
        Ok(())
    }

    /// Starts whatever can start, and says when to look for more.
    fn start(&self, memory: &mut Memory, tries: &mut JoinSet<(String, Result<(), OutboxError>)>) -> Duration {
        let now = self.clock.now();
        let mut wake = Duration::MAX;
        let mut held: HashSet<(&str, &str)> = HashSet::new();
        let mut closed: HashSet<&str> = HashSet::new();
        for (id, known) in &memory.waiting {
            let Waiting { channel: name, subject, .. } = &known.value;
            if closed.contains(name.as_str()) || memory.busy.contains(name) || held.contains(&(name, subject)) {
                continue;
            }
            let channel = memory.channels.get(name);
            if channel.is_some_and(|channel| channel.paused) {
                closed.insert(name);
                continue;
            }
            let due = memory.due.get(&(id.clone(), known.version)).copied().unwrap_or(now);
            if due > now {
                wake = wake.min(due);
                held.insert((name, subject));
                continue;
            }
            if let Some(channel) = channel {
                let bucket = memory.buckets.entry(name.clone()).or_insert_with(|| Bucket::full(channel.rate, now));
                if let Err(later) = bucket.take(channel.rate, now) {
                    wake = wake.min(later);
                    closed.insert(name);
                    continue;
                }
            }
            memory.busy.insert(name.clone());
            let (worker, id, channel, name) = (self.clone(), id.clone(), channel.cloned(), name.clone());
            tries.spawn(async move { (name, worker.attempt(&id, channel).await) });
        }
        wake
    }

    /// One try, from writing down that it begins to writing down what came of it.
    async fn attempt(&self, id: &str, channel: Option<Channel>) -> Result<(), OutboxError> {
        let Some(mut known) = self.outbox.get(id).await?.filter(|known| known.value.state == DeliveryState::Pending) else {
            return self.outbox.unmark(id).await;
        };
        let Some(channel) = channel else {
            let gone = SendError::refused(format!("the channel `{}` is gone", known.value.channel));
            known.value.begin(wall(&*self.clock), known.value.not_before);
            return self.settle(known, Err(gone), 1, Duration::ZERO).await;
        };
        let (began, now) = (self.clock.now(), wall(&*self.clock));
        known.value.begin(now, later(now, channel.timeout.std() + GRACE));
        match self.outbox.save(&known, false).await {
            Ok(version) => known.version = version,
            // Somebody else has it.
            Err(OutboxError::Changed(_) | OutboxError::Unknown(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        let sent = self.transport.send(&channel, &Sending { id, notice: &known.value.notice }).await;
        let pause = match &sent {
            Ok(_) => Duration::ZERO,
            Err(error) => channel.retry.pause(known.value.tries, error.after, &mut rand::rng()),
        };
        if let Some(last) = known.value.attempts.last_mut() {
            last.took_ms = u64::try_from(self.clock.now().saturating_sub(began).as_millis()).ok();
        }
        self.settle(known, sent, channel.retry.tries, pause).await
    }

    /// Writes down what came of a try. If the delivery was changed meanwhile, what came of it is written into what it is now.
    async fn settle(
        &self,
        mut known: Known<Delivery>,
        sent: Result<Receipt, SendError>,
        tries: u32,
        pause: Duration,
    ) -> Result<(), OutboxError> {
        let attempt = known.value.attempts.last().cloned();
        let mut patience = 5;
        loop {
            let before = known.value.clone();
            record(&mut known.value, &sent, tries, later(wall(&*self.clock), pause));
            match self.outbox.save(&known, true).await {
                Ok(_) => break,
                Err(OutboxError::Changed(_)) => {
                    let Some(now) = self.outbox.get(&known.value.id).await? else { return Ok(()) };
                    known = now;
                    if let (Some(attempt), Some(last)) = (&attempt, known.value.attempts.last_mut()) {
                        last.clone_from(attempt);
                    }
                }
                // Somebody took it away.
                Err(OutboxError::Unknown(_)) => return Ok(()),
                // What was sent is not sent again for a database that stumbles.
                Err(OutboxError::Store(_)) if patience > 0 => {
                    patience -= 1;
                    known.value = before;
                    self.clock.sleep_until(self.clock.now() + DATABASE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        let count = match (&sent, known.value.state) {
            (Ok(_), _) => &self.counts.delivered,
            (Err(_), DeliveryState::Dead) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                &self.counts.dead
            }
            (Err(_), _) => &self.counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn sweep(&self) -> Result<usize, OutboxError> {
        let now = wall(&*self.clock);
        let before = |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        self.outbox.sweep(before(self.settings.keep_delivered), before(self.settings.keep_dead), 1_000).await
    }
}

fn record(delivery: &mut Delivery, sent: &Result<Receipt, SendError>, tries: u32, again_at: Timestamp) {
    let last = delivery.attempts.last_mut();
    match sent {
        Ok(receipt) => {
            if let Some(last) = last {
                last.status = receipt.status;
                last.answer = (!receipt.detail.is_empty()).then(|| receipt.detail.clone());
            }
            delivery.state = DeliveryState::Delivered;
        }
        Err(error) => {
            if let Some(last) = last {
                last.status = error.status;
                last.error = Some(error.reason.clone());
            }
            if error.again && delivery.tries < tries {
                delivery.not_before = again_at;
            } else {
                delivery.state = DeliveryState::Dead;
            }
        }
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
