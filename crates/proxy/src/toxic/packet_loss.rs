//! `packet_loss`: some chunks never arrive.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ending, Out, Stage, Toxic, noop::Passing, stage::CAPACITY};

/// Drops chunks of the stream. Correlation makes losses come in bursts and leaves their share as it is: a chunk after a lost
/// one is lost with `rate + correlation × (1 − rate)`, one after a chunk that passed with `rate × (1 − correlation)`, a Markov
/// chain of two states (Gilbert, 1960) in which neighbours have exactly this correlation.
///
/// On a stream there is nobody to send a chunk again, so that bytes are missing in the middle: what a broken middlebox does
/// rather than a lossy link. (Loss under TCP shows as latency; take `latency` with `jitter` for that.)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PacketLoss {
    /// The share of chunks to drop, from 0 to 1.
    pub loss_rate: f64,
    /// Of neighbours, from 0 (each on its own) to 1.
    pub correlation: f64,
}

impl Default for PacketLoss {
    fn default() -> Self {
        Self { loss_rate: 0.1, correlation: 0.0 }
    }
}

impl PacketLoss {
    pub(super) fn stage(&self, seed: u64) -> Box<dyn Stage> {
        let mut random = StdRng::seed_from_u64(seed);
        let previous = random.random::<f64>() < self.loss_rate;
        Box::new(Losing { toxic: self.clone(), random, previous, queue: Passing::default(), retired: false })
    }
}

struct Losing {
    toxic: PacketLoss,
    random: StdRng,
    /// Whether the chunk before was lost.
    previous: bool,
    queue: Passing,
    retired: bool,
}

impl Stage for Losing {
    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.queue.len())
    }

    fn push(&mut self, bytes: Bytes, _now: Duration) {
        let (rate, correlation) = (self.toxic.loss_rate, self.toxic.correlation.clamp(0.0, 1.0));
        let share = if self.previous { rate + correlation * (1.0 - rate) } else { rate * (1.0 - correlation) };
        self.previous = self.random.random::<f64>() < share;
        if self.retired || !self.previous {
            self.queue.put(bytes);
        }
    }

    fn end(&mut self, _now: Duration) {
        self.queue.put_end();
    }

    fn pull(&mut self, _now: Duration) -> Out {
        self.queue.next()
    }

    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        let Toxic::PacketLoss(packet_loss) = toxic else { return false };
        self.toxic = packet_loss.clone();
        true
    }

    fn retire(&mut self, _now: Duration) -> Ending {
        self.retired = true;
        Ending::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(toxic: &PacketLoss) -> (usize, usize) {
        let (mut stage, mut lost, mut bursts, mut before) = (toxic.stage(3), 0, 0, false);
        for _ in 0..20_000 {
            stage.push(Bytes::from_static(b"x"), Duration::ZERO);
            let dropped = stage.pull(Duration::ZERO) == Out::Idle;
            lost += usize::from(dropped);
            bursts += usize::from(dropped && !before);
            before = dropped;
        }
        (lost, bursts)
    }

    #[test]
    fn the_share_that_was_asked_for_is_lost() {
        let (lost, _) = lost(&PacketLoss::default());
        let sd = (20_000.0_f64 * 0.1 * 0.9).sqrt();
        assert!((lost as f64 - 2000.0).abs() < 2.576 * sd, "{lost}");
    }

    #[test]
    fn correlated_losses_come_in_bursts_and_are_not_more() {
        let (alone, bursts_alone) = lost(&PacketLoss { loss_rate: 0.3, correlation: 0.0 });
        let (together, bursts_together) = lost(&PacketLoss { loss_rate: 0.3, correlation: 0.6 });
        // The mean length of a burst is 1 / ((1 − rate) × (1 − correlation)).
        let length = |lost: usize, bursts: usize| lost as f64 / bursts as f64;
        assert!((length(alone, bursts_alone) - 1.0 / 0.7).abs() < 0.1);
        assert!((length(together, bursts_together) - 1.0 / 0.28).abs() < 0.3);
        assert!((together as f64 / alone as f64 - 1.0).abs() < 0.1);
    }
}
