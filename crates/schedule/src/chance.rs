//! Chance that everybody with the same seed agrees on: a keyed hash (SipHash-2-4, Aumasson and Bernstein 2012) of what the
//! choice is about. There is no state, so two servers, or one server twice, choose the same.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// Tells this program's hashes from others'.
const KEY: u64 = 0x5371_7561_6c6c_2121;

/// 64 bits of chance about these words.
pub(crate) fn number(seed: u64, words: &[&str]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(seed, KEY);
    for word in words {
        // With its length, so that `ab`, `c` is not `a`, `bc`.
        hasher.write_u64(word.len() as u64);
        hasher.write(word.as_bytes());
    }
    hasher.finish()
}

/// From 0 to 1, not included, in steps of 2^-53.
pub(crate) fn share(seed: u64, words: &[&str]) -> f64 {
    (number(seed, words) >> 11) as f64 / (1_u64 << 53) as f64
}

/// From 0 to `end`, not included; 0 for an `end` of 0. Uneven by at most `end` in 2^64.
pub(crate) fn below(seed: u64, words: &[&str], end: u64) -> u64 {
    u64::try_from((u128::from(number(seed, words)) * u128::from(end)) >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_give_the_same_number_for_ever() {
        // A change of these would change what every seed in use stands for.
        assert_eq!(number(7, &["a", "b"]), number(7, &["a", "b"]));
        assert_ne!(number(7, &["ab", "c"]), number(7, &["a", "bc"]));
        assert_ne!(number(7, &["a"]), number(8, &["a"]));
        assert_eq!(number(1, &["payments", "2026-11-23"]), 0x741a_68d2_2226_8602);
    }

    #[test]
    fn every_number_below_the_end_comes_about_as_often() {
        let mut counts = [0_u32; 10];
        for i in 0..100_000 {
            counts[usize::try_from(below(3, &[&i.to_string()], 10)).expect("small")] += 1;
        }
        // Five standard deviations of a binomial of 100,000 and 1/10.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 475), "{counts:?}");
    }
}
