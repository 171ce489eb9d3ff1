//! `stream.unknownEvent`

use schemars::JsonSchema;
use serde::Deserialize;

use super::edit::{Editor, Event, Picker, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use super::scan::Framing;
use crate::body::{BodyFault, Steps};
use crate::data::json::quoted;

/// Puts in an event of a type that nobody has heard of, as providers may add one any day. Finds clients that break on it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnknownEvent {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// The event's type, in one line; `future_event` by default.
    #[serde(default = "future")]
    pub event: String,
}

fn future() -> String {
    "future_event".into()
}

impl Settings for UnknownEvent {
    fn check(&self) -> Result<(), String> {
        if self.event.contains(['\r', '\n']) { Err("event: expected one line".into()) } else { Ok(()) }
    }
}

impl OnBody for UnknownEvent {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Adding { picker: Picker::first(self.after), name: self.event.clone() })
    }
}

struct Adding {
    picker: Picker,
    name: String,
}

impl Editor for Adding {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.counts() && self.picker.picks() {
            let (end, kind) = (event.block.line_end(), quoted(&self.name));
            out.send(match event.block.framing() {
                Framing::Events => format!("event: {}{end}data: {{\"type\":{kind}}}{end}{end}", self.name),
                Framing::Lines => format!("{{\"type\":{kind}}}{end}"),
            });
        }
        out.send(event.raw());
        Then::GoOn
    }
}
