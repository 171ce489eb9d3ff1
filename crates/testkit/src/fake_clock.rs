//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::time::Duration;

use squall_engine::{BoxFuture, Clock};
use tokio::sync::watch;

/// A clock for tests. Clones show the same time.
#[derive(Debug, Clone)]
pub struct FakeClock {
    now: Arc<watch::Sender<Duration>>,
}

impl FakeClock {
    /// A clock that shows this time.
    pub fn at(now: Duration) -> Self {
        Self { now: Arc::new(watch::Sender::new(now)) }
    }

    /// Moves it on, and wakes whoever waits for a time up to then.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }

    /// How many wait for a time that has not come.
    pub fn waiting(&self) -> usize {
        self.now.receiver_count()
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::at(Duration::from_secs(1_000))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let sender = self.now.clone();
        let mut now = sender.subscribe();
        Box::pin(async move {
            // The sender is held here, so it cannot be gone.
            let _ = now.wait_for(|now| *now >= deadline).await;
            drop(sender);
        })
    }

    /// Counts from the start of 2026.
    fn wall(&self) -> String {
        let now = self.now();
        let (seconds, millis) = (now.as_secs(), now.subsec_millis());
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        format!("2026-01-{:02}T{:02}:{:02}:{:02}.{millis:03}Z", days + 1, rest / 3600, rest % 3600 / 60, rest % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_sleeps_wakes_when_the_time_has_come_and_not_before() {
        let clock = FakeClock::default();
        let deadline = clock.now() + Duration::from_secs(10);
        let sleeper = tokio::spawn(clock.sleep_until(deadline));
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("woken");
        assert_eq!((clock.now(), clock.waiting()), (deadline, 0));
        assert_eq!(clock.wall(), "2026-01-01T00:16:50.000Z");
    }
}
