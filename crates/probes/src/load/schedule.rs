//! When each request is due. Everything follows from the seed and the number of the arrival.

use std::time::Duration;

use squall_model::{Arrivals, HttpTraffic, Traffic};

/// Arrivals of one traffic, one after another.
///
/// With the rate r(t), the expected number of arrivals until t is Λ(t) = ∫ r. Arrival k of an even stream is where Λ
/// reaches k; of a Poisson process, where it reaches the sum of k exponential gaps of mean 1 (the time-rescaling theorem).
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    rate: f64,
    from: f64,
    over: f64,
    poisson: bool,
    seed: u64,
    next: u64,
    reached: f64,
}

impl Schedule {
    pub(crate) fn new(traffic: &Traffic, seed: u64) -> Self {
        let rate = traffic.rate.0;
        let (from, over) = traffic.ramp.map_or((rate, 0.0), |ramp| (ramp.from.0, ramp.over.seconds()));
        let poisson = traffic.arrivals == Arrivals::Poisson;
        let mut schedule = Self { rate, from, over, poisson, seed: stream_seed(seed, &traffic.name), next: 0, reached: 0.0 };
        if poisson {
            schedule.reached = schedule.gap();
        }
        schedule
    }

    /// When the next request is due, from the start of the traffic; `None` if never.
    pub(crate) fn due(&self) -> Option<Duration> {
        let at = self.time_of(self.reached)?;
        // Further away than any run lasts is never.
        (at < 3.2e9).then(|| Duration::from_secs_f64(at))
    }

    /// Goes on to the arrival after that, and gives the number of the one that was due.
    pub(crate) fn advance(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        if self.poisson {
            self.reached += self.gap();
        } else {
            self.reached = self.next as f64;
        }
        number
    }

    /// Which kind of request the arrival is.
    pub(crate) fn kind(&self, number: u64, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        if total == 0 || weights.len() < 2 {
            return 0;
        }
        let mut pick = mix(self.seed ^ 0x6b69_6e64, number) % total;
        for (index, weight) in weights.iter().enumerate() {
            let weight = u64::from(*weight);
            if pick < weight {
                return index;
            }
            pick -= weight;
        }
        0
    }

    fn gap(&self) -> f64 {
        // In (0, 1]: 53 random bits, never zero, so the logarithm is finite.
        let unit = ((mix(self.seed, self.next) >> 11) as f64 + 1.0) / 9_007_199_254_740_992.0;
        -unit.ln()
    }

    /// Λ⁻¹: the time at which so many arrivals are expected to have been.
    fn time_of(&self, arrivals: f64) -> Option<f64> {
        let in_ramp = f64::midpoint(self.from, self.rate) * self.over;
        if arrivals < in_ramp {
            // from·t + (rate − from)/(2·over)·t² = arrivals, solved in the form that stays exact when the ramp is flat.
            let slope = (self.rate - self.from) / self.over;
            let root = (self.from * self.from + 2.0 * slope * arrivals).max(0.0).sqrt();
            return Some(if arrivals == 0.0 { 0.0 } else { 2.0 * arrivals / (self.from + root) });
        }
        (self.rate > 0.0).then(|| self.over + (arrivals - in_ramp) / self.rate)
    }
}

/// The weights of the kinds of request, in order.
pub(crate) fn weights(kinds: &[HttpTraffic]) -> Vec<u32> {
    kinds.iter().map(|kind| kind.weight).collect()
}

/// Each traffic of a run has its own stream of chances.
fn stream_seed(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed, 0), |hash, byte| mix(hash, u64::from(byte)))
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014) as a keyed hash.
fn mix(key: u64, number: u64) -> u64 {
    let mut z = key.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(json: serde_json::Value) -> Traffic {
        serde_json::from_value(json).expect("traffic")
    }

    fn times(traffic: &Traffic, seed: u64, count: usize) -> Vec<f64> {
        let mut schedule = Schedule::new(traffic, seed);
        (0..count)
            .map(|_| {
                let due = schedule.due().expect("due").as_secs_f64();
                schedule.advance();
                due
            })
            .collect()
    }

    #[test]
    fn constant_arrivals_are_spaced_evenly() {
        let times = times(&traffic(serde_json::json!({ "name": "a", "rate": "200/s" })), 1, 1001);
        for (k, time) in times.iter().enumerate() {
            assert!((time - k as f64 / 200.0).abs() < 1e-6, "{k}: {time}");
        }
    }

    #[test]
    fn a_ramp_passes_through_every_rate_on_its_way() {
        let ramp = serde_json::json!({ "name": "a", "rate": "100/s", "ramp": { "from": "0/s", "over": "10s" } });
        let times = times(&traffic(ramp), 1, 1500);
        // Half a ramp from 0 to 100/s over 10 s has seen 5 s × 25/s on average; all of it 500.
        assert_eq!(times.iter().filter(|t| **t < 5.0).count(), 125);
        assert_eq!(times.iter().filter(|t| **t < 10.0).count(), 500);
        assert_eq!(times.iter().filter(|t| **t < 11.0).count(), 600);
        let down = serde_json::json!({ "name": "a", "rate": "0/s", "ramp": { "from": "100/s", "over": "10s" } });
        let mut schedule = Schedule::new(&traffic(down), 1);
        let mut count = 0;
        while schedule.due().is_some() && count < 1000 {
            schedule.advance();
            count += 1;
        }
        assert_eq!(count, 500);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_and_follow_the_seed() {
        let poisson = traffic(serde_json::json!({ "name": "a", "rate": "100/s", "arrivals": "poisson" }));
        let times = times(&poisson, 7, 20_000);
        assert!((times[19_999] - 200.0).abs() < 5.0, "{}", times[19_999]);
        let gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((deviation / mean - 1.0).abs() < 0.05, "an exponential gap deviates by its mean, not {}", deviation / mean);
        assert_eq!(times[..50], self::times(&poisson, 7, 50)[..]);
        assert_ne!(times[..50], self::times(&poisson, 8, 50)[..]);
    }

    #[test]
    fn kinds_come_in_proportion_to_their_weights() {
        let schedule = Schedule::new(&traffic(serde_json::json!({ "name": "a", "rate": "1/s" })), 3);
        let mut counts = [0_u32; 3];
        for number in 0..10_000 {
            counts[schedule.kind(number, &[1, 0, 3])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((f64::from(counts[2]) / 10_000.0 - 0.75).abs() < 0.02, "{counts:?}");
    }
}
