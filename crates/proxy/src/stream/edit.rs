//! A fault that works event by event.

use bytes::Bytes;

use super::dialect::{Dialect, Meaning};
use super::kind::Body;
use super::scan::{Block, Item, Scanner};
use crate::body::{BodyFault, Cut, Step, Steps};
use crate::data::json::Node;
use crate::decide::{Decider, Purpose};

/// A block, and what is known about it.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub block: &'a Block,
    pub json: Option<&'a Node>,
    pub meaning: Meaning,
    /// Whose stream it is, as far as events up to this one have told.
    pub dialect: Dialect,
}

impl Event<'_> {
    /// Whether it counts as an event in a fault's `after`.
    pub fn counts(&self) -> bool {
        !self.meaning.heartbeat && self.block.complete
    }

    /// Its bytes as they came.
    pub fn raw(&self) -> Bytes {
        self.block.raw.clone()
    }
}

/// Whether more of the body matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    /// The last step ended the body.
    Ended,
}

/// What a fault does with each block.
pub(crate) trait Editor: Send {
    /// Sends what becomes of this block.
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then;

    /// The body ended: sends what was kept back.
    fn end(&mut self, _out: &mut Steps) {}

    /// Whether each byte is sent once, whenever that is.
    fn keeps_bytes(&self) -> bool {
        false
    }
}

/// An editor at work on a body; `None` where the body is no stream.
pub(crate) fn on_stream(body: &Body, editor: impl Editor + 'static) -> Option<Box<dyn BodyFault>> {
    let framing = body.framing()?;
    Some(Box::new(Edited { scanner: Scanner::new(framing), editor, dialect: Dialect::Plain, ended: false }))
}

struct Edited<E> {
    scanner: Scanner,
    editor: E,
    dialect: Dialect,
    ended: bool,
}

impl<E: Editor> Edited<E> {
    fn run(&mut self, out: &mut Steps) {
        while !self.ended
            && let Some(item) = self.scanner.next()
        {
            let block = match item {
                Item::Verbatim(bytes) => {
                    out.send(bytes);
                    continue;
                }
                Item::Block(block) => block,
            };
            let json = block.json();
            let meaning = Meaning::of(&block, json.as_ref());
            self.dialect = meaning.dialect.unwrap_or(self.dialect);
            let event = Event { block: &block, json: json.as_ref(), meaning, dialect: self.dialect };
            self.ended = self.editor.event(&event, out) == Then::Ended;
        }
    }
}

impl<E: Editor> BodyFault for Edited<E> {
    fn piece(&mut self, piece: Bytes, out: &mut Steps) {
        if !self.ended {
            self.scanner.feed(&piece);
            self.run(out);
        }
    }

    fn end(&mut self, out: &mut Steps) {
        self.scanner.end();
        self.run(out);
        if !self.ended {
            self.ended = true;
            self.editor.end(out);
        }
    }

    fn length(&self, original: u64) -> Option<u64> {
        self.editor.keeps_bytes().then_some(original)
    }
}

/// Ends the connection in the middle.
pub(crate) fn cut(how: Cut, out: &mut Steps) -> Then {
    out.push(Step::Cut(how));
    Then::Ended
}

/// Ends the body in order.
pub(crate) fn finish(out: &mut Steps) -> Then {
    out.push(Step::Finish);
    Then::Ended
}

/// Which of those events that could get the fault do get it.
#[derive(Debug)]
pub(crate) struct Picker {
    after: u64,
    count: u64,
    share: f64,
    decider: Decider,
    seen: u64,
}

impl Picker {
    /// Of the events after the first `after`, the share; no more than `count` of them.
    pub fn new(after: u64, count: Option<u64>, share: Option<squall_model::Percent>, seed: u64) -> Self {
        let (count, share) = match (count, share) {
            (None, None) => (1, 1.0),
            (count, share) => (count.unwrap_or(u64::MAX), share.map_or(1.0, squall_model::Percent::share)),
        };
        Self { after, count, share, decider: Decider::new(seed, "stream.pick"), seen: 0 }
    }

    /// The first event after so many.
    pub fn first(after: u64) -> Self {
        Self::new(after, None, None, 0)
    }

    /// Whether the next event gets it.
    pub fn picks(&mut self) -> bool {
        self.seen += 1;
        let hit = self.count > 0 && self.seen > self.after && self.decider.happens(self.share, Purpose::Share, &self.seen.to_be_bytes(), 0);
        self.count -= u64::from(hit);
        hit
    }
}
