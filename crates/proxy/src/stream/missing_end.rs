//! `stream.missingEnd`

use schemars::JsonSchema;
use serde::Deserialize;

use super::edit::{Editor, Event, Then, finish, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Steps};

/// Ends a stream in order, but without the mark that says so: `data: [DONE]`, `message_stop`, `response.completed`,
/// `"done": true`. Finds clients that take the end of the body for the end of the answer, and those that wait for ever.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MissingEnd {
    /// Where the stream ends; before the end mark by default.
    #[serde(default)]
    pub before: Before,
}

/// Where a stream ends too early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Before {
    /// Only the end mark is missing.
    #[default]
    EndMark,
    /// The event with the reason for stopping (`finish_reason`, `stop_reason`) is missing too.
    FinishReason,
}

impl Settings for MissingEnd {}

impl OnBody for MissingEnd {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Ending(self.before))
    }
}

struct Ending(Before);

impl Editor for Ending {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.meaning.end || (self.0 == Before::FinishReason && event.meaning.finish) {
            return finish(out);
        }
        out.send(event.raw());
        Then::GoOn
    }
}
