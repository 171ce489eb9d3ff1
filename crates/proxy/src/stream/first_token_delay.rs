//! `stream.firstTokenDelay`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::edit::{Editor, Event, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Step, Steps};

/// Holds back the first token of a stream. Head, opening events and comments pass at once, as from a model that thinks for long:
/// a client that takes the head, or a `ping`, for life never times out.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FirstTokenDelay {
    /// How long the first event with text or a tool call is held back; all after it follow.
    pub delay: Time,
}

impl Settings for FirstTokenDelay {}

impl OnBody for FirstTokenDelay {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Waiting(Some(self.delay)))
    }
}

struct Waiting(Option<Time>);

impl Editor for Waiting {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.meaning.token
            && let Some(delay) = self.0.take()
        {
            out.push(Step::Wait(delay.std()));
        }
        out.send(event.raw());
        Then::GoOn
    }

    fn keeps_bytes(&self) -> bool {
        true
    }
}
