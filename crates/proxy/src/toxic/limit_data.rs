//! `limit_data`: so many bytes, and no more.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ending, Out, Stage, Toxic, noop::Passing, stage::CAPACITY};

/// Closes the connection when so many bytes have passed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitData {
    /// Bytes of each connection, in this direction, from 0.
    pub bytes: i64,
}

impl LimitData {
    pub(super) fn stage(&self, _seed: u64) -> Box<dyn Stage> {
        Box::new(Counting { limit: limit(self), passed: 0, queue: Passing::default(), retired: false })
    }
}

fn limit(toxic: &LimitData) -> usize {
    usize::try_from(toxic.bytes).unwrap_or(0)
}

struct Counting {
    limit: usize,
    passed: usize,
    queue: Passing,
    retired: bool,
}

impl Stage for Counting {
    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.queue.len())
    }

    fn push(&mut self, bytes: Bytes, _now: Duration) {
        self.queue.put(bytes);
    }

    fn end(&mut self, _now: Duration) {
        self.queue.put_end();
    }

    fn pull(&mut self, _now: Duration) -> Out {
        let left = self.limit.saturating_sub(self.passed);
        // Closed when the last byte has passed, or when the first one comes for which there is no room.
        if !self.retired && left == 0 && (self.passed > 0 || !self.queue.is_empty()) {
            return Out::Close;
        }
        match self.queue.take(if self.retired { usize::MAX } else { left }) {
            Some(bytes) => {
                self.passed += bytes.len();
                Out::Bytes(bytes)
            }
            None => self.queue.next(),
        }
    }

    /// What has passed counts against the new limit.
    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        let Toxic::LimitData(limit_data) = toxic else { return false };
        self.limit = limit(limit_data);
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

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn so_many_bytes_pass_and_then_it_closes() {
        let mut stage = LimitData { bytes: 5 }.stage(1);
        stage.push(Bytes::from_static(b"abc"), NOW);
        assert_eq!(stage.pull(NOW), Out::Bytes(Bytes::from_static(b"abc")));
        assert_eq!(stage.pull(NOW), Out::Idle);
        stage.push(Bytes::from_static(b"def"), NOW);
        assert_eq!(stage.pull(NOW), Out::Bytes(Bytes::from_static(b"de")));
        assert_eq!(stage.pull(NOW), Out::Close);
    }

    #[test]
    fn a_limit_of_nothing_closes_with_the_first_byte_and_a_clean_end_is_passed_on() {
        let mut stage = LimitData { bytes: 0 }.stage(1);
        assert_eq!(stage.pull(NOW), Out::Idle);
        stage.push(Bytes::from_static(b"a"), NOW);
        assert_eq!(stage.pull(NOW), Out::Close);
        let mut stage = LimitData { bytes: 10 }.stage(1);
        stage.end(NOW);
        assert_eq!(stage.pull(NOW), Out::End);
    }
}
