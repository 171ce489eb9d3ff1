//! `stream.stall`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::edit::{Editor, Event, Picker, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Step, Steps};

/// Stops a stream after some events, with the connection open: no error, no end. Finds clients without a timeout between events.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stall {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// For how long; the rest of the stream follows then. Until the client leaves where it is left out.
    #[serde(default, rename = "for")]
    pub time: Option<Time>,
}

impl Settings for Stall {}

impl OnBody for Stall {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Stalling { picker: Picker::first(self.after), time: self.time })
    }
}

struct Stalling {
    picker: Picker,
    time: Option<Time>,
}

impl Editor for Stalling {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.counts() && self.picker.picks() {
            let Some(time) = self.time else {
                out.push(Step::Hang);
                return Then::Ended;
            };
            out.push(Step::Wait(time.std()));
        }
        out.send(event.raw());
        Then::GoOn
    }

    fn keeps_bytes(&self) -> bool {
        true
    }
}
