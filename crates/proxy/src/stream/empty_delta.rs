//! `stream.emptyDelta`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Percent;

use super::dialect::texts;
use super::edit::{Editor, Event, Picker, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Steps};
use crate::data::json::quoted;

/// Makes the text of tokens empty (`"content":""`). Finds clients that take an empty text for the end, and answers that are stored
/// although nothing was said.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmptyDelta {
    /// Tokens with text that pass first.
    #[serde(default)]
    pub after: u64,
    /// How many tokens from there on; 1 where neither this nor `share` is given.
    #[serde(default)]
    pub count: Option<u64>,
    /// Which share of the tokens from there on, decided token by token; all where it is left out.
    #[serde(default)]
    pub share: Option<Percent>,
}

impl Settings for EmptyDelta {}

impl OnBody for EmptyDelta {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Emptying(Picker::new(self.after, self.count, self.share, body.seed)))
    }
}

struct Emptying(Picker);

impl Editor for Emptying {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        let texts = event.json.filter(|_| event.meaning.token).map(texts).unwrap_or_default();
        if !texts.is_empty() && self.0.picks() {
            out.send(event.block.edited(texts.into_iter().map(|text| (text.range.clone(), quoted(""))).collect()));
        } else {
            out.send(event.raw());
        }
        Then::GoOn
    }
}
