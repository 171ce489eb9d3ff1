//! `slicer`: small pieces.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::CAPACITY;
use super::{Ending, Out, Stage, Toxic, noop::Passing};

/// Cuts the data into small pieces, and waits between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Slicer {
    /// Bytes of a piece. At 0 or below nothing is cut.
    pub average_size: i64,
    /// Bytes: sizes are uniform in [average − variation, average + variation], and at least 1.
    pub size_variation: i64,
    /// Microseconds between two pieces, from 0.
    pub delay: i64,
}

impl Slicer {
    pub(super) fn stage(&self, seed: u64) -> Box<dyn Stage> {
        let random = StdRng::seed_from_u64(seed);
        Box::new(Slicing { toxic: self.clone(), random, queue: Passing::default(), free: Duration::ZERO, retired: false })
    }
}

struct Slicing {
    toxic: Slicer,
    random: StdRng,
    queue: Passing,
    /// When the next piece may go.
    free: Duration,
    retired: bool,
}

impl Slicing {
    fn size(&mut self) -> usize {
        let variation = self.toxic.size_variation.max(0);
        let size = self.toxic.average_size.saturating_add(self.random.random_range(-variation..=variation));
        usize::try_from(size).unwrap_or(0).max(1)
    }
}

impl Stage for Slicing {
    fn room(&self) -> usize {
        (CAPACITY / 16).saturating_sub(self.queue.len())
    }

    fn push(&mut self, bytes: Bytes, _now: Duration) {
        self.queue.put(bytes);
    }

    fn end(&mut self, _now: Duration) {
        self.queue.put_end();
    }

    fn pull(&mut self, now: Duration) -> Out {
        if self.retired || self.toxic.average_size <= 0 || self.queue.is_empty() {
            return self.queue.next();
        }
        if self.free > now {
            return Out::At(self.free);
        }
        let size = self.size();
        self.free = now + Duration::from_micros(u64::try_from(self.toxic.delay).unwrap_or(0));
        self.queue.take(size).map_or(Out::Idle, Out::Bytes)
    }

    fn update(&mut self, toxic: &Toxic, now: Duration) -> bool {
        let Toxic::Slicer(slicer) = toxic else { return false };
        if *slicer != self.toxic {
            self.toxic = slicer.clone();
            self.free = now;
        }
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

    #[test]
    fn pieces_have_the_sizes_and_the_pauses_that_were_asked_for_and_no_byte_is_lost() {
        let mut stage = Slicer { average_size: 10, size_variation: 3, delay: 100 }.stage(1);
        let data: Vec<u8> = (0..=255).collect();
        stage.push(Bytes::from(data.clone()), Duration::ZERO);
        let (mut now, mut got) = (Duration::ZERO, Vec::new());
        loop {
            match stage.pull(now) {
                Out::Bytes(bytes) => {
                    let left = data.len() - got.len();
                    assert!((7..=13).contains(&bytes.len()) || bytes.len() == left, "{}", bytes.len());
                    got.extend_from_slice(&bytes);
                }
                Out::At(at) => {
                    assert_eq!(at - now, Duration::from_micros(100));
                    now = at;
                }
                other => break assert_eq!(other, Out::Idle),
            }
        }
        assert_eq!(got, data);
    }

    #[test]
    fn without_attributes_it_lets_everything_through() {
        let mut stage = Slicer::default().stage(1);
        stage.push(Bytes::from_static(b"abc"), Duration::ZERO);
        assert_eq!(stage.pull(Duration::ZERO), Out::Bytes(Bytes::from_static(b"abc")));
    }
}
