//! `slow_open`: the beginning comes late.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{CAPACITY, millis};
use super::{Ending, Out, Stage, Toxic, noop::Passing};

/// Lets nothing through for a time after the connection was opened (or the toxic added to it), and everything after that: a
/// server that accepts and takes its time with the first answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SlowOpen {
    /// Milliseconds, from 0.
    pub delay: i64,
}

impl SlowOpen {
    pub(super) fn stage(&self, _seed: u64) -> Box<dyn Stage> {
        Box::new(Opening { delay: millis(self.delay), since: None, queue: Passing::default(), retired: false })
    }
}

struct Opening {
    delay: Duration,
    since: Option<Duration>,
    queue: Passing,
    retired: bool,
}

impl Stage for Opening {
    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.queue.len())
    }

    fn push(&mut self, bytes: Bytes, now: Duration) {
        self.since.get_or_insert(now);
        self.queue.put(bytes);
    }

    fn end(&mut self, now: Duration) {
        self.since.get_or_insert(now);
        self.queue.put_end();
    }

    fn pull(&mut self, now: Duration) -> Out {
        match *self.since.get_or_insert(now) + self.delay {
            at if at > now && !self.retired => Out::At(at),
            _ => self.queue.next(),
        }
    }

    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        let Toxic::SlowOpen(slow_open) = toxic else { return false };
        self.delay = millis(slow_open.delay);
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
    fn nothing_comes_before_its_time_and_everything_at_once_after_it() {
        let ms = Duration::from_millis;
        let mut stage = SlowOpen { delay: 100 }.stage(1);
        assert_eq!(stage.pull(ms(10)), Out::At(ms(110)));
        stage.push(Bytes::from_static(b"a"), ms(50));
        assert_eq!(stage.pull(ms(50)), Out::At(ms(110)));
        assert_eq!(stage.pull(ms(110)), Out::Bytes(Bytes::from_static(b"a")));
        stage.push(Bytes::from_static(b"b"), ms(120));
        stage.end(ms(120));
        assert_eq!(stage.pull(ms(120)), Out::Bytes(Bytes::from_static(b"b")));
        assert_eq!(stage.pull(ms(120)), Out::End);
    }
}
