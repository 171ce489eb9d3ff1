//! What a toxic is while it works: a machine without I/O, driven by whoever holds the two ends of the pipe.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::Toxic;
use crate::relay::Pipe;

/// A toxic at work on one direction of one connection.
///
/// Who drives it calls [`push`](Stage::push) while [`room`](Stage::room) is above zero, [`end`](Stage::end) once when nothing
/// more will come, and [`pull`](Stage::pull) until it waits. `now` is [`crate::time::now`], and never goes back.
pub(crate) trait Stage {
    /// Bytes that it takes in now. Zero holds the sender back.
    fn room(&self) -> usize;
    /// Takes these bytes in, which are never empty and may be more than its room.
    fn push(&mut self, bytes: Bytes, now: Duration);
    /// Whether it never looks at bytes, so that it may be given them in the kernel's own hands.
    fn takes_pipes(&self) -> bool {
        false
    }
    /// Takes what is in the pipe in, or gives it back.
    fn push_pipe(&mut self, pipe: Pipe, _now: Duration) -> Result<(), Pipe> {
        Err(pipe)
    }
    /// No more bytes will come: the sender has closed its side.
    fn end(&mut self, now: Duration);
    /// The pipe that `Out::Pipe` announced.
    fn take_pipe(&mut self) -> Option<Pipe> {
        None
    }
    /// What comes out next. `Out::End` comes once, after `end` and all bytes, unless the stage keeps it back for ever.
    fn pull(&mut self, now: Duration) -> Out;
    /// The toxic's attributes changed. What is inside follows the new ones as far as that makes sense. `false`: it is
    /// another type, and the stage was left as it was.
    fn update(&mut self, toxic: &Toxic, now: Duration) -> bool;
    /// The toxic was removed: everything inside comes out without further delay. How the connection goes on.
    fn retire(&mut self, now: Duration) -> Ending;
}

/// What comes out of a stage.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// These bytes, which are not empty.
    Bytes(Bytes),
    /// A pipe of bytes, to be taken with [`Stage::take_pipe`].
    Pipe,
    /// Nothing until this moment, unless something is pushed before.
    At(Duration),
    /// Nothing until something is pushed.
    Idle,
    /// The end: the receiver's side is to be closed. Nothing comes after it.
    End,
    /// The whole connection is to be closed, in both directions.
    Close,
    /// The whole connection is to be reset, in both directions (RST).
    Reset,
}

/// What a removed toxic asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The connection goes on without it.
    GoOn,
    /// The connection is closed: bytes were lost, so that it cannot go on.
    Close,
}

/// Bytes that a stage holds back at most.
pub(super) const CAPACITY: usize = 16 << 20;

/// A time of an attribute, in milliseconds; what is below zero counts as zero.
pub(super) fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

/// Bytes that all delays of the process hold together.
static DELAYED: AtomicUsize = AtomicUsize::new(0);

/// Bytes that all delays of the process may hold together before each is held to its own share: 100 ms of 80 Gbit/s.
const DELAYED_MOST: usize = 1 << 30;
/// Bytes that each delay may always hold, so that one that holds much cannot stop the others.
const DELAYED_OWN: usize = 1 << 20;

/// The bytes that one delay holds. A delay is not a limit of bandwidth, so that it must hold what arrives in its time; all of
/// them together are bounded.
#[derive(Debug, Default)]
pub(super) struct Delayed(usize);

impl Delayed {
    pub(super) fn room(&self) -> usize {
        let shared = DELAYED_MOST.saturating_sub(DELAYED.load(Ordering::Relaxed));
        shared.max(DELAYED_OWN.saturating_sub(self.0))
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.0 += bytes;
        DELAYED.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.0 -= bytes;
        DELAYED.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Delayed {
    fn drop(&mut self) {
        self.remove(self.0);
    }
}
