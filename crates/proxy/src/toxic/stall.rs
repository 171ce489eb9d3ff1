//! `stall`: so many bytes, and then silence.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{CAPACITY, millis};
use super::{Ending, Out, Stage, Toxic, noop::Passing};

/// Passes so many bytes, then nothing for a time, and then the rest, on a connection that stays open: a server that hangs in the
/// middle of its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Stall {
    /// Bytes of each connection, in this direction, that pass before.
    pub bytes: i64,
    /// Milliseconds; 0 is until the toxic is removed.
    pub duration: i64,
}

impl Stall {
    pub(super) fn stage(&self, _seed: u64) -> Box<dyn Stage> {
        Box::new(Stalling { toxic: self.clone(), passed: 0, since: None, queue: Passing::default(), over: false })
    }
}

struct Stalling {
    toxic: Stall,
    passed: usize,
    since: Option<Duration>,
    queue: Passing,
    over: bool,
}

impl Stage for Stalling {
    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.queue.len())
    }

    fn push(&mut self, bytes: Bytes, _now: Duration) {
        self.queue.put(bytes);
    }

    fn end(&mut self, _now: Duration) {
        self.queue.put_end();
    }

    fn pull(&mut self, now: Duration) -> Out {
        let left = usize::try_from(self.toxic.bytes).unwrap_or(0).saturating_sub(self.passed);
        if self.over || self.queue.is_empty() && left > 0 {
            return self.queue.next();
        }
        if let Some(bytes) = self.queue.take(left).filter(|bytes| !bytes.is_empty()) {
            self.passed += bytes.len();
            return Out::Bytes(bytes);
        }
        let until = *self.since.get_or_insert(now) + millis(self.toxic.duration);
        if self.toxic.duration <= 0 {
            return Out::Idle;
        }
        if until > now {
            return Out::At(until);
        }
        self.over = true;
        self.queue.next()
    }

    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        let Toxic::Stall(stall) = toxic else { return false };
        self.toxic = stall.clone();
        true
    }

    fn retire(&mut self, _now: Duration) -> Ending {
        self.over = true;
        Ending::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn so_many_bytes_pass_and_the_rest_after_the_silence() {
        let mut stage = Stall { bytes: 4, duration: 100 }.stage(1);
        stage.push(Bytes::from_static(b"abcdef"), MS(0));
        stage.end(MS(0));
        assert_eq!(stage.pull(MS(1)), Out::Bytes(Bytes::from_static(b"abcd")));
        assert_eq!(stage.pull(MS(1)), Out::At(MS(101)));
        assert_eq!(stage.pull(MS(101)), Out::Bytes(Bytes::from_static(b"ef")));
        assert_eq!(stage.pull(MS(101)), Out::End);
    }

    #[test]
    fn without_a_duration_it_is_silent_until_it_is_removed() {
        let mut stage = Stall { bytes: 0, duration: 0 }.stage(1);
        stage.push(Bytes::from_static(b"a"), MS(0));
        assert_eq!(stage.pull(Duration::from_secs(1_000_000)), Out::Idle);
        assert_eq!(stage.retire(MS(0)), Ending::GoOn);
        assert_eq!(stage.pull(MS(0)), Out::Bytes(Bytes::from_static(b"a")));
    }
}
