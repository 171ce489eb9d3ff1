//! `http.malformed`: an answer that is none.

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Action, Settings};
use crate::body::{BodyFault, Steps};
use crate::http::plan::{Asked, Draw, Plan};
use crate::stream::{Body, OnBody};

/// Breaks the response itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Malformed {
    /// What is broken; the JSON of the body by default.
    #[serde(default)]
    what: What,
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The body's last byte that is not white space is another: JSON that does not end.
    #[default]
    Json,
    /// The body's bytes are random, and as many.
    Garbage,
    /// The first line is no status line; nothing follows.
    StatusLine,
    /// A header field without a colon; nothing follows.
    Header,
    /// A chunk whose size is no number.
    Chunk,
}

impl Settings for Malformed {}

impl Action for Malformed {
    fn plan(&self, _asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        plan.raw_head = match self.what {
            What::Json | What::Garbage => {
                plan.bodies.push((std::sync::Arc::new(self.clone()), draw.seed));
                return;
            }
            What::StatusLine => Some(Bytes::from_static(b"HTTP/1.1 OK two hundred\r\n\r\n")),
            What::Header => Some(Bytes::from_static(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n")),
            What::Chunk => Some(Bytes::from_static(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")),
        };
    }
}

impl OnBody for Malformed {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        Some(Box::new(Breaking { garbage: self.what == What::Garbage, state: body.seed | 1, held: BytesMut::new() }))
    }
}

/// A body that ends with more white space than this, in bytes, stays as it is.
const WHITE_SPACE: usize = 64 << 10;

struct Breaking {
    garbage: bool,
    state: u64,
    /// From the last byte on that is no white space, so far.
    held: BytesMut,
}

impl Breaking {
    fn next(&mut self) -> u8 {
        // Xorshift (Marsaglia, 2003): garbage needs no better.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.to_be_bytes()[3]
    }
}

impl BodyFault for Breaking {
    fn piece(&mut self, piece: Bytes, out: &mut Steps) {
        if self.garbage {
            let bytes: Vec<u8> = piece.iter().map(|_| self.next()).collect();
            return out.send(bytes);
        }
        match piece.iter().rposition(|byte| !byte.is_ascii_whitespace()) {
            Some(at) => {
                out.send(self.held.split());
                out.send(piece.slice(..at));
                self.held.extend_from_slice(&piece[at..]);
            }
            None if self.held.is_empty() => out.send(piece),
            None => self.held.extend_from_slice(&piece),
        }
        if self.held.len() > WHITE_SPACE {
            out.send(self.held.split());
        }
    }

    fn end(&mut self, out: &mut Steps) {
        if let Some(last) = self.held.first_mut() {
            *last = b',';
        }
        out.send(self.held.split());
    }

    fn length(&self, original: u64) -> Option<u64> {
        Some(original)
    }
}
