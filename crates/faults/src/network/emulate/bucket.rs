//! A limit of the rate: a token bucket that makes packets wait in line instead of dropping them.

use std::time::Duration;

use crate::network::Rate;

const SECOND: u128 = 1_000_000_000;

/// The bucket. Times are kept in nanoseconds times bytes a second, in which a byte takes a whole number: nothing is rounded
/// but each release, up to the next nanosecond, so that the rate is exact in the long run and never above.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u128,
    burst: u128,
    /// When it is full again.
    full: u128,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate: u128::from(rate.bytes_per_second.max(1)), burst: u128::from(rate.burst), full: 0 }
    }

    /// When a packet that comes now may leave: once there are tokens for all of it. One that is longer than the burst waits
    /// for what is missing, with the bucket full (on an empty line, without a burst: the time that its bytes take).
    pub(super) fn take(&mut self, now: Duration, length: u32) -> Duration {
        let (now, length) = (now.as_nanos() * self.rate, u128::from(length));
        let full = self.full.max(now);
        self.full = full + length * SECOND;
        let release = now.max(self.full.saturating_sub(self.burst * SECOND));
        Duration::from_nanos(u64::try_from(release.div_ceil(self.rate)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(Rate { bytes_per_second: 1000, burst: 300 });
        let at = Duration::from_secs(5);
        let after: Vec<u128> = (0..5).map(|_| (bucket.take(at, 100) - at).as_millis()).collect();
        assert_eq!(after, [0, 0, 0, 100, 200]);
        // After a pause the burst is there again, and no more than that.
        let at = Duration::from_secs(9);
        let after: Vec<u128> = (0..4).map(|_| (bucket.take(at, 100) - at).as_millis()).collect();
        assert_eq!(after, [0, 0, 0, 100]);
    }

    #[test]
    fn without_a_burst_each_packet_takes_its_time_on_the_line() {
        let mut bucket = Bucket::new(Rate { bytes_per_second: 1000, burst: 0 });
        let at = Duration::from_secs(1);
        assert_eq!((bucket.take(at, 100) - at).as_millis(), 100);
        assert_eq!((bucket.take(at, 50) - at).as_millis(), 150);
        // Longer than the burst: what is missing.
        let mut bucket = Bucket::new(Rate { bytes_per_second: 1000, burst: 40 });
        assert_eq!((bucket.take(at, 100) - at).as_millis(), 60);
        assert_eq!((bucket.take(at, 100) - at).as_millis(), 160);
    }
}
