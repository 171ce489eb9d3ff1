//! `stream.truncatedJson`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Percent;

use super::edit::{Editor, Event, Picker, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Steps};

/// Cuts the JSON of an event in half and leaves the framing whole, so that the event arrives and cannot be read. Finds parsers
/// without a catch, and those that drop the rest of the stream without a word.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TruncatedJson {
    /// Events with JSON that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// How many events from there on; 1 where neither this nor `share` is given.
    #[serde(default)]
    pub count: Option<u64>,
    /// Which share of the events from there on, decided event by event; all where it is left out.
    #[serde(default)]
    pub share: Option<Percent>,
}

impl Settings for TruncatedJson {}

impl OnBody for TruncatedJson {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Truncating(Picker::new(self.after, self.count, self.share, body.seed)))
    }
}

struct Truncating(Picker);

impl Editor for Truncating {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.counts() && event.json.is_some() && self.0.picks() {
            let data = event.block.data();
            let text = String::from_utf8_lossy(&data);
            out.send(event.block.with_data(&text.as_bytes()[..text.floor_char_boundary(text.len() / 2)]));
        } else {
            out.send(event.raw());
        }
        Then::GoOn
    }
}
