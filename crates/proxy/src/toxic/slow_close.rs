//! `slow_close`: the end comes late.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{CAPACITY, millis};
use super::{Ending, Out, Stage, Toxic, noop::Passing};

/// Keeps the receiver's side open for a time after the sender has closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SlowClose {
    /// Milliseconds, from 0.
    pub delay: i64,
}

impl SlowClose {
    pub(super) fn stage(&self, _seed: u64) -> Box<dyn Stage> {
        Box::new(Closing { delay: millis(self.delay), queue: Passing::default(), ended: None, retired: false })
    }
}

struct Closing {
    delay: Duration,
    queue: Passing,
    ended: Option<Duration>,
    retired: bool,
}

impl Stage for Closing {
    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.queue.len())
    }

    fn push(&mut self, bytes: Bytes, _now: Duration) {
        self.queue.put(bytes);
    }

    fn end(&mut self, now: Duration) {
        self.ended = Some(now);
    }

    fn pull(&mut self, now: Duration) -> Out {
        match (self.queue.next(), self.ended) {
            (Out::Idle, Some(ended)) if self.retired || now >= ended + self.delay => {
                self.ended = None;
                Out::End
            }
            (Out::Idle, Some(ended)) => Out::At(ended + self.delay),
            (out, _) => out,
        }
    }

    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        let Toxic::SlowClose(slow_close) = toxic else { return false };
        self.delay = millis(slow_close.delay);
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
    fn bytes_pass_at_once_and_the_end_after_the_delay() {
        let ms = Duration::from_millis;
        let mut stage = SlowClose { delay: 100 }.stage(1);
        stage.push(Bytes::from_static(b"a"), ms(1));
        stage.end(ms(5));
        assert_eq!(stage.pull(ms(5)), Out::Bytes(Bytes::from_static(b"a")));
        assert_eq!(stage.pull(ms(5)), Out::At(ms(105)));
        assert_eq!(stage.pull(ms(105)), Out::End);
        assert_eq!(stage.pull(ms(500)), Out::Idle);
    }
}
