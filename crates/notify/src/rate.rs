//! How many messages a channel takes a minute.

use std::time::Duration;

use crate::channel::Rate;

/// A token bucket (RFC 2697's single rate, without colours): it fills evenly, holds `burst`, and a message costs one.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    level: f64,
    at: Duration,
}

impl Bucket {
    /// A full one. `now` is monotonic.
    pub(crate) fn full(rate: Rate, now: Duration) -> Self {
        Self { level: f64::from(rate.burst), at: now }
    }

    /// Takes a token, or says when there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let a_second = f64::from(rate.per_minute) / 60.0;
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.level = (self.level + passed * a_second).min(f64::from(rate.burst));
        self.at = now;
        if self.level >= 1.0 - 1e-9 {
            self.level -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.level) / a_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let rate = Rate { per_minute: 60, burst: 3 };
        let mut now = Duration::from_secs(100);
        let mut bucket = Bucket::full(rate, now);
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, now), Ok(()));
        }
        let mut passed = 0;
        let end = now + Duration::from_mins(1);
        while now <= end {
            match bucket.take(rate, now) {
                Ok(()) => passed += 1,
                Err(later) => now = later,
            }
        }
        assert_eq!(passed, 60);
    }
}
