//! `noop`: lets everything through.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ending, Out, Stage, Toxic, stage::CAPACITY};

/// Does nothing; measures what a toxic costs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Noop {}

impl Noop {
    #[expect(clippy::unused_self, reason = "each toxic makes its stage in the same way")]
    pub(super) fn stage(&self, _seed: u64) -> Box<dyn Stage> {
        Box::new(Passing::default())
    }
}

/// Passes on what it is given: what other stages do with bytes that they have nothing against.
#[derive(Debug, Default)]
pub(super) struct Passing {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
}

impl Passing {
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn put(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.waiting.push_back(bytes);
    }

    pub(super) fn put_end(&mut self) {
        self.ended = true;
    }

    /// The next bytes, or at most `limit` of them.
    pub(super) fn take(&mut self, limit: usize) -> Option<Bytes> {
        let first = self.waiting.front_mut()?;
        let taken = if first.len() <= limit { self.waiting.pop_front()? } else { first.split_to(limit) };
        self.bytes -= taken.len();
        Some(taken)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn next(&mut self) -> Out {
        match self.take(usize::MAX) {
            Some(bytes) => Out::Bytes(bytes),
            None if std::mem::take(&mut self.ended) => Out::End,
            None => Out::Idle,
        }
    }
}

impl Stage for Passing {
    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.bytes)
    }

    fn push(&mut self, bytes: Bytes, _now: Duration) {
        self.put(bytes);
    }

    fn end(&mut self, _now: Duration) {
        self.put_end();
    }

    fn pull(&mut self, _now: Duration) -> Out {
        self.next()
    }

    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        matches!(toxic, Toxic::Noop(_))
    }

    fn retire(&mut self, _now: Duration) -> Ending {
        Ending::GoOn
    }
}
