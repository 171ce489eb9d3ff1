//! Decisions that repeat: `f(seed, rule, request key, attempt)` by keyed hash, never a shared random stream.
//!
//! The same seed, rule, key and attempt decide the same in every run, process and thread, whatever else was decided before.
//! The hash is SipHash-2-4 (Aumasson and Bernstein, 2012) with the seed as key; its 64 bits make a uniform number in [0, 1).

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// Makes decisions of one rule, under one seed.
#[derive(Debug, Clone)]
pub struct Decider {
    hash: SipHasher24,
}

impl Decider {
    /// Decisions of the rule (or toxic) of this name.
    pub fn new(seed: u64, rule: &str) -> Self {
        let mut hash = SipHasher24::new_with_keys(seed, 0x7371_7561_6c6c_0001);
        hash.write_u64(rule.len() as u64);
        hash.write(rule.as_bytes());
        Self { hash }
    }

    /// A uniform number in [0, 1) for this key's attempt. Different `purpose`s of one rule are independent.
    pub fn uniform(&self, purpose: Purpose, key: &[u8], attempt: u64) -> f64 {
        // The 53 bits of a double's significand.
        (self.bits(purpose, key, attempt) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something with this probability happens.
    pub fn happens(&self, share: f64, purpose: Purpose, key: &[u8], attempt: u64) -> bool {
        self.uniform(purpose, key, attempt) < share
    }

    /// 64 uniform bits: the seed of whatever needs more than one number.
    pub fn bits(&self, purpose: Purpose, key: &[u8], attempt: u64) -> u64 {
        let mut hash = self.hash;
        hash.write_u8(purpose as u8);
        hash.write_u64(key.len() as u64);
        hash.write(key);
        hash.write_u64(attempt);
        hash.finish()
    }
}

/// What a number is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Whether the fault happens at all.
    Share = 1,
    /// Whether the request belongs to the experiment or to the control group.
    Arm = 2,
    /// How strong it is: a delay's jitter, a position, a choice.
    Magnitude = 3,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_rule_key_and_attempt_decide_the_same() {
        let decide = |seed, rule, key: &str, attempt| Decider::new(seed, rule).bits(Purpose::Share, key.as_bytes(), attempt);
        assert_eq!(decide(1, "slow", "user-7", 0), decide(1, "slow", "user-7", 0));
        for other in
            [decide(2, "slow", "user-7", 0), decide(1, "fast", "user-7", 0), decide(1, "slow", "user-8", 0), decide(1, "slow", "user-7", 1)]
        {
            assert_ne!(decide(1, "slow", "user-7", 0), other);
        }
    }

    #[test]
    fn a_decision_of_this_release_is_the_decision_of_the_next() {
        // Recorded runs are replayed by later versions: this number must never change.
        assert_eq!(Decider::new(42, "checkout").bits(Purpose::Share, b"user-7", 3), 15_309_670_562_596_310_397);
    }

    #[test]
    fn shares_lie_inside_their_99_percent_binomial_intervals() {
        let n = 100_000_u32;
        for share in [0.001, 0.01, 0.1, 0.5, 0.9] {
            let decider = Decider::new(7, "share");
            let hits = (0..n).filter(|i| decider.happens(share, Purpose::Share, &i.to_be_bytes(), 0)).count() as f64;
            let (mean, sd) = (f64::from(n) * share, (f64::from(n) * share * (1.0 - share)).sqrt());
            assert!((hits - mean).abs() <= 2.576 * sd, "{share}: {hits} of {n}");
        }
    }
}
