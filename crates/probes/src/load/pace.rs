//! Waiting with the precision of the kernel's timers. The runtime's own timer counts whole milliseconds, which is as long
//! as a fast answer takes.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use tokio::io::unix::AsyncFd;

/// A timer of the kernel (`timerfd_create(2)`) in the runtime's event loop.
#[derive(Debug)]
pub struct Pacer(AsyncFd<OwnedFd>);

impl Pacer {
    /// Must be made within a runtime.
    pub fn new() -> io::Result<Self> {
        // CLOCK_BOOTTIME goes on through a suspend, like the clock that the schedule is kept by.
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(watch_readable(timer)?))
    }

    /// Returns when the time has passed. Can be dropped and called again.
    pub async fn sleep(&self, time: Duration) -> io::Result<()> {
        if time.is_zero() {
            return Ok(());
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval: zero, it_value: value })?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut expirations = [0; 8];
            // Otherwise it was readiness left over from before the timer was set anew.
            if let Ok(result) = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)) {
                return result.map(drop);
            }
        }
    }
}

/// A descriptor in the runtime's event loop, woken when it can be read.
#[expect(
    deprecated,
    reason = "deprecated for types whose AsRawFd may change its answer (tokio #8587); an OwnedFd gives the same open descriptor as long as it lives, and the replacement is unsafe to call, which this crate forbids"
)]
pub(crate) fn watch_readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)
}
