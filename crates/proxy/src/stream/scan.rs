//! Finds the events of a stream in pieces of any size, and keeps each one's bytes as they came.
//!
//! The grammar is that of the HTML standard's "event stream" (server-sent events): lines end with LF, CR or CRLF, an event with
//! a blank line, and a byte order mark may stand in front. Newline-delimited JSON is the other framing: a line, a record.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::data::json::{self, Edit, Node};

/// An event that is larger than this, in bytes, is passed on as it comes, and not looked at.
pub(crate) const LARGEST: usize = 4 << 20;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// How a stream is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// A JSON text a line.
    Lines,
}

impl Framing {
    /// By the media type of a response; `None` where it is no stream.
    pub fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "text/event-stream" => Some(Self::Events),
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/jsonlines"
            | "application/json-lines"
            | "application/stream+json" => Some(Self::Lines),
            _ => None,
        }
    }
}

/// What the scanner finds next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    /// An event, or a block that is none (comments, a blank line).
    Block(Block),
    /// Bytes that belong to no event that can be looked at.
    Verbatim(Bytes),
}

/// Lines up to a blank line, or one line where each is a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// As upstream sent it, with the end that closes it.
    pub raw: Bytes,
    /// False for what stands at the end of the stream without a blank line: by the standard it is no event.
    pub complete: bool,
    framing: Framing,
    name: Option<Range<usize>>,
    /// The values of the `data` fields.
    data: Vec<Range<usize>>,
}

impl Block {
    fn new(raw: Bytes, complete: bool, framing: Framing) -> Self {
        let mut block = Self { raw, complete, framing, name: None, data: Vec::new() };
        let raw = block.raw.clone();
        let mut at = if raw.starts_with(BOM) { BOM.len() } else { 0 };
        if framing == Framing::Lines {
            let end = at + raw[at..].trim_ascii_end().len();
            let start = end - raw[at..end].trim_ascii_start().len();
            block.data.extend((start < end).then_some(start..end));
            return block;
        }
        while at < raw.len() {
            let end = memchr::memchr2(b'\r', b'\n', &raw[at..]).map_or(raw.len(), |length| at + length);
            let line = &raw[at..end];
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let space = usize::from(line.get(colon + 1) == Some(&b' '));
            let value = (at + colon + 1 + space).min(end)..end;
            match &line[..colon] {
                b"data" => block.data.push(value),
                b"event" => block.name = Some(value),
                _ => {}
            }
            at = end + 1 + usize::from(raw[end..].starts_with(b"\r\n"));
        }
        block
    }

    /// Whether it carries data. Only such a block is an event; others are comments or fields that keep a connection alive.
    pub fn is_event(&self) -> bool {
        !self.data.is_empty()
    }

    /// The event's type, where it says one.
    #[cfg(test)]
    pub fn name(&self) -> Option<&[u8]> {
        self.name.clone().map(|range| &self.raw[range])
    }

    /// The event's data: its lines, joined by LF.
    pub fn data(&self) -> Cow<'_, [u8]> {
        match self.data.as_slice() {
            [one] => Cow::Borrowed(&self.raw[one.clone()]),
            lines => Cow::Owned(lines.iter().map(|range| &self.raw[range.clone()]).collect::<Vec<_>>().join(&b'\n')),
        }
    }

    /// Where the first byte of data stands.
    pub fn data_start(&self) -> usize {
        self.data.first().map_or(0, |range| range.start)
    }

    /// Its data as JSON.
    pub fn json(&self) -> Option<Node> {
        json::parse(&self.data())
    }

    /// How its lines end.
    pub fn line_end(&self) -> &'static str {
        match (memchr::memchr(b'\r', &self.raw), memchr::memchr(b'\n', &self.raw)) {
            (Some(cr), Some(lf)) if lf == cr + 1 => "\r\n",
            (Some(_), None) => "\r",
            _ => "\n",
        }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Its bytes with these ranges of its data replaced. Nothing else changes.
    pub fn edited(&self, edits: Vec<Edit>) -> Bytes {
        if edits.is_empty() { self.raw.clone() } else { self.with_data(&json::apply(&self.data(), edits)) }
    }

    /// Its bytes with other data, in as many lines as the new data has (one where each line is a record).
    pub fn with_data(&self, data: &[u8]) -> Bytes {
        let (Some(first), Some(last)) = (self.data.first(), self.data.last()) else { return self.raw.clone() };
        let mut out = BytesMut::with_capacity(self.raw.len() + data.len());
        out.extend_from_slice(&self.raw[..first.start]);
        let mut between = self.data.windows(2).map(|pair| &self.raw[pair[0].end..pair[1].start]);
        for (number, line) in data.split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                match between.next() {
                    Some(as_before) => out.extend_from_slice(as_before),
                    None => out.extend_from_slice(format!("{}data: ", self.line_end()).as_bytes()),
                }
            }
            out.extend_from_slice(line);
        }
        out.extend_from_slice(&self.raw[last.end..]);
        out.freeze()
    }

    /// Its bytes under another event type, where it says one.
    pub fn renamed(&self, name: &str) -> Bytes {
        let Some(range) = self.name.clone() else { return self.raw.clone() };
        Bytes::from([&self.raw[..range.start], name.as_bytes(), &self.raw[range.end..]].concat())
    }

    /// The block that these bytes are.
    pub fn reread(&self, raw: Bytes) -> Self {
        Self::new(raw, self.complete, self.framing)
    }
}

/// How the last line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Lf,
    Cr,
    CrLf,
}

/// Finds blocks. What it finds depends on the bytes alone, not on the pieces that they come in.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each tells about the line, the block or the stream on its own")]
pub(crate) struct Scanner {
    framing: Framing,
    buffer: BytesMut,
    /// Bytes of the buffer that have been looked at.
    scanned: usize,
    /// Whether the current line has nothing in it so far.
    empty_line: bool,
    last_end: Option<LineEnd>,
    /// The current block is too large to keep.
    oversize: bool,
    /// The last block ended with a CR for which nobody waited: an LF that follows belongs to it.
    maybe_lf: bool,
    first_line: bool,
    ended: bool,
}

impl Scanner {
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            buffer: BytesMut::new(),
            scanned: 0,
            empty_line: true,
            last_end: None,
            oversize: false,
            maybe_lf: false,
            first_line: true,
            ended: false,
        }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// There are no more pieces.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next item that is whole.
    pub fn next(&mut self) -> Option<Item> {
        if self.maybe_lf && !self.buffer.is_empty() {
            self.maybe_lf = false;
            if self.buffer[0] == b'\n' {
                return Some(Item::Verbatim(self.buffer.split_to(1).freeze()));
            }
        }
        while let Some((blank, end)) = self.line() {
            self.scanned = end;
            if blank {
                return Some(self.take(end, true));
            }
        }
        if self.ended && !self.buffer.is_empty() {
            let end = self.buffer.len();
            // A last line needs no end to be a record, but an event does.
            return Some(self.take(end, self.framing == Framing::Lines));
        }
        if self.scanned > 0 && (self.oversize || self.buffer.len() > LARGEST) {
            self.oversize = true;
            return Some(Item::Verbatim(self.buffer.split_to(std::mem::take(&mut self.scanned)).freeze()));
        }
        None
    }

    fn take(&mut self, end: usize, complete: bool) -> Item {
        let raw = self.buffer.split_to(end).freeze();
        self.scanned = 0;
        self.empty_line = true;
        if std::mem::take(&mut self.oversize) || raw.len() > LARGEST {
            Item::Verbatim(raw)
        } else {
            Item::Block(Block::new(raw, complete, self.framing))
        }
    }

    /// The next line that is whole: whether it ends the block, and where it ends.
    fn line(&mut self) -> Option<(bool, usize)> {
        let rest = &self.buffer[self.scanned..];
        if self.framing == Framing::Lines {
            let found = memchr::memchr(b'\n', rest).map(|length| (true, self.scanned + length + 1));
            self.scanned = found.map_or(self.buffer.len(), |(_, end)| end);
            return found;
        }
        let found = memchr::memchr2(b'\r', b'\n', rest);
        let length = found.unwrap_or(rest.len());
        let only_bom = self.first_line && self.buffer[..self.scanned + length] == *BOM;
        self.empty_line = (self.empty_line && length == 0) || only_bom;
        let at = self.scanned + length;
        self.scanned = at;
        found?;
        let (end, how) = if self.buffer[at] == b'\n' {
            (at + 1, LineEnd::Lf)
        } else if self.empty_line && self.last_end == Some(LineEnd::Cr) {
            // In a stream of bare CRs the event is over now: who waits for an LF would hold it back until the next one.
            self.maybe_lf = true;
            (at + 1, LineEnd::Cr)
        } else {
            match self.buffer.get(at + 1) {
                Some(b'\n') => (at + 2, LineEnd::CrLf),
                Some(_) => (at + 1, LineEnd::Cr),
                None if self.ended => (at + 1, LineEnd::Cr),
                None => return None,
            }
        };
        self.last_end = Some(how);
        self.first_line = false;
        Some((std::mem::replace(&mut self.empty_line, true), end))
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
