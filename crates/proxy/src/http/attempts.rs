//! How often each key of a rule was seen, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Keys of one generation. A key is remembered at least until so many others were seen after it, and at most twice as many are.
const GENERATION: usize = 50_000;

/// Counts attempts. When there are too many keys, those are forgotten that were not seen for longest.
///
/// A key is kept as 64 bits of a hash that nobody outside can foresee, so that a key's length does not matter: 32 bytes and
/// some for each, 5 MB at most. Of 100,000 keys some two share a count with a probability of 3 in 10¹⁰.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    hash: RandomState,
    /// Seen since the last change of generations.
    young: HashMap<u64, u64>,
    /// Seen in the generation before, and not since.
    old: HashMap<u64, u64>,
}

impl Attempts {
    /// How often this key was seen before.
    pub(crate) fn count(&mut self, key: &[u8]) -> u64 {
        let key = self.hash.hash_one(key);
        if let Some(count) = self.young.get_mut(&key) {
            *count += 1;
            return *count - 1;
        }
        let before = self.old.remove(&key).unwrap_or(0);
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, before + 1);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_up_as_long_as_it_comes_again_whatever_else_comes() {
        let mut attempts = Attempts::default();
        for attempt in 0..300_000_u64 {
            assert_eq!(attempts.count(&attempt.to_be_bytes()), 0, "a new key");
            if attempt.is_multiple_of(10_000) {
                assert_eq!(attempts.count(b"always there"), attempt / 10_000);
            }
            assert!(attempts.young.len() + attempts.old.len() <= 2 * GENERATION);
        }
    }

    #[test]
    fn of_too_many_keys_the_oldest_are_forgotten_first() {
        let mut attempts = Attempts::default();
        let total = 3 * GENERATION;
        for number in 0..total {
            attempts.count(&number.to_be_bytes());
        }
        let mut remembered: Vec<bool> = Vec::new();
        // The last ones first, as each look counts as another attempt.
        for number in (0..total).rev() {
            remembered.push(attempts.count(&number.to_be_bytes()) == 1);
        }
        assert!(remembered[..GENERATION].iter().all(|known| *known), "the last ones are known");
        let known = remembered.iter().take_while(|known| **known).count();
        assert!(remembered[known..].iter().all(|known| !known), "and what is forgotten is older than all that is known");
        assert!(known <= 2 * GENERATION);
    }
}
