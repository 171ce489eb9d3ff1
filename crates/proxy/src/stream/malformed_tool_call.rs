//! `stream.malformedToolCall`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::dialect::arguments;
use super::edit::{Editor, Event, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Steps};
use crate::data::json::{Edit, Kind, Node, quoted};

/// Breaks the calls of tools that a model makes (OpenAI chat and responses, Anthropic), as models do. Everything else, framing and
/// JSON of the events included, stays whole. Finds agents that run a tool with what they could read, or die of what they could not.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MalformedToolCall {
    /// What is wrong with the calls; `truncated` by default.
    #[serde(default)]
    pub how: Malformed,
    /// The name that `unknownTool` gives.
    #[serde(default = "unknown")]
    pub tool: String,
}

/// What is wrong with a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Malformed {
    /// The arguments break off: half of the first piece with anything in it, and nothing of later pieces. No valid JSON.
    #[default]
    Truncated,
    /// The arguments are `[]`: valid JSON, and no object.
    WrongType,
    /// The tool has a name that nobody declared.
    UnknownTool,
}

fn unknown() -> String {
    "no_such_tool".into()
}

impl Settings for MalformedToolCall {}

impl OnBody for MalformedToolCall {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Breaking { settings: self.clone(), calls: BTreeMap::new() })
    }
}

/// What a call's arguments were so far, and what became of them.
#[derive(Default)]
struct Call {
    was: String,
    sent: String,
}

struct Breaking {
    settings: MalformedToolCall,
    calls: BTreeMap<String, Call>,
}

impl Editor for Breaking {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        let Some(json) = event.json else {
            out.send(event.raw());
            return Then::GoOn;
        };
        let data = event.block.data();
        let edits = match self.settings.how {
            Malformed::UnknownTool => self.names(json, &data),
            _ => self.arguments(json, &data),
        };
        out.send(event.block.edited(edits));
        Then::GoOn
    }
}

impl Breaking {
    fn names(&self, json: &Node, data: &[u8]) -> Vec<Edit> {
        let mut edits = Vec::new();
        json.walk(None, &mut |name, node| {
            let kind = node.get("type").and_then(|kind| kind.text(data));
            let call = name == Some("function") || matches!(kind.as_deref(), Some("function_call" | "tool_use"));
            if call && let Some(name) = node.get("name").filter(|name| name.is_filled()) {
                edits.push((name.range.clone(), quoted(&self.settings.tool)));
            }
        });
        edits
    }

    fn arguments(&mut self, json: &Node, data: &[u8]) -> Vec<Edit> {
        let mut edits = Vec::new();
        let pieces = arguments(json, data);
        for (key, piece) in &pieces {
            let text = piece.text(data).unwrap_or_default();
            let call = self.calls.entry(key.clone()).or_default();
            let new = match self.settings.how {
                _ if !call.was.is_empty() => "",
                Malformed::WrongType => "[]",
                // At least one character, as no arguments at all are taken for an empty object by some.
                _ => &text[..text.ceil_char_boundary((text.len() / 2).max(1))],
            };
            edits.push((piece.range.clone(), quoted(new)));
            call.sent.push_str(new);
            call.was.push_str(&text);
        }
        if pieces.is_empty() {
            // Events at the end of an item or of the response repeat the arguments as a whole.
            json.walk(None, &mut |name, node| {
                if name == Some("arguments") && node.kind == Kind::String {
                    let text = node.text(data).unwrap_or_default();
                    if let Some(call) = self.calls.values().find(|call| call.was == text && !text.is_empty()) {
                        edits.push((node.range.clone(), quoted(&call.sent)));
                    }
                }
            });
        }
        edits
    }
}
