//! `stream.duplicateEvent`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Percent;

use super::edit::{Editor, Event, Picker, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Steps};

/// Sends events twice or more, as a proxy that retries does. Finds text that is shown twice, and tools that are called twice.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DuplicateEvent {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// How many events from there on; 1 where neither this nor `share` is given.
    #[serde(default)]
    pub count: Option<u64>,
    /// Which share of the events from there on, decided event by event; all where it is left out.
    #[serde(default)]
    pub share: Option<Percent>,
    /// How often such an event is sent in all, from 2 to 1000; 2 by default.
    #[serde(default = "twice")]
    pub times: u32,
}

fn twice() -> u32 {
    2
}

impl Settings for DuplicateEvent {
    fn check(&self) -> Result<(), String> {
        if (2..=1000).contains(&self.times) { Ok(()) } else { Err("times: expected a number from 2 to 1000".into()) }
    }
}

impl OnBody for DuplicateEvent {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Repeating { picker: Picker::new(self.after, self.count, self.share, body.seed), times: self.times })
    }
}

struct Repeating {
    picker: Picker,
    times: u32,
}

impl Editor for Repeating {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        let times = if event.counts() && self.picker.picks() { self.times } else { 1 };
        for _ in 0..times {
            out.send(event.raw());
        }
        Then::GoOn
    }
}
