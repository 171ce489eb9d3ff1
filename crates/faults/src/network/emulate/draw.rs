//! Random draws, each like the one before as far as it is asked for.
//!
//! The draw is netem's (`get_crandom`): `x = (1 - c)·u + c·x'`, with `u` uniform, `x'` the draw before and `c` the correlation.
//! Such draws are no longer uniform: the higher the correlation, the more they crowd around a half, so that netem with "loss 10%
//! 50%" loses far fewer than one in ten. Here the stationary distribution of `x` is computed, and a share of `p` means `x` below
//! its `p`-quantile: the share is exact, and [`threshold`] is what netem must be given so that it loses the same.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::normal;
use crate::network::Share;

/// Points of a distribution function.
const GRID: usize = 4096;
/// A higher correlation is taken for this: at 1 all draws would be the same for ever.
const MOST: f64 = 0.9999;
/// Above it, the normal distribution is closer than what the grid resolves.
const NORMAL_ABOVE: f64 = 0.95;

/// A source of draws.
#[derive(Debug)]
pub(super) struct Draw {
    random: StdRng,
    correlation: f64,
    last: f64,
    stationary: Option<Stationary>,
}

impl Draw {
    /// With a stream of its own of the seed, so that what one draws does not depend on what else there is.
    pub(super) fn new(seed: u64, stream: u64, correlation: f64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let correlation = correlation.clamp(0.0, MOST);
        let stationary = (correlation > 0.0).then(|| Stationary::new(correlation));
        let mut draw = Self { random, correlation, last: 0.5, stationary };
        if correlation > 0.0 {
            // Into the stationary state.
            let mut left = 1.0;
            while left > 1e-4 {
                draw.raw();
                left *= correlation;
            }
        }
        draw
    }

    /// netem's draw, 0 to 1, not uniform.
    fn raw(&mut self) -> f64 {
        let value: f64 = self.random.random();
        self.last = (1.0 - self.correlation) * value + self.correlation * self.last;
        self.last
    }

    /// Uniform in 0 to 1, 1 excluded.
    pub(super) fn uniform(&mut self) -> f64 {
        let raw = self.raw();
        self.stationary.as_ref().map_or(raw, |stationary| stationary.below(raw)).min(1.0 - f64::EPSILON)
    }

    /// A bit from a range.
    pub(super) fn place(&mut self, range: std::ops::Range<u32>) -> u32 {
        if range.is_empty() { range.start } else { self.random.random_range(range) }
    }
}

/// Something that happens to a share of packets.
#[derive(Debug)]
pub(super) struct Chance {
    draw: Draw,
    threshold: f64,
}

impl Chance {
    pub(super) fn new(share: &Share, seed: u64, stream: u64) -> Self {
        Self { draw: Draw::new(seed, stream, share.correlation), threshold: threshold(share) }
    }

    pub(super) fn happens(&mut self) -> bool {
        self.threshold > 0.0 && self.draw.raw() < self.threshold
    }

    pub(super) fn place(&mut self, range: std::ops::Range<u32>) -> u32 {
        self.draw.place(range)
    }
}

/// What netem must be given as a probability for its correlated draws to hit that share of packets. Without correlation: the
/// probability itself.
pub fn threshold(share: &Share) -> f64 {
    let probability = share.probability.clamp(0.0, 1.0);
    if share.correlation <= 0.0 || probability <= 0.0 || probability >= 1.0 {
        return probability;
    }
    Stationary::new(share.correlation.min(MOST)).quantile(probability)
}

/// The distribution that correlated draws settle to: its function at equal steps of 0 to 1.
#[derive(Debug)]
struct Stationary(Vec<f64>);

impl Stationary {
    /// The fixed point of `F(x) = ∫ F((x - (1-c)u) / c) du`, from the normal distribution with its mean and variance.
    fn new(correlation: f64) -> Self {
        let deviation = ((1.0 - correlation) / (1.0 + correlation) / 12.0).sqrt();
        let at = |index: usize| index as f64 / (GRID - 1) as f64;
        let mut function: Vec<f64> = (0..GRID).map(|index| normal::below((at(index) - 0.5) / deviation)).collect();
        if correlation > NORMAL_ABOVE {
            return Self(function);
        }
        // What is left of the start shrinks by the correlation each time.
        let mut left = 1.0;
        while left > 1e-7 {
            left *= correlation;
            let integral = Integral::of(&function);
            let factor = correlation / (1.0 - correlation);
            let next = |index: usize| {
                let x = at(index);
                factor * (integral.upto(x / correlation) - integral.upto((x - (1.0 - correlation)) / correlation))
            };
            function = (0..GRID).map(|index| next(index).clamp(0.0, 1.0)).collect();
        }
        Self(function)
    }

    /// How much of it is below a value.
    fn below(&self, value: f64) -> f64 {
        let (index, part) = cell(value);
        let (low, high) = (self.0[index], self.0[index + 1]);
        low + (high - low) * part
    }

    /// The value that so much of it is below.
    fn quantile(&self, share: f64) -> f64 {
        let index = self.0.partition_point(|below| *below < share).clamp(1, GRID - 1);
        let (low, high) = (self.0[index - 1], self.0[index]);
        let part = if high > low { (share - low) / (high - low) } else { 0.0 };
        ((index - 1) as f64 + part.clamp(0.0, 1.0)) / (GRID - 1) as f64
    }
}

/// The point of the grid before a value, and how far from it to the next the value is, 0 to 1.
fn cell(value: f64) -> (usize, f64) {
    let place = value.clamp(0.0, 1.0) * (GRID - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the length of the grid")]
    let index = (place as usize).min(GRID - 2);
    (index, place - index as f64)
}

/// The integral of a distribution function on 0 to 1, which is 0 below and 1 above.
struct Integral<'a> {
    function: &'a [f64],
    sums: Vec<f64>,
}

impl<'a> Integral<'a> {
    fn of(function: &'a [f64]) -> Self {
        let step = 1.0 / (GRID - 1) as f64;
        let mut sum = 0.0;
        let sums = std::iter::once(0.0).chain(function.windows(2).map(|pair| {
            sum += f64::midpoint(pair[0], pair[1]) * step;
            sum
        }));
        Self { function, sums: sums.collect() }
    }

    /// From 0.
    fn upto(&self, value: f64) -> f64 {
        if value <= 0.0 {
            return 0.0;
        }
        if value >= 1.0 {
            return self.sums[GRID - 1] + value - 1.0;
        }
        let (index, part) = cell(value);
        let low = self.function[index];
        let mean = low + (self.function[index + 1] - low) * part / 2.0;
        self.sums[index] + mean * part / (GRID - 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_whatever_its_correlation() {
        for correlation in [0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.97] {
            for probability in [0.01, 0.1, 0.5, 0.9] {
                let mut chance = Chance::new(&Share { probability, correlation }, 1, 2);
                let count = 300_000;
                let happened = (0..count).filter(|_| chance.happens()).count() as f64 / f64::from(count);
                // Correlated draws are worth fewer: by (1 + c) / (1 - c).
                let worth = f64::from(count) * (1.0 - correlation) / (1.0 + correlation);
                let interval = 3.3 * (probability * (1.0 - probability) / worth).sqrt() + probability * 0.01;
                assert!((happened - probability).abs() < interval, "{probability} with {correlation}: {happened}");
            }
        }
    }

    #[test]
    fn the_threshold_grows_towards_a_half_with_correlation() {
        let at = |correlation| threshold(&Share { probability: 0.1, correlation });
        assert!((at(0.0) - 0.1).abs() < f64::EPSILON);
        assert!(at(0.25) > 0.12 && at(0.5) > at(0.25) && at(0.9) > at(0.5) && at(0.9) < 0.5, "{} {} {}", at(0.25), at(0.5), at(0.9));
        for (probability, expected) in [(0.0, 0.0), (1.0, 1.0)] {
            assert!((threshold(&Share { probability, correlation: 0.5 }) - expected).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn correlation_makes_neighbours_alike_and_leaves_draws_uniform() {
        for correlation in [0.0, 0.3, 0.6, 0.9, 0.97] {
            let mut draw = Draw::new(3, 4, correlation);
            let values: Vec<f64> = (0..200_000).map(|_| draw.uniform()).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let spread =
                |lag: usize| values.iter().zip(&values[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / values.len() as f64;
            assert!((mean - 0.5).abs() < 0.02 && (spread(0) - 1.0 / 12.0).abs() < 0.004, "{correlation}: {mean}, {}", spread(0));
            assert!((spread(1) / spread(0) - correlation).abs() < 0.03, "{correlation}: {}", spread(1) / spread(0));
        }
    }
}
