//! A fault that works on JSON texts: a body that is one, or each line of one that is many.

use bytes::{Bytes, BytesMut};

use super::json::{self, Edit, Found, Node, Pointer};
use crate::body::{BodyFault, Steps};
use crate::decide::{Decider, Purpose};
use crate::stream::Body;
use crate::stream::scan::{Framing, Item, Scanner};

/// A body (or line) that is larger than this, in bytes, is passed on and not looked at.
const LARGEST: usize = 16 << 20;

/// What a fault changes in each JSON text.
pub(super) trait Change: Send {
    /// Edits to this text. What is not edited stays byte by byte.
    fn edits(&mut self, text: &[u8], json: &Node, edits: &mut Vec<Edit>);
}

/// A change at work on a body; `None` where the body is no JSON.
pub(super) fn on_json(body: &Body, change: impl Change + 'static) -> Option<Box<dyn BodyFault>> {
    if body.framing() == Some(Framing::Lines) {
        return Some(Box::new(Lines { scanner: Scanner::new(Framing::Lines), change }));
    }
    let media = body.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = media == "application/json" || media == "text/json" || media.ends_with("+json");
    if json && body.is_readable() { Some(Box::new(Whole { buffer: BytesMut::new(), too_large: false, change })) } else { None }
}

struct Whole<C> {
    buffer: BytesMut,
    too_large: bool,
    change: C,
}

impl<C: Change> BodyFault for Whole<C> {
    fn piece(&mut self, piece: Bytes, out: &mut Steps) {
        if self.too_large {
            out.send(piece);
            return;
        }
        self.buffer.extend_from_slice(&piece);
        if self.buffer.len() > LARGEST {
            self.too_large = true;
            out.send(self.buffer.split().freeze());
        }
    }

    fn end(&mut self, out: &mut Steps) {
        let text = self.buffer.split().freeze();
        out.send(changed(&mut self.change, text));
    }

    fn length(&self, _original: u64) -> Option<u64> {
        None
    }
}

fn changed(change: &mut impl Change, text: Bytes) -> Bytes {
    let Some(json) = json::parse(&text) else { return text };
    let mut edits = Vec::new();
    change.edits(&text, &json, &mut edits);
    if edits.is_empty() { text } else { Bytes::from(json::apply(&text, edits)) }
}

struct Lines<C> {
    scanner: Scanner,
    change: C,
}

impl<C: Change> Lines<C> {
    fn run(&mut self, out: &mut Steps) {
        while let Some(item) = self.scanner.next() {
            match item {
                Item::Verbatim(bytes) => out.send(bytes),
                Item::Block(block) => {
                    let mut edits = Vec::new();
                    if let Some(json) = block.json() {
                        self.change.edits(&block.data(), &json, &mut edits);
                    }
                    out.send(block.edited(edits));
                }
            }
        }
    }
}

impl<C: Change> BodyFault for Lines<C> {
    fn piece(&mut self, piece: Bytes, out: &mut Steps) {
        self.scanner.feed(&piece);
        self.run(out);
    }

    fn end(&mut self, out: &mut Steps) {
        self.scanner.end();
        self.run(out);
    }

    fn length(&self, _original: u64) -> Option<u64> {
        None
    }
}

/// Which values of each text a fault is for, and which of them it hits.
pub(super) struct Fields {
    pointers: Vec<Pointer>,
    share: f64,
    decider: Decider,
    seen: u64,
}

impl Fields {
    pub fn new(fields: &[String], share: Option<squall_model::Percent>, body: &Body, fault: &str) -> Self {
        let share = share.map_or(1.0, squall_model::Percent::share);
        let pointers = fields.iter().filter_map(|field| Pointer::parse(field)).collect();
        Self { pointers, share, decider: Decider::new(body.seed, fault), seen: 0 }
    }

    /// The values that are hit, each once, with 64 random bits of its own.
    pub fn hit<'a>(&mut self, json: &'a Node) -> Vec<(Found<'a>, u64)> {
        let mut found = Vec::new();
        for pointer in &self.pointers {
            json.select(pointer, &mut found);
        }
        found.sort_by_key(|one| one.value.range.start);
        found.dedup_by_key(|one| one.value.range.start);
        found.into_iter().filter_map(|one| self.decide().map(|bits| (one, bits))).collect()
    }

    /// Decides on one more value: its random bits if it is hit.
    pub fn decide(&mut self) -> Option<u64> {
        self.seen += 1;
        let key = self.seen.to_be_bytes();
        let hit = self.decider.happens(self.share, Purpose::Share, &key, 0);
        hit.then(|| self.decider.bits(Purpose::Magnitude, &key, 0))
    }
}

/// Whether these are pointers.
pub(super) fn check_fields(fields: &[String]) -> Result<(), String> {
    if fields.is_empty() {
        return Err("fields: expected at least one JSON Pointer, as `/items/*/price`".into());
    }
    match fields.iter().find(|field| Pointer::parse(field).is_none()) {
        Some(field) => Err(format!("fields: `{field}` is no JSON Pointer; it starts with `/`, as `/items/*/price`")),
        None => Ok(()),
    }
}
