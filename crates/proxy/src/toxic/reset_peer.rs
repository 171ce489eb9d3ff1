//! `reset_peer`: the connection is reset.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{CAPACITY, millis};
use super::{Ending, Out, Stage, Toxic};

/// Resets the connection (RST) a time after the first chunk, or the end of the stream. What is sent is dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResetPeer {
    /// Milliseconds, from 0, which is at once.
    pub timeout: i64,
}

impl ResetPeer {
    pub(super) fn stage(&self, _seed: u64) -> Box<dyn Stage> {
        Box::new(Resetting { timeout: millis(self.timeout), since: None, lost: false })
    }
}

struct Resetting {
    timeout: Duration,
    since: Option<Duration>,
    lost: bool,
}

impl Stage for Resetting {
    fn room(&self) -> usize {
        CAPACITY
    }

    fn push(&mut self, _bytes: Bytes, now: Duration) {
        self.since.get_or_insert(now);
        self.lost = true;
    }

    fn end(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    fn pull(&mut self, now: Duration) -> Out {
        match self.since.map(|since| since + self.timeout) {
            None => Out::Idle,
            Some(at) if at <= now => Out::Reset,
            Some(at) => Out::At(at),
        }
    }

    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        let Toxic::ResetPeer(reset_peer) = toxic else { return false };
        self.timeout = millis(reset_peer.timeout);
        true
    }

    fn retire(&mut self, _now: Duration) -> Ending {
        if self.lost { Ending::Close } else { Ending::GoOn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_resets_after_the_first_chunk_and_its_time() {
        let ms = Duration::from_millis;
        let mut stage = ResetPeer { timeout: 100 }.stage(1);
        assert_eq!(stage.pull(ms(0)), Out::Idle);
        stage.push(Bytes::from_static(b"x"), ms(10));
        stage.push(Bytes::from_static(b"x"), ms(90));
        assert_eq!(stage.pull(ms(90)), Out::At(ms(110)));
        assert_eq!(stage.pull(ms(110)), Out::Reset);
    }
}
