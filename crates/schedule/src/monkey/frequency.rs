//! How often a monkey strikes, and the chance a day that follows from it.
//!
//! Chaos Monkey flips a coin for each group on each work day, with p = 1 / mean (its document "Termination behavior"). Without
//! a minimum, the number of work days from one kill to the next, X, is geometric: P(X = n) = (1 − p)ⁿ⁻¹ p for n ≥ 1, with
//! E\[X\] = 1/p, so the mean is what was asked. With a minimum of ε work days, the first ε − 1 days after a kill have no coin:
//! X = ε − 1 + G with G geometric, so E\[X\] = ε − 1 + 1/p. Chaos Monkey keeps p = 1/mean nevertheless and says so ("we don't
//! apply a correction for this"): asked for a mean of 5 with a minimum of 3 it kills every 7 work days. Here p is solved for the
//! mean that was asked:
//!
//! > p = 1 / (μ − ε + 1), for μ ≥ ε
//!
//! A minimum of 0 is a minimum of 1, as there is one coin a day; μ = ε means p = 1, a kill every μ work days exactly; μ < ε is
//! refused. Beyond the minimum the distribution has no memory, as before: how long ago the last kill was tells nothing about
//! the next one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Percent;
use squall_model::calendar::CalendarError;

/// How often something is done to each group: a `mean` time or a `probability`, and a `minimum` time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frequency {
    /// The mean time from one kill to the next, in work days, such as `5` or `2.5`. It is met whatever the minimum is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Instead of a mean: the chance of a kill on each work day on which the minimum allows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<Percent>,
    /// The shortest time from one kill to the next, in work days: 1 allows them on two work days in a row.
    #[serde(default = "one_day")]
    pub minimum: u32,
}

fn one_day() -> u32 {
    1
}

impl Default for Frequency {
    /// Chaos Monkey's: a mean of two work days, and a minimum of one.
    fn default() -> Self {
        Self { mean: Some(2.0), probability: None, minimum: 1 }
    }
}

impl Frequency {
    /// The minimum in work days, counted so that one kill a day is the most: 0 is 1.
    pub fn minimum_days(&self) -> u32 {
        self.minimum.max(1)
    }

    /// The chance of a kill on a work day on which the minimum allows one, from 0 to 1.
    pub fn chance(&self) -> Result<f64, CalendarError> {
        let wrong = |field, message: String, hint: &str| Err(CalendarError { field, message, hint: hint.into() });
        let minimum = f64::from(self.minimum_days());
        if self.minimum > 1000 {
            return wrong("minimum", format!("a minimum of {} work days is four years and more", self.minimum), "write up to 1000");
        }
        match (self.mean, self.probability) {
            (Some(mean), None) if !(mean.is_finite() && (1.0..=10_000.0).contains(&mean)) => {
                wrong("mean", format!("a mean of {mean} work days cannot be"), "write from 1 (every work day) to 10000")
            }
            (Some(mean), None) if mean < minimum => {
                let message = format!("the mean of {mean} work days is below the minimum of {minimum}");
                wrong("mean", message, "no time between kills is below the minimum, so their mean is not either")
            }
            (Some(mean), None) => Ok(1.0 / (mean - minimum + 1.0)),
            (None, Some(chance)) if chance.0 <= 0.0 => {
                wrong("probability", "with a probability of 0 nothing would ever happen".into(), "write `enabled: false`")
            }
            (None, Some(chance)) => Ok(chance.share()),
            (None, None) => {
                wrong("mean", "nothing says how often".into(), "write `mean: 5` (work days), or `probability: 20%` (a work day)")
            }
            (Some(_), Some(_)) => wrong("probability", "a mean and a probability say the same thing twice".into(), "keep one of them"),
        }
    }

    /// The mean time from one kill to the next that comes of it, in work days.
    pub fn expected_mean(&self) -> Result<f64, CalendarError> {
        Ok(f64::from(self.minimum_days()) - 1.0 + 1.0 / self.chance()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(mean: f64, minimum: u32) -> Frequency {
        Frequency { mean: Some(mean), probability: None, minimum }
    }

    #[test]
    fn the_chance_makes_up_for_the_minimum() {
        for (asked, minimum) in [(1.0, 0), (2.0, 0), (2.0, 1), (5.0, 3), (10.0, 3), (3.0, 3), (2.5, 2)] {
            let frequency = mean(asked, minimum);
            assert!((frequency.expected_mean().expect("good") - asked).abs() < 1e-12, "{asked} {minimum}");
        }
        assert_eq!(mean(5.0, 1).chance(), Ok(0.2), "as Chaos Monkey has it");
        assert_eq!(mean(5.0, 3).chance(), Ok(1.0 / 3.0));
        assert_eq!(mean(3.0, 3).chance(), Ok(1.0), "every third work day");
    }

    #[test]
    fn a_frequency_that_cannot_be_is_refused() {
        let error = |frequency: Frequency| frequency.chance().expect_err("refused").to_string();
        assert_eq!(error(mean(2.0, 3)), "`mean`: the mean of 2 work days is below the minimum of 3");
        assert_eq!(error(mean(0.5, 0)), "`mean`: a mean of 0.5 work days cannot be");
        assert_eq!(error(mean(f64::NAN, 0)), "`mean`: a mean of NaN work days cannot be");
        assert_eq!(error(Frequency { mean: None, probability: None, minimum: 1 }), "`mean`: nothing says how often");
        let both = Frequency { probability: Some(Percent(10.0)), ..mean(2.0, 1) };
        assert_eq!(error(both), "`probability`: a mean and a probability say the same thing twice");
    }
}
