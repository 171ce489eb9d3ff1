//! `bandwidth`: so many bytes a second.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ending, Out, Stage, Toxic, noop::Passing};

/// Limits one direction of each connection.
///
/// A token bucket with carried credit (RFC 2697's committed rate, with a burst of one quantum): a timer that is late by some
/// milliseconds costs no throughput, and no 100 ms see more than a few percent over the rate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bandwidth {
    /// KB/s, of 1000 bytes. At 0 or below nothing passes until it changes.
    pub rate: i64,
}

/// How much lateness is made up for.
const CARRIED: Duration = Duration::from_millis(8);

impl Bandwidth {
    pub(super) fn stage(&self, _seed: u64) -> Box<dyn Stage> {
        Box::new(Limiting { toxic: self.clone(), queue: Passing::default(), free: Duration::ZERO, retired: false })
    }

    /// Bytes per second.
    fn rate(&self) -> f64 {
        self.rate.max(0) as f64 * 1e3
    }

    /// What passes at once: a millisecond's worth of a fast rate, five of a slow one.
    fn quantum(&self) -> usize {
        let rate = usize::try_from(self.rate).unwrap_or(0);
        // 1000 bytes a second are one byte a millisecond.
        (if rate >= 1000 { rate } else { rate * 5 }).max(1)
    }
}

struct Limiting {
    toxic: Bandwidth,
    queue: Passing,
    /// When the next piece may go.
    free: Duration,
    retired: bool,
}

impl Stage for Limiting {
    fn room(&self) -> usize {
        // Two quanta are enough to be never short of bytes; more would only hide the limit from the sender.
        (self.toxic.quantum() * 4).max(64 << 10).saturating_sub(self.queue.len())
    }

    fn push(&mut self, bytes: Bytes, now: Duration) {
        if self.queue.is_empty() {
            // Credit is for lateness, not for silence.
            self.free = self.free.max(now);
        }
        self.queue.put(bytes);
    }

    fn end(&mut self, _now: Duration) {
        self.queue.put_end();
    }

    fn pull(&mut self, now: Duration) -> Out {
        if self.retired || self.queue.is_empty() {
            return self.queue.next();
        }
        let rate = self.toxic.rate();
        if rate <= 0.0 {
            return Out::Idle;
        }
        if self.free > now {
            return Out::At(self.free);
        }
        let Some(bytes) = self.queue.take(self.toxic.quantum()) else { return Out::Idle };
        self.free = self.free.max(now.saturating_sub(CARRIED)) + Duration::from_secs_f64(bytes.len() as f64 / rate);
        Out::Bytes(bytes)
    }

    fn update(&mut self, toxic: &Toxic, now: Duration) -> bool {
        let Toxic::Bandwidth(bandwidth) = toxic else { return false };
        if *bandwidth != self.toxic {
            self.toxic = bandwidth.clone();
            self.free = now;
        }
        true
    }

    fn retire(&mut self, _now: Duration) -> Ending {
        self.retired = true;
        Ending::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that come out in each 100 ms of two seconds, with timers that are late by up to `late`.
    fn bins(rate: i64, late: Duration) -> Vec<f64> {
        let mut stage = Bandwidth { rate }.stage(1);
        let (mut now, mut bins, mut turn) = (Duration::ZERO, vec![0.0; 20], 0_u32);
        while now < Duration::from_secs(2) {
            while stage.room() > 0 {
                stage.push(Bytes::from(vec![0; stage.room().min(65_536)]), now);
            }
            match stage.pull(now) {
                Out::Bytes(bytes) => bins[usize::try_from(now.as_millis() / 100).unwrap()] += bytes.len() as f64,
                Out::At(at) => {
                    turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    now = at + late.mul_f64(f64::from(turn >> 8) / f64::from(1 << 24));
                }
                other => panic!("{other:?}"),
            }
        }
        bins
    }

    #[test]
    fn two_seconds_are_within_a_percent_and_no_tenth_over_110_percent_even_with_late_timers() {
        for rate in [10, 100, 1_000, 10_000, 100_000, 1_000_000] {
            for late in [0, 1, 3] {
                let bins = bins(rate, Duration::from_millis(late));
                let (asked, had) = (rate as f64 * 1e3, bins.iter().sum::<f64>() / 2.0);
                assert!((had / asked - 1.0).abs() <= 0.01, "{rate} KB/s with timers {late} ms late: {had} B/s");
                let most = bins.iter().copied().fold(0.0, f64::max) * 10.0 / asked;
                assert!(most <= 1.1, "{rate} KB/s with timers {late} ms late: {most} in a tenth of a second");
            }
        }
    }

    #[test]
    fn at_zero_nothing_passes_until_it_changes() {
        for rate in [0, -1] {
            let mut stage = Bandwidth { rate }.stage(1);
            stage.push(Bytes::from_static(b"abc"), Duration::ZERO);
            assert_eq!(stage.pull(Duration::from_secs(100)), Out::Idle);
            assert!(stage.update(&Toxic::Bandwidth(Bandwidth { rate: 1 }), Duration::from_secs(100)));
            assert_eq!(stage.pull(Duration::from_secs(100)), Out::Bytes(Bytes::from_static(b"abc")));
        }
    }
}
