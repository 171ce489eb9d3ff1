//! When to try again.

use std::time::Duration;

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Time;
use utoipa::ToSchema;

use crate::channel::Mistake;

/// How often and when a delivery is tried again. The pause before the n-th repetition is anything from 0 to `base` · 2ⁿ, at most
/// `cap`, all equally likely ("full jitter": Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015), and never
/// less than what the receiver asks for with `Retry-After`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ChannelRetry)]
pub struct Retry {
    /// After so many tries it is a dead letter.
    #[schemars(range(min = 1, max = 100))]
    pub tries: u32,
    /// The longest pause before the first repetition.
    #[schema(value_type = String, example = "5s")]
    pub base: Time,
    /// The longest pause of all.
    #[schema(value_type = String, example = "30m")]
    pub cap: Time,
}

impl Default for Retry {
    /// 12 tries over 2 hours on average, 5 at most.
    fn default() -> Self {
        Self { tries: 12, base: Time::from_secs(5), cap: Time::from_secs(30 * 60) }
    }
}

/// The longest that a receiver may ask for.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

impl Retry {
    /// The pause after so many tries that failed.
    pub fn pause(&self, tries: u32, asked: Option<Duration>, random: &mut impl Rng) -> Duration {
        let doublings = tries.saturating_sub(1).min(32);
        let most = self.base.std().saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.cap.std());
        let pause = most.mul_f64(random.random::<f64>());
        pause.max(asked.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }

    /// The longest pause that can come about.
    pub(crate) fn longest(&self) -> Duration {
        self.cap.std().max(LONGEST_RETRY_AFTER)
    }

    pub(crate) fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if !(1..=100).contains(&self.tries) {
            mistakes.push(Mistake::new("retry.tries", format!("{} is not from 1 to 100", self.tries), "write 12, for example"));
        }
        let (base, cap) = (self.base.std(), self.cap.std());
        if base < Duration::from_millis(100) {
            mistakes.push(Mistake::new("retry.base", format!("{} is shorter than 100ms", self.base), "write 5s, for example"));
        }
        if cap < base || cap > LONGEST_RETRY_AFTER {
            mistakes.push(Mistake::new("retry.cap", format!("{} is not from `base` to 24h", self.cap), "write 30m, for example"));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_grow_up_to_the_cap_and_are_spread_over_all_of_it() {
        let retry = Retry { tries: 9, base: Time::from_secs(1), cap: Time::from_secs(8) };
        let mut random = StdRng::seed_from_u64(7);
        for (tries, most) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (60, 8.0)] {
            let pauses: Vec<f64> = (0..2_000).map(|_| retry.pause(tries, None, &mut random).as_secs_f64()).collect();
            let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
            assert!(pauses.iter().all(|pause| (0.0..=most).contains(pause)));
            assert!((mean / most - 0.5).abs() < 0.03, "after {tries} tries: {mean} of {most}");
        }
    }

    #[test]
    fn a_receiver_gets_the_time_that_it_asks_for_within_a_day() {
        let mut random = StdRng::seed_from_u64(7);
        let hour = Duration::from_hours(1);
        assert_eq!(Retry::default().pause(1, Some(hour), &mut random), hour);
        assert_eq!(Retry::default().pause(1, Some(hour * 1000), &mut random), LONGEST_RETRY_AFTER);
    }
}
