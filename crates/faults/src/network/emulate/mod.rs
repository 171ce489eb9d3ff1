//! What a line with a [`Shape`] does to packets, as pure arithmetic: no packets, no clock. The user-space twin of netem.
//!
//! In which order (netem's own, `sch_netem.c`): duplication, loss, corruption, the limit, then reordering or delay.
//! - Where a packet is both doubled and lost, one passes. A copy is drawn for anew in all but duplication.
//! - Packets leave by their time. Without jitter they keep their order; with it, one with a shorter delay overtakes, as it
//!   does in netem.
//! - The rate comes before the delay, as on a line: a packet waits for its turn in the order of arrival, then it travels. Those
//!   that are sent at once to be reordered skip the travel, not the turn. (netem's own `rate` puts them the other way round, and
//!   tbf behind netem does too: the same in the long run, and without jitter.)
//! - The limit counts packets that are held. One that may leave at once is never over it.
//!
//! Shares are exact where they are correlated, too, which netem's are not: see [`threshold`].

mod bucket;
mod delay;
mod draw;
mod loss;
mod normal;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

pub use delay::table;
pub use draw::threshold;

use self::bucket::Bucket;
use self::delay::Delays;
use self::draw::Chance;
use self::loss::Losses;
use super::Shape;

/// A packet that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The caller's own, given back when it leaves.
    pub id: u64,
    /// In bytes, network header included.
    pub length: u32,
    /// Length of the network header in bytes.
    pub header: u32,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is gone.
    Lost,
    /// It is gone, because too many are held.
    OverLimit,
    /// It will come out of [`Emulator::due`].
    Leaves {
        /// When, on the clock that was given.
        at: Duration,
        /// The bit to flip, counted from the start of the packet, the highest of a byte first.
        corrupt: Option<u32>,
    },
}

/// What becomes of a packet, and of its copy if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fates {
    /// Of the packet itself.
    pub original: Fate,
    /// Of the copy.
    pub copy: Option<Fate>,
}

/// A packet that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// As it was given.
    pub id: u64,
    /// Whether it is the copy.
    pub copy: bool,
    /// When it was to leave.
    pub at: Duration,
    /// The bit to flip.
    pub corrupt: Option<u32>,
}

/// How often what happened. `seen + duplicated = lost + over_limit + released + held`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came.
    pub seen: u64,
    /// Lost.
    pub lost: u64,
    /// Copies made.
    pub duplicated: u64,
    /// With a bit to flip.
    pub corrupted: u64,
    /// Sent past others.
    pub reordered: u64,
    /// Held for longer than no time.
    pub delayed: u64,
    /// Dropped because too many were held.
    pub over_limit: u64,
    /// Left.
    pub released: u64,
    /// Held now.
    pub held: u64,
    /// Held at the most at any time.
    pub most_held: u64,
}

/// A packet that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    at: Duration,
    /// Those of the same time leave in the order in which they came.
    turn: u64,
    id: u64,
    copy: bool,
    corrupt: Option<u32>,
}

/// Which packets overtake.
#[derive(Debug)]
struct Overtaking {
    chance: Chance,
    gap: u32,
    since: u32,
}

/// A line. Times are the caller's, on any clock that does not go back.
#[derive(Debug)]
pub struct Emulator {
    duplicate: Option<Chance>,
    loss: Option<Losses>,
    corrupt: Option<Chance>,
    reorder: Option<Overtaking>,
    delay: Option<Delays>,
    bucket: Option<Bucket>,
    limit: u64,
    held: BinaryHeap<Reverse<Held>>,
    turn: u64,
    counts: Counts,
}

impl Emulator {
    /// A line with that shape, and nothing on it.
    pub fn new(shape: &Shape) -> Self {
        let seed = shape.seed;
        Self {
            duplicate: shape.duplicate.as_ref().map(|share| Chance::new(share, seed, 1)),
            loss: shape.loss.as_ref().map(|loss| Losses::new(loss, seed, 2)),
            corrupt: shape.corrupt.as_ref().map(|share| Chance::new(share, seed, 3)),
            reorder: shape.reorder.map(|r| Overtaking { chance: Chance::new(&r.share, seed, 4), gap: r.gap, since: 0 }),
            delay: shape.delay.as_ref().map(|delay| Delays::new(delay, seed, 5)),
            bucket: shape.rate.map(Bucket::new),
            limit: shape.limit.into(),
            held: BinaryHeap::new(),
            turn: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a packet, and says what becomes of it.
    pub fn arrive(&mut self, now: Duration, packet: Packet) -> Fates {
        self.counts.seen += 1;
        let twice = self.duplicate.as_mut().is_some_and(Chance::happens);
        let lost = self.loses();
        self.counts.duplicated += u64::from(twice);
        match (twice, lost) {
            (false, true) => Fates { original: Fate::Lost, copy: None },
            (false, false) => Fates { original: self.pass(now, packet, false), copy: None },
            (true, true) => Fates { original: self.pass(now, packet, false), copy: Some(Fate::Lost) },
            (true, false) => {
                // netem's order: the copy goes first.
                let copy = if self.loses() { Fate::Lost } else { self.pass(now, packet, true) };
                Fates { original: self.pass(now, packet, false), copy: Some(copy) }
            }
        }
    }

    fn loses(&mut self) -> bool {
        let lost = self.loss.as_mut().is_some_and(Losses::loses);
        self.counts.lost += u64::from(lost);
        lost
    }

    fn pass(&mut self, now: Duration, packet: Packet, copy: bool) -> Fate {
        let bits = packet.header * 8..packet.length * 8;
        let corrupt = self.corrupt.as_mut().and_then(|chance| (chance.happens() && !bits.is_empty()).then(|| chance.place(bits)));
        let is_full = self.held.len() as u64 >= self.limit;
        if is_full && (self.delay.is_some() || self.bucket.is_some()) {
            self.counts.over_limit += 1;
            return Fate::OverLimit;
        }
        let turn = self.bucket.as_mut().map_or(now, |bucket| bucket.take(now, packet.length));
        let overtakes = self.reorder.as_mut().is_some_and(Overtaking::happens);
        let at = if overtakes { turn } else { turn + self.delay.as_mut().map_or(Duration::ZERO, Delays::next) };
        self.counts.corrupted += u64::from(corrupt.is_some());
        self.counts.reordered += u64::from(overtakes);
        self.counts.delayed += u64::from(at > now);
        self.turn += 1;
        self.held.push(Reverse(Held { at, turn: self.turn, id: packet.id, copy, corrupt }));
        self.counts.most_held = self.counts.most_held.max(self.held.len() as u64);
        Fate::Leaves { at, corrupt }
    }

    /// Those whose time has come, in the order in which they leave. They are gone from here as they are taken.
    pub fn due(&mut self, now: Duration) -> impl Iterator<Item = Released> + '_ {
        std::iter::from_fn(move || {
            let at = self.next_due()?;
            if at > now {
                return None;
            }
            let Reverse(Held { at, id, copy, corrupt, .. }) = self.held.pop()?;
            self.counts.released += 1;
            Some(Released { id, copy, at, corrupt })
        })
    }

    /// When the next one leaves.
    pub fn next_due(&self) -> Option<Duration> {
        self.held.peek().map(|Reverse(held)| held.at)
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        Counts { held: self.held.len() as u64, ..self.counts }
    }
}

impl Overtaking {
    /// As in netem: the candidate is the packet after `gap - 1` that did not overtake.
    fn happens(&mut self) -> bool {
        let is_candidate = self.since + 1 >= self.gap;
        let overtakes = is_candidate && self.chance.happens();
        self.since = if overtakes { 0 } else { self.since.saturating_add(1) };
        overtakes
    }
}

#[cfg(test)]
mod tests;
