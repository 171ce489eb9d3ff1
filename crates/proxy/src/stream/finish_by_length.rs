//! `stream.finishByLength`

use std::collections::BTreeMap;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::dialect::{Dialect, arguments, texts};
use super::edit::{Editor, Event, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Steps};
use crate::data::json::{Edit, Node, quoted};

/// Lets an answer end early, as at the limit of tokens: later tokens are left out, and the reason for stopping says so
/// (`finish_reason: length`, `stop_reason: max_tokens`, `response.incomplete`). Finds clients that never look at the reason, and
/// store or run half an answer. Counts of used tokens stay as upstream sent them.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FinishByLength {
    /// Tokens that pass: events with text or a tool call.
    pub after: u64,
}

impl Settings for FinishByLength {}

impl OnBody for FinishByLength {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Limiting { left: self.after, cut: false, items: BTreeMap::new() })
    }
}

/// What an item of the answer was, and the part of it that passed.
#[derive(Default)]
struct Item {
    was: String,
    sent: String,
}

struct Limiting {
    left: u64,
    /// Whether a token was left out. An answer that is short enough stays as it is.
    cut: bool,
    items: BTreeMap<String, Item>,
}

impl Editor for Limiting {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        let Some(json) = event.json else {
            out.send(event.raw());
            return Then::GoOn;
        };
        let data = event.block.data();
        if event.meaning.token {
            let passes = self.left > 0;
            self.left = self.left.saturating_sub(1);
            self.cut |= !passes;
            self.remember(json, &data, passes);
            if !passes && !event.meaning.finish {
                return Then::GoOn;
            }
        }
        let mut edits = Vec::new();
        if event.meaning.token && self.cut {
            edits.extend(texts(json).into_iter().map(|text| (text.range.clone(), quoted(""))));
        }
        let mut name = None;
        if event.meaning.finish && self.cut {
            name = reason(event.dialect, json, &data, &mut edits);
        }
        if event.dialect == Dialect::OpenAiResponses && !event.meaning.token {
            self.repeated(json, &data, &mut edits);
        }
        out.send(send(event, edits, name));
        Then::GoOn
    }
}

fn send(event: &Event, edits: Vec<Edit>, name: Option<&str>) -> Bytes {
    let edited = event.block.edited(edits);
    match name {
        Some(name) => event.block.reread(edited).renamed(name),
        None => edited,
    }
}

impl Limiting {
    fn remember(&mut self, json: &Node, data: &[u8], passes: bool) {
        let id = |name| json.get(name).map_or(&b""[..], |node| &data[node.range.clone()]);
        let key = String::from_utf8_lossy(&[id("item_id"), id("content_index")].concat()).into_owned();
        let mut pieces: Vec<&Node> = texts(json);
        pieces.extend(arguments(json, data).into_iter().map(|(_, piece)| piece));
        // A delta of the responses format is one string.
        if let Some(text) = pieces.first().and_then(|piece| piece.text(data)) {
            let item = self.items.entry(key).or_default();
            item.was.push_str(&text);
            if passes {
                item.sent.push_str(&text);
            }
        }
    }

    /// Events at the end of an item or of the response repeat it as a whole.
    fn repeated(&self, json: &Node, data: &[u8], edits: &mut Vec<Edit>) {
        json.walk(None, &mut |name, node| {
            if matches!(name, Some("text" | "arguments")) && node.is_filled() {
                let text = node.text(data).unwrap_or_default();
                if let Some(item) = self.items.values().find(|item| item.was == text && item.sent != item.was) {
                    edits.push((node.range.clone(), quoted(&item.sent)));
                }
            }
        });
    }
}

/// Edits that make the reason for stopping the limit of tokens; the event's new type, where it changes.
fn reason(dialect: Dialect, json: &Node, data: &[u8], edits: &mut Vec<Edit>) -> Option<&'static str> {
    let replace = |node: Option<&Node>, new: &str, edits: &mut Vec<Edit>| {
        if let Some(node) = node {
            edits.push((node.range.clone(), new.into()));
        }
    };
    match dialect {
        Dialect::Anthropic => replace(json.get("delta").and_then(|delta| delta.get("stop_reason")), r#""max_tokens""#, edits),
        Dialect::Ollama => replace(json.get("done_reason"), r#""length""#, edits),
        Dialect::OpenAiResponses => {
            if json.get("type")?.text(data)? != "response.completed" {
                return None;
            }
            let response = json.get("response")?;
            replace(json.get("type"), r#""response.incomplete""#, edits);
            replace(response.get("status"), r#""incomplete""#, edits);
            replace(response.get("incomplete_details"), r#"{"reason":"max_output_tokens"}"#, edits);
            return Some("response.incomplete");
        }
        Dialect::OpenAiChat | Dialect::Plain => {
            for choice in json.get("choices").map_or(&[][..], Node::elements) {
                replace(choice.get("finish_reason").filter(|reason| reason.is_filled()), r#""length""#, edits);
            }
        }
    }
    None
}
