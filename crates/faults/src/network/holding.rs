//! What the faults that hold or change packets have in common: how many may be held, and what is checked.

use std::time::Duration;

use squall_engine::ArgError;
use squall_model::Percent;

use super::shape::{Rate, Share};

/// Held at the least, whatever delay and rate: netem's own default, which is too few above 10,000 packets/s at 100 ms.
const LEAST: u64 = 1_000;
/// Held at the most unless the user says more: 64 bytes of each are copied, and the kernel keeps the whole packet.
const MOST: u64 = 200_000;
/// Packets a second on a line of 10 Gbit/s full of packets of 1500 bytes.
const FULL_LINE: f64 = 833_000.0;

/// How many packets have to be held for this delay at this rate, so that none is dropped without the user's wish: delay × rate
/// in packets of the smallest usual size (64 bytes) where a rate is given, of a full line otherwise.
pub(super) fn limit(longest: Duration, rate: Option<Rate>) -> u32 {
    let each_second = rate.map_or(FULL_LINE, |rate| (rate.bytes_per_second as f64 / 64.0).min(FULL_LINE));
    // A rate makes a queue of its own: a second of it, and the burst.
    let behind_rate = rate.map_or(0, |rate| (rate.bytes_per_second + rate.burst) / 64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a delay of hours at a full line is far below 2^63")]
    let delayed = (longest.as_secs_f64() * each_second) as u64;
    u32::try_from((delayed + behind_rate).clamp(LEAST, MOST)).unwrap_or(u32::MAX)
}

/// A share as the user writes it.
pub(super) fn share(percent: Percent, correlation: Option<Percent>) -> Share {
    Share { probability: percent.share(), correlation: correlation.map_or(0.0, Percent::share) }
}

/// A share of 0 does nothing.
pub(super) fn check_share(name: &str, percent: Percent) -> Option<ArgError> {
    (percent.0 <= 0.0).then(|| ArgError::field(name, "0% does nothing", Some("write a share such as `10%`".to_owned())))
}

/// A correlation of 100% makes every draw like the first.
pub(super) fn check_correlation(correlation: Option<Percent>) -> Option<ArgError> {
    let hint = || Some("write 0% to 99%, such as `25%`".to_owned());
    correlation.filter(|c| c.0 >= 100.0).map(|_| ArgError::field("correlation", "every packet would fare like the first", hint()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_from_delay_and_rate() {
        let slow = Rate { bytes_per_second: 125_000, burst: 1_500 };
        assert_eq!(limit(Duration::ZERO, None), 1_000);
        assert_eq!(limit(Duration::from_millis(100), None), 83_300);
        assert_eq!(limit(Duration::from_millis(500), Some(slow)), 2_952);
        assert_eq!(limit(Duration::from_hours(1), None), 200_000);
    }
}
