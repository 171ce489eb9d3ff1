//! `stream.dropEvent`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Percent;

use super::edit::{Editor, Event, Picker, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Steps};

/// Leaves events out. Finds clients that never check that a stream is whole: a missing `content_block_start`, a hole in a text.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DropEvent {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// How many events from there on; 1 where neither this nor `share` is given.
    #[serde(default)]
    pub count: Option<u64>,
    /// Which share of the events from there on, decided event by event; all where it is left out.
    #[serde(default)]
    pub share: Option<Percent>,
}

impl Settings for DropEvent {}

impl OnBody for DropEvent {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Dropping(Picker::new(self.after, self.count, self.share, body.seed)))
    }
}

struct Dropping(Picker);

impl Editor for Dropping {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if !event.counts() || !self.0.picks() {
            out.send(event.raw());
        }
        Then::GoOn
    }
}
