//! `stream.reorderEvents`

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::edit::{Editor, Event, Picker, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Steps};

/// Sends an event later than the ones that follow it. Finds clients that trust the order and ignore `index` and sequence numbers.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReorderEvents {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// How many of the following events overtake it; 1 by default.
    #[serde(default = "one")]
    pub by: u64,
}

fn one() -> u64 {
    1
}

impl Settings for ReorderEvents {
    fn check(&self) -> Result<(), String> {
        if self.by == 0 { Err("by: expected at least 1".into()) } else { Ok(()) }
    }
}

impl OnBody for ReorderEvents {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Reordering { picker: Picker::first(self.after), by: self.by, held: None })
    }
}

struct Reordering {
    picker: Picker,
    by: u64,
    held: Option<(Bytes, u64)>,
}

impl Editor for Reordering {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.counts() && self.picker.picks() {
            self.held = Some((event.raw(), self.by));
            return Then::GoOn;
        }
        // What has no end must stay last.
        if !event.block.complete {
            self.end(out);
        }
        out.send(event.raw());
        if event.counts()
            && let Some((_, left)) = &mut self.held
        {
            *left -= 1;
            if *left == 0 {
                self.end(out);
            }
        }
        Then::GoOn
    }

    fn end(&mut self, out: &mut Steps) {
        if let Some((held, _)) = self.held.take() {
            out.send(held);
        }
    }

    fn keeps_bytes(&self) -> bool {
        true
    }
}
