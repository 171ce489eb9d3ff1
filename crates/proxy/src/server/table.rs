//! The toxics of a proxy at one moment, as its connections see them.

use crate::decide::{Decider, Purpose};
use crate::server::Connection;
use crate::toxic::{Direction, ToxicSpec};

/// The toxics of a proxy, in the order in which bytes pass them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Counts up with each change; 0 before the first.
    pub(crate) version: u64,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) spec: ToxicSpec,
    /// The version of the table in which it became what it is: connections roll its toxicity anew when it changes.
    pub(crate) generation: u64,
    decider: Decider,
}

impl Table {
    /// The table after a change to these toxics.
    pub(crate) fn changed(&self, proxy: &str, seed: u64, toxics: Vec<ToxicSpec>) -> Self {
        let version = self.version + 1;
        let entry = |spec: ToxicSpec| match self.entries.iter().find(|known| known.spec == spec) {
            Some(known) => known.clone(),
            None => Entry { decider: Decider::new(seed, &format!("{proxy}/{}", spec.name)), generation: version, spec },
        };
        Self { version, entries: toxics.into_iter().map(entry).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self, direction: Direction) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.spec.stream == direction)
    }
}

impl Entry {
    /// Whether it works on this connection. The connections of a proxy are counted, and each has its own fate, which is the
    /// same in every run with the same seed.
    pub(crate) fn applies(&self, connection: &Connection) -> bool {
        let applies = self.decider.happens(self.spec.toxicity, Purpose::Share, &connection.number().to_be_bytes(), self.generation);
        connection.toxic_decided(&self.spec.name, applies);
        applies
    }

    /// Where its randomness on this connection comes from.
    pub(crate) fn seed(&self, connection: &Connection) -> u64 {
        self.decider.bits(Purpose::Magnitude, &connection.number().to_be_bytes(), self.generation)
    }
}
