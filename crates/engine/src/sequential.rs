//! A test of two shares that may be looked at after every answer: whether one side's bad answers are more, by over a margin, than the
//! other's.
//!
//! The evidence is an e-value: a likelihood ratio that has an expectation of at most 1 as long as the one is not worse by more than the
//! margin, so that it exceeds `1/α` at any time with a probability of at most `α`, however often one looks (Ville 1939). Its numerator is
//! the likelihood under a mixture over all shares, Beta(½, ½) for each side (Robbins 1970; Krichevsky and Trofimov 1981), its denominator
//! the largest likelihood among the shares that are within the margin (Wasserman, Ramdas and Balakrishnan 2020, "Universal inference",
//! section 8).

use serde::{Deserialize, Serialize};

/// Answers of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answers {
    /// All that count.
    pub all: u32,
    /// Those that were bad.
    pub bad: u32,
}

impl Answers {
    /// The share of bad ones; none of none.
    pub fn share(self) -> Option<f64> {
        (self.all > 0).then(|| f64::from(self.bad) / f64::from(self.all))
    }

    /// Counts another one.
    pub(crate) fn count(&mut self, bad: bool) {
        self.all += 1;
        self.bad += u32::from(bad);
    }

    fn good(self) -> f64 {
        f64::from(self.all - self.bad)
    }

    /// The logarithm of their likelihood under a share of bad ones.
    fn likelihood(self, share: f64) -> f64 {
        let times = |count: f64, of: f64| if count > 0.0 { count * of.ln() } else { 0.0 };
        times(f64::from(self.bad), share) + times(self.good(), 1.0 - share)
    }

    /// The logarithm of their likelihood under the mixture of all shares.
    fn mixture(self) -> f64 {
        beta(f64::from(self.bad) + 0.5, self.good() + 0.5) - beta(0.5, 0.5)
    }
}

/// The logarithm of the beta function.
fn beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

/// The logarithm of the evidence that `one`'s share of bad answers exceeds `other`'s by more than the margin (-1 to 1).
pub fn evidence(one: Answers, other: Answers, margin: f64) -> f64 {
    one.mixture() + other.mixture() - best_within(one, other, margin)
}

/// The largest likelihood, as a logarithm, among the shares of which the first exceeds the second by at most the margin.
fn best_within(one: Answers, other: Answers, margin: f64) -> f64 {
    let (a, b) = (one.share().unwrap_or(0.0), other.share().unwrap_or(0.0));
    if one.all == 0 || other.all == 0 || a <= b + margin {
        // A side without answers goes along with whatever the other one is.
        return one.likelihood(a) + other.likelihood(b);
    }
    // The likelihood is concave: its largest value is on the edge, where the difference is the margin.
    let along = |share: f64| one.likelihood((share + margin).clamp(0.0, 1.0)) + other.likelihood(share);
    let (mut low, mut high) = ((-margin).max(0.0), (1.0 - margin).min(1.0));
    for _ in 0..80 {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if along(left) < along(right) { low = left } else { high = right }
    }
    along(f64::midpoint(low, high))
}

/// Whether `one` is shown to be worse than `other` by more than the margin, with a confidence (below 1).
pub fn is_worse(one: Answers, other: Answers, margin: f64, confidence: f64) -> bool {
    evidence(one, other, margin) >= -(1.0 - confidence).ln()
}

/// By how much `one`'s share of bad answers exceeds `other`'s: the differences that are not ruled out, each end with this confidence at
/// any time. From -1 to 1 where nothing is known.
pub fn difference(one: Answers, other: Answers, confidence: f64) -> (f64, f64) {
    (at_least(one, other, confidence), -at_least(other, one, confidence))
}

/// The smallest difference that is not ruled out. The evidence falls as the margin grows.
fn at_least(one: Answers, other: Answers, confidence: f64) -> f64 {
    let (mut low, mut high) = (-1.0, 1.0);
    if !is_worse(one, other, low, confidence) {
        return low;
    }
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if is_worse(one, other, middle, confidence) { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(bad: u32, all: u32) -> Answers {
        Answers { all, bad }
    }

    /// A number in `0..1` that looks like chance.
    fn chance(seed: u64, step: u64, side: u64) -> f64 {
        (crate::keyed_hash(seed, step, side, b"answers") >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// After how many answers of each side the first is called worse, looking after each; none within `most`.
    fn called(seed: u64, shares: (f64, f64), margin: f64, confidence: f64, most: u32) -> Option<u32> {
        let (mut one, mut other) = (Answers::default(), Answers::default());
        (1..=most).find(|step| {
            one.count(chance(seed, u64::from(*step), 1) < shares.0);
            other.count(chance(seed, u64::from(*step), 2) < shares.1);
            is_worse(one, other, margin, confidence)
        })
    }

    #[test]
    fn who_is_not_worse_is_seldom_called_so_however_often_one_looks() {
        for (shares, margin) in [((0.02, 0.02), 0.0), ((0.5, 0.5), 0.0), ((0.15, 0.10), 0.05), ((0.0, 0.0), 0.0), ((1.0, 1.0), 0.0)] {
            let wrong = (0..400).filter(|seed| called(*seed, shares, margin, 0.95, 500).is_some()).count();
            // At most 20 are promised; four standard deviations more are 37.
            assert!(wrong <= 37, "{wrong} of 400 at {shares:?} and {margin}");
        }
    }

    #[test]
    fn who_is_worse_is_called_so_soon() {
        let after = |shares, margin| {
            let mut all: Vec<u32> = (0..101).map(|seed| called(seed, shares, margin, 0.99, 2000).unwrap_or(u32::MAX)).collect();
            all.sort_unstable();
            all[50]
        };
        // As docs/comparing.md says.
        for (shares, margin, most) in [((1.0, 0.0), 0.0, 6), ((0.5, 0.01), 0.0, 24), ((0.05, 0.001), 0.0, 400), ((0.3, 0.0), 0.05, 80)] {
            let answers = after(shares, margin);
            assert!(answers <= most, "{answers} at {shares:?}");
        }
    }

    #[test]
    fn the_difference_holds_what_was_seen_and_narrows() {
        assert_eq!(difference(Answers::default(), Answers::default(), 0.99), (-1.0, 1.0));
        let mut width = 3.0;
        for all in [10, 100, 1000, 10_000] {
            let (low, high) = difference(answers(all / 2, all), answers(all / 10, all), 0.99);
            assert!(low < 0.4 && 0.4 < high && high - low < width, "{low} to {high} of {all}");
            width = high - low;
        }
        assert!(width < 0.07, "{width}");
        let (low, high) = difference(answers(20, 20), answers(0, 20), 0.99);
        assert!(low > 0.5 && high > 0.999, "{low} to {high}");
    }

    #[test]
    fn one_side_alone_says_nothing() {
        assert!(!is_worse(answers(1000, 1000), Answers::default(), 0.0, 0.8));
        assert!(!is_worse(Answers::default(), answers(1000, 1000), 0.0, 0.8));
        assert!(!is_worse(answers(0, 1000), answers(500, 1000), 0.0, 0.8), "it is better");
    }

    proptest::proptest! {
        #[test]
        fn the_evidence_falls_as_the_margin_grows(a in 0u32..200, b in 0u32..200, more in 1u32..200, margin in -0.9f64..0.9) {
            let (one, other) = (answers(a, a + more), answers(b, b + more));
            let (near, far) = (evidence(one, other, margin), evidence(one, other, margin + 0.1));
            proptest::prop_assert!(near.is_finite() && far <= near + 1e-6, "{} then {}", near, far);
        }
    }
}
