//! Time for a worker: one heap of deadlines behind one `timerfd` a thread.
//!
//! A runtime's own timer has a resolution of a millisecond and overshoots by about one more; a `timerfd` (`timerfd_create(2)`)
//! is late by the time it takes to be scheduled, some 50 to 130 µs. `CLOCK_MONOTONIC`, which no clock fault can skew.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;

/// Now, since some fixed moment in the past (`CLOCK_MONOTONIC`).
pub fn now() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Resolves at `deadline` (on the clock of [`now`]), at once if that is over.
///
/// The future belongs to its thread, which must run a tokio runtime for current threads. An error is that of
/// `timerfd_create`, when the process has no descriptor left.
pub fn sleep_until(deadline: Duration) -> Sleep {
    Sleep { deadline, entry: None }
}

/// Resolves after `length`; see [`sleep_until`].
pub fn sleep(length: Duration) -> Sleep {
    sleep_until(now().saturating_add(length))
}

/// The future of [`sleep_until`]. Dropping it cancels it.
#[derive(Debug)]
pub struct Sleep {
    deadline: Duration,
    entry: Option<u64>,
}

impl Sleep {
    /// When it resolves.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Moves the deadline. The next poll registers it.
    pub fn reset(&mut self, deadline: Duration) {
        if deadline != self.deadline {
            self.cancel();
            self.deadline = deadline;
        }
    }

    fn cancel(&mut self) {
        if let Some(id) = self.entry.take() {
            TIMERS.with_borrow_mut(|timers| {
                if let Some(timers) = timers {
                    timers.waiting.remove(&(self.deadline, id));
                }
            });
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Future for Sleep {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if now() >= self.deadline {
            self.cancel();
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let registered = TIMERS.with_borrow_mut(|timers| {
            if timers.is_none() {
                *timers = Some(Timers::start()?);
            }
            timers.as_mut().map_or(Ok(()), |timers| timers.register(this.deadline, &mut this.entry, cx.waker()))
        });
        match registered {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

thread_local! {
    static TIMERS: RefCell<Option<Timers>> = const { RefCell::new(None) };
}

struct Timers {
    fd: Arc<AsyncFd<OwnedFd>>,
    waiting: BTreeMap<(Duration, u64), Waker>,
    next_id: u64,
    armed: Option<Duration>,
}

impl Timers {
    fn start() -> io::Result<Self> {
        let fd = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let fd = Arc::new(watch(fd)?);
        tokio::spawn(drive(fd.clone(), Ended));
        Ok(Self { fd, waiting: BTreeMap::new(), next_id: 0, armed: None })
    }

    fn register(&mut self, deadline: Duration, entry: &mut Option<u64>, waker: &Waker) -> io::Result<()> {
        let id = *entry.get_or_insert_with(|| {
            self.next_id += 1;
            self.next_id
        });
        match self.waiting.get_mut(&(deadline, id)) {
            Some(known) => known.clone_from(waker),
            None => {
                self.waiting.insert((deadline, id), waker.clone());
            }
        }
        if self.armed.is_none_or(|armed| deadline < armed) { self.arm(deadline) } else { Ok(()) }
    }

    fn arm(&mut self, deadline: Duration) -> io::Result<()> {
        let at = Timespec {
            tv_sec: i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX),
            // Zero would disarm it.
            tv_nsec: i64::from(deadline.subsec_nanos()).max(1),
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::time::timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval: never, it_value: at })?;
        self.armed = Some(deadline);
        Ok(())
    }

    /// Wakes all that are due, and arms for the next.
    fn fire(&mut self) -> io::Result<Vec<Waker>> {
        let later = self.waiting.split_off(&(now() + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut self.waiting, later);
        self.armed = None;
        if let Some(((next, _), _)) = self.waiting.first_key_value() {
            self.arm(*next)?;
        }
        Ok(due.into_values().collect())
    }
}

#[expect(
    deprecated,
    reason = "deprecated for types whose AsRawFd may change its answer (tokio #8587); an OwnedFd gives the same open descriptor as long as it lives, and the replacement is unsafe to call, which this crate forbids"
)]
fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)
}

/// Takes the timers with it when its runtime ends, so that the thread's next runtime starts its own.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        // A thread that ends has no timers any more.
        let _ = TIMERS.try_with(RefCell::take);
    }
}

async fn drive(fd: Arc<AsyncFd<OwnedFd>>, ended: Ended) {
    let _ended = ended;
    while let Ok(mut ready) = fd.readable().await {
        let mut expirations = [0; 8];
        // EAGAIN: it was armed anew in the meantime.
        if rustix::io::read(fd.get_ref(), &mut expirations).is_err() {
            ready.clear_ready();
            continue;
        }
        let due = TIMERS.with_borrow_mut(|timers| timers.as_mut().map(Timers::fire));
        for waker in due.and_then(Result::ok).unwrap_or_default() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Whether it has to wait, asked once.
    fn now_or_later(sleep: impl Future<Output = io::Result<()>> + Unpin) -> bool {
        futures_util::FutureExt::now_or_never(sleep).is_none()
    }

    #[test]
    fn sleeps_end_in_the_order_of_their_deadlines_and_not_before() {
        let order = run(async {
            let (order, at) = (RefCell::new(Vec::new()), now());
            let one = async |ms: u64| {
                let deadline = at + Duration::from_millis(ms);
                sleep_until(deadline).await.unwrap();
                assert!(now() >= deadline);
                order.borrow_mut().push(ms);
            };
            tokio::join!(one(30), one(10), one(20), one(0));
            order.into_inner()
        });
        assert_eq!(order, [0, 10, 20, 30]);
    }

    #[test]
    fn a_second_runtime_on_the_same_thread_has_timers_of_its_own() {
        for _ in 0..2 {
            run(async { sleep(Duration::from_millis(1)).await.unwrap() });
        }
    }

    #[test]
    fn a_dropped_or_moved_sleep_leaves_nothing_waiting() {
        run(async {
            let mut moved = sleep(Duration::from_secs(1000));
            assert!(now_or_later(&mut moved));
            moved.reset(now());
            moved.await.unwrap();
            let mut dropped = Box::pin(sleep(Duration::from_secs(1000)));
            assert!(now_or_later(&mut dropped));
            drop(dropped);
            TIMERS.with_borrow(|timers| assert!(timers.as_ref().unwrap().waiting.is_empty()));
        });
    }
}
