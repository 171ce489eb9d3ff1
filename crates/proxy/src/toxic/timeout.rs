//! `timeout`: nothing comes through, and then the connection ends.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{CAPACITY, millis};
use super::{Ending, Out, Stage, Toxic};

/// Drops all data, and closes the connection when the toxic has been at work on it for this long. (Toxiproxy begins to count
/// again with each chunk that it drops, so that a client that keeps sending never sees the end.)
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Timeout {
    /// Milliseconds; 0 never closes it by itself.
    pub timeout: i64,
}

impl Timeout {
    pub(super) fn stage(&self, _seed: u64) -> Box<dyn Stage> {
        Box::new(Dropping { timeout: millis(self.timeout), since: None, ended: false })
    }
}

struct Dropping {
    timeout: Duration,
    since: Option<Duration>,
    ended: bool,
}

impl Stage for Dropping {
    fn room(&self) -> usize {
        CAPACITY
    }

    fn push(&mut self, _bytes: Bytes, now: Duration) {
        self.since.get_or_insert(now);
    }

    fn end(&mut self, _now: Duration) {
        self.ended = true;
    }

    fn pull(&mut self, now: Duration) -> Out {
        let since = *self.since.get_or_insert(now);
        if std::mem::take(&mut self.ended) {
            return Out::End;
        }
        match since + self.timeout {
            _ if self.timeout.is_zero() => Out::Idle,
            at if at <= now => Out::Close,
            at => Out::At(at),
        }
    }

    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        let Toxic::Timeout(timeout) = toxic else { return false };
        self.timeout = millis(timeout.timeout);
        true
    }

    /// Bytes are missing: the connection cannot go on.
    fn retire(&mut self, _now: Duration) -> Ending {
        Ending::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn it_closes_after_its_time_however_often_something_is_sent() {
        let mut stage = Timeout { timeout: 100 }.stage(1);
        for at in [1000, 1050, 1099] {
            stage.push(Bytes::from_static(b"x"), MS(at));
            assert_eq!(stage.pull(MS(at)), Out::At(MS(1100)));
        }
        assert_eq!(stage.pull(MS(1100)), Out::Close);
    }

    #[test]
    fn without_a_time_it_stays_open_until_removed() {
        let mut stage = Timeout { timeout: 0 }.stage(1);
        stage.push(Bytes::from_static(b"x"), MS(0));
        assert_eq!(stage.pull(Duration::from_secs(1_000_000)), Out::Idle);
        assert_eq!(stage.retire(MS(0)), Ending::Close);
    }
}
