//! Which packets are lost.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::draw::Chance;
use crate::network::Loss;

/// A source of losses.
#[derive(Debug)]
pub(super) enum Losses {
    Random(Box<Chance>),
    Bursts(Box<Chain>),
}

/// The chain of two states of Gilbert (1960) and Elliott (1963), as netem walks it: the state decides on a packet, and may
/// change after it.
#[derive(Debug)]
pub(super) struct Chain {
    random: StdRng,
    is_bad: bool,
    to_bad: f64,
    to_good: f64,
    lost_in_bad: f64,
    lost_in_good: f64,
}

impl Losses {
    pub(super) fn new(loss: &Loss, seed: u64, stream: u64) -> Self {
        match *loss {
            Loss::Random(share) => Self::Random(Box::new(Chance::new(&share, seed, stream))),
            Loss::GilbertElliott { p, r, bad, good } => {
                let random = StdRng::seed_from_u64(seed ^ stream);
                Self::Bursts(Box::new(Chain { random, is_bad: false, to_bad: p, to_good: r, lost_in_bad: bad, lost_in_good: good }))
            }
        }
    }

    pub(super) fn loses(&mut self) -> bool {
        match self {
            Self::Random(chance) => chance.happens(),
            Self::Bursts(chain) => chain.step(),
        }
    }
}

impl Chain {
    fn step(&mut self) -> bool {
        let (change, lost) = if self.is_bad { (self.to_good, self.lost_in_bad) } else { (self.to_bad, self.lost_in_good) };
        if self.random.random::<f64>() < change {
            self.is_bad = !self.is_bad;
        }
        self.random.random::<f64>() < lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Share;

    fn runs(loss: &Loss, count: usize) -> (f64, f64) {
        let mut losses = Losses::new(loss, 7, 1);
        let lost: Vec<bool> = (0..count).map(|_| losses.loses()).collect();
        let all = lost.iter().filter(|l| **l).count();
        let bursts = lost.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
        (all as f64 / count as f64, all as f64 / bursts as f64)
    }

    #[test]
    fn bursts_are_as_long_and_as_many_as_the_chain_says() {
        for (p, r) in [(0.01, 0.25), (0.05, 0.1), (0.2, 0.5)] {
            let (share, burst) = runs(&Loss::GilbertElliott { p, r, bad: 1.0, good: 0.0 }, 400_000);
            assert!((burst * r - 1.0).abs() < 0.1, "{p} {r}: {burst}");
            assert!((share / (p / (p + r)) - 1.0).abs() < 0.1, "{p} {r}: {share}");
        }
    }

    #[test]
    fn each_state_loses_its_own_share() {
        let (p, r, bad, good) = (0.02, 0.08, 0.5, 0.01);
        let (share, _) = runs(&Loss::GilbertElliott { p, r, bad, good }, 400_000);
        let expected = (p * bad + r * good) / (p + r);
        assert!((share / expected - 1.0).abs() < 0.1, "{share} {expected}");
    }

    #[test]
    fn correlation_makes_losses_come_together_and_keeps_their_share() {
        let random = |correlation| runs(&Loss::Random(Share { probability: 0.1, correlation }), 400_000);
        let ((alone, short), (together, long)) = (random(0.0), random(0.8));
        assert!((alone - 0.1).abs() < 0.003 && (together - 0.1).abs() < 0.008, "{alone} {together}");
        assert!((short - 1.0 / 0.9).abs() < 0.02 && long > 2.0, "{short} {long}");
    }
}
