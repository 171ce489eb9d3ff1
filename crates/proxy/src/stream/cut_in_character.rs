//! `stream.cutInCharacter`

use schemars::JsonSchema;
use serde::Deserialize;

use super::cut_in_event::close;
use super::edit::{Editor, Event, Then, cut, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Cut, Steps};

/// Ends the connection behind the first byte of a character that has more than one in UTF-8. Finds decoders that fail, or show
/// a replacement character, where a stream broke off. A stream of ASCII alone (also one that escapes: `\u00e9`) is not cut.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CutInCharacter {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// How the connection ends; `close` by default.
    #[serde(default = "close")]
    pub how: Cut,
}

impl Settings for CutInCharacter {}

impl OnBody for CutInCharacter {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Cutting { left: self.after, how: self.how })
    }
}

struct Cutting {
    left: u64,
    how: Cut,
}

impl Editor for Cutting {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        let raw = &event.block.raw;
        if event.counts() {
            let start = event.block.data_start();
            // 0xC2 and above begin a character of two to four bytes.
            let lead = raw[start..].iter().position(|byte| *byte >= 0xC2).filter(|_| self.left == 0);
            if let Some(lead) = lead {
                out.send(raw.slice(..=start + lead));
                return cut(self.how, out);
            }
            self.left = self.left.saturating_sub(1);
        }
        out.send(event.raw());
        Then::GoOn
    }
}
