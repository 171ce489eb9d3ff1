//! Time that nobody can set.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use squall_engine::{BoxFuture, Clock};

/// The longest single wait: `tokio` counts on `CLOCK_MONOTONIC`, which stands still while the host sleeps, so a long wait
/// looks at the right clock again and again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// `CLOCK_BOOTTIME` (`clock_gettime(2)`): counts from boot, goes on while the host sleeps, and cannot be set.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl BootClock {
    /// The clock.
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for BootClock {
    fn now(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one clock that turns deadlines into waits")]
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let clock = *self;
        Box::pin(async move {
            while let Some(left) = deadline.checked_sub(clock.now()).filter(|left| !left.is_zero()) {
                tokio::time::sleep(left.min(LOOK_EVERY)).await;
            }
        })
    }

    fn wall(&self) -> String {
        jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_at_its_deadline_and_not_before() {
        let clock = BootClock::new();
        let deadline = clock.now() + Duration::from_millis(30);
        clock.sleep_until(deadline).await;
        assert!(clock.now() >= deadline);
        // One in the past ends at once.
        clock.sleep_until(Duration::ZERO).await;
    }

    #[test]
    fn the_wall_clock_is_written_as_rfc_3339_in_utc() {
        let wall = BootClock::new().wall();
        let read: jiff::Timestamp = wall.parse().expect("RFC 3339");
        assert!(wall.ends_with('Z') && wall.len() == "2026-01-01T00:00:00.000Z".len(), "{wall}");
        assert!(read > jiff::Timestamp::UNIX_EPOCH);
    }
}
