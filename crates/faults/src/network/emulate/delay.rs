//! How long packets are held back.

use std::time::Duration;

use super::draw::Draw;
use super::normal;
use crate::network::{Delay, Distribution};

/// What 1 is in a table (`NETEM_DIST_SCALE`).
const SCALE: f64 = 8192.0;
/// Entries of a table. netem takes up to 16384 (`NETEM_DIST_MAX`).
const ENTRIES: usize = 4096;
/// Of the Pareto distribution: the least that has a variance to speak of, and what `tc`'s own table has.
const SHAPE: f64 = 3.0;

/// The inverse cumulative distribution function at equal steps, with mean 0, standard deviation 1, times 8192; the form of
/// `tc`'s `*.dist` files and of netem's `TCA_NETEM_DELAY_DIST`. `None` for the uniform distribution, which needs none. It ends
/// at ±4 standard deviations, as 16 bits hold no more.
pub fn table(distribution: &Distribution) -> Option<Vec<i16>> {
    let pareto = |share: f64| (1.0 - share).powf(-1.0 / SHAPE);
    match distribution {
        Distribution::Uniform => None,
        Distribution::Normal => Some(standard(normal::quantile)),
        Distribution::Pareto => Some(standard(pareto)),
        // Each in its own units of standard deviations.
        Distribution::ParetoNormal => {
            let (mean, deviation) = (SHAPE / (SHAPE - 1.0), (SHAPE / (SHAPE - 2.0)).sqrt() / (SHAPE - 1.0));
            Some(standard(|share| 0.25 * normal::quantile(share) + 0.75 * (pareto(share) - mean) / deviation))
        }
        Distribution::Table(table) => Some(table.clone()),
    }
}

/// Scales and shifts quantiles so that what is left after the ends are cut has mean 0 and standard deviation 1.
fn standard(quantile: impl Fn(f64) -> f64) -> Vec<i16> {
    let mut values: Vec<f64> = (0..ENTRIES).map(|index| quantile((index as f64 + 0.5) / ENTRIES as f64)).collect();
    let (least, most) = (f64::from(i16::MIN) / SCALE, f64::from(i16::MAX) / SCALE);
    let count = ENTRIES as f64;
    for _ in 0..200 {
        let mean = values.iter().sum::<f64>() / count;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
        for value in &mut values {
            *value = ((*value - mean) / deviation).clamp(least, most);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds of 16 bits")]
    let entry = |value: f64| (value * SCALE).round() as i16;
    values.into_iter().map(entry).collect()
}

/// A source of delays.
#[derive(Debug)]
pub(super) struct Delays {
    base: f64,
    jitter: f64,
    table: Option<Vec<i16>>,
    draw: Draw,
}

impl Delays {
    pub(super) fn new(delay: &Delay, seed: u64, stream: u64) -> Self {
        Self {
            base: delay.base.as_secs_f64(),
            jitter: delay.jitter.as_secs_f64(),
            table: table(&delay.distribution).filter(|table| !table.is_empty()),
            draw: Draw::new(seed, stream, delay.correlation),
        }
    }

    /// The next one. None is below zero: a packet cannot leave before it came.
    pub(super) fn next(&mut self) -> Duration {
        if self.jitter <= 0.0 {
            return Duration::from_secs_f64(self.base);
        }
        let share = self.draw.uniform();
        let offset = match &self.table {
            None => 2.0 * share - 1.0,
            Some(table) => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the length of the table")]
                let index = (share * table.len() as f64) as usize;
                f64::from(table[index.min(table.len() - 1)]) / SCALE
            }
        };
        Duration::from_secs_f64((self.base + self.jitter * offset).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
    }

    fn all() -> [Distribution; 5] {
        let own = Distribution::Table((0..100).map(|n| n * 163 - 8068).collect());
        [Distribution::Uniform, Distribution::Normal, Distribution::Pareto, Distribution::ParetoNormal, own]
    }

    #[test]
    fn tables_rise_and_have_mean_zero_and_deviation_one() {
        for distribution in &all()[1..4] {
            let table = table(distribution).expect("a table");
            assert!(table.is_sorted() && table.len() == ENTRIES);
            let (mean, deviation) = moments(&table.iter().map(|v| f64::from(*v) / SCALE).collect::<Vec<_>>());
            assert!(mean.abs() < 0.001 && (deviation - 1.0).abs() < 0.001, "{distribution:?}: {mean} {deviation}");
        }
        assert_eq!(table(&Distribution::Uniform), None);
        // The one with the tail reaches further up than down, and the mixture is between both.
        let span = |d| table(d).map(|t| (t[ENTRIES / 1000], t[ENTRIES / 2])).expect("a table");
        let [_, normal, pareto, mixed, _] = all();
        assert!(span(&normal).0 < span(&mixed).0 && span(&mixed).0 < span(&pareto).0);
        assert!(span(&pareto).1 < span(&mixed).1 && span(&mixed).1 < span(&normal).1);
    }

    #[test]
    fn delays_follow_their_distribution_with_and_without_correlation() {
        const COUNT: usize = 50_000;
        let (base, jitter) = (Duration::from_millis(100), Duration::from_millis(10));
        for (distribution, correlation) in all().into_iter().flat_map(|d| [(d.clone(), 0.0), (d, 0.5)]) {
            let delay = Delay { base, jitter, correlation, distribution: distribution.clone() };
            let mut delays = Delays::new(&delay, 5, 6);
            // Neighbours are alike where there is correlation: for the test, every 20th counts.
            let skip = if correlation > 0.0 { 20 } else { 1 };
            let mut units: Vec<f64> = (0..COUNT * skip).map(|_| (delays.next().as_secs_f64() - 0.1) / 0.01).step_by(skip).collect();
            units.sort_by(f64::total_cmp);
            // Kolmogorov–Smirnov at 1%: 1.628 / √n. Against a function with steps the statistic is smaller, never greater.
            let table = table(&distribution);
            let expected = |value: f64| match &table {
                None => f64::midpoint(value, 1.0).clamp(0.0, 1.0),
                Some(table) => table.partition_point(|entry| f64::from(*entry) / SCALE <= value + 1e-6) as f64 / table.len() as f64,
            };
            let steps = |count: usize, value: f64| (expected(value) - count as f64 / COUNT as f64).abs();
            let most = units.iter().enumerate().map(|(index, value)| match delay.distribution {
                Distribution::Uniform => steps(index, *value).max(steps(index + 1, *value)),
                _ => steps(units.partition_point(|unit| *unit <= value + 1e-6), *value),
            });
            let most = most.fold(0.0, f64::max);
            assert!(most < 1.628 / (COUNT as f64).sqrt(), "{distribution:?} {correlation}: {most}");
        }
    }

    #[test]
    fn a_delay_is_never_below_zero_and_without_jitter_always_the_same() {
        let mut delay = Delay {
            base: Duration::from_millis(1),
            jitter: Duration::from_millis(10),
            correlation: 0.0,
            distribution: Distribution::Normal,
        };
        let mut delays = Delays::new(&delay, 1, 1);
        let zeroes = (0..10_000).filter(|_| delays.next().is_zero()).count();
        assert!((4000..5200).contains(&zeroes), "{zeroes}");
        delay.jitter = Duration::ZERO;
        let mut delays = Delays::new(&delay, 1, 1);
        assert!((0..10).all(|_| delays.next() == Duration::from_millis(1)));
    }
}
