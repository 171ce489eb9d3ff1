//! `stream.cutInEvent`

use schemars::JsonSchema;
use serde::Deserialize;

use super::edit::{Editor, Event, Picker, Then, cut, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Cut, Steps};

/// Ends the connection in the middle of an event's bytes. Finds clients that take half an event for a whole one, or an answer
/// that broke off for one that is complete.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CutInEvent {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// How the connection ends; `close` by default.
    #[serde(default = "close")]
    pub how: Cut,
}

pub(super) fn close() -> Cut {
    Cut::Close
}

impl Settings for CutInEvent {}

impl OnBody for CutInEvent {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Cutting { picker: Picker::first(self.after), how: self.how })
    }
}

struct Cutting {
    picker: Picker,
    how: Cut,
}

impl Editor for Cutting {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.counts() && self.picker.picks() {
            out.send(event.block.raw.slice(..event.block.raw.len() / 2));
            return cut(self.how, out);
        }
        out.send(event.raw());
        Then::GoOn
    }
}
