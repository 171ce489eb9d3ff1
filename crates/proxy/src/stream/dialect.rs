//! What an event means in the formats that model providers document.

use crate::data::json::{Kind, Node};

use super::scan::{Block, Framing};

/// Whose stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI's chat completions (and its older completions), which many others speak: `choices`, `data: [DONE]`.
    OpenAiChat,
    /// OpenAI's responses: events named `response.…`.
    OpenAiResponses,
    /// Anthropic's messages: `message_start` to `message_stop`.
    Anthropic,
    /// Ollama's lines of JSON, which end with `"done": true`.
    Ollama,
    /// Anything else.
    Plain,
}

/// What an event is.
#[expect(clippy::struct_excessive_bools, reason = "an event may be several of these at once")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// Whose format tells.
    pub dialect: Option<Dialect>,
    /// No event, or one that only keeps the connection alive (`ping`).
    pub heartbeat: bool,
    /// Carries text that the model made, or arguments of a call.
    pub token: bool,
    /// Says why the model stopped.
    pub finish: bool,
    /// The mark that nothing follows.
    pub end: bool,
}

impl Meaning {
    /// What this block means.
    pub fn of(block: &Block, json: Option<&Node>) -> Self {
        if !block.is_event() {
            return Self { heartbeat: true, ..Self::default() };
        }
        let data = block.data();
        if data.trim_ascii() == b"[DONE]" {
            return Self { dialect: Some(Dialect::OpenAiChat), end: true, ..Self::default() };
        }
        json.filter(|node| matches!(node.kind, Kind::Object(_)))
            .and_then(|node| object(block, node, &data))
            // What nobody documents is content.
            .unwrap_or(Self { token: true, ..Self::default() })
    }
}

fn object(block: &Block, node: &Node, data: &[u8]) -> Option<Meaning> {
    if let Some(kind) = node.get("type").and_then(|kind| kind.text(data)) {
        return typed(&kind, node, data);
    }
    if let Some(choices) = node.get("choices") {
        let token = choices.elements().iter().any(|choice| {
            let text = choice.get("text").is_some_and(Node::is_filled);
            text || choice.get("delta").is_some_and(|delta| {
                ["content", "refusal", "reasoning_content"].iter().any(|name| delta.get(name).is_some_and(Node::is_filled))
                    || delta.get("tool_calls").is_some_and(|calls| !calls.elements().is_empty())
            })
        });
        let finish = choices.elements().iter().any(|choice| choice.get("finish_reason").is_some_and(Node::is_filled));
        return Some(Meaning { dialect: Some(Dialect::OpenAiChat), token, finish, ..Meaning::default() });
    }
    if block.framing() == Framing::Lines
        && let Some(done) = node.get("done")
    {
        let done = &data[done.range.clone()] == b"true";
        let text = node.get("response").or_else(|| node.get("message").and_then(|message| message.get("content")));
        let token = text.is_some_and(Node::is_filled);
        return Some(Meaning { dialect: Some(Dialect::Ollama), token, finish: done, end: done, heartbeat: false });
    }
    node.get("error").map(|_| Meaning::default())
}

fn typed(kind: &str, node: &Node, data: &[u8]) -> Option<Meaning> {
    let anthropic = Meaning { dialect: Some(Dialect::Anthropic), ..Meaning::default() };
    let responses = Meaning { dialect: Some(Dialect::OpenAiResponses), ..Meaning::default() };
    Some(match kind {
        "ping" => Meaning { heartbeat: true, ..anthropic },
        "message_start" | "content_block_start" | "content_block_stop" => anthropic,
        "content_block_delta" => {
            let delta = node.get("delta").and_then(|delta| delta.get("type")).and_then(|kind| kind.text(data));
            Meaning { token: delta.is_some_and(|kind| kind != "signature_delta"), ..anthropic }
        }
        "message_delta" => Meaning { finish: true, ..anthropic },
        "message_stop" => Meaning { end: true, ..anthropic },
        "error" => match node.get("error") {
            Some(_) => anthropic,
            None => responses,
        },
        "response.completed" | "response.incomplete" | "response.failed" => Meaning { finish: true, end: true, ..responses },
        kind if kind.starts_with("response.") => Meaning { token: kind.strip_suffix(".delta").is_some(), ..responses },
        _ => return None,
    })
}

/// The strings of an event that hold text which the model made.
pub(crate) fn texts(node: &Node) -> Vec<&Node> {
    let mut found = Vec::new();
    for choice in node.get("choices").map_or(&[][..], Node::elements) {
        found.extend(choice.get("text"));
        let delta = choice.get("delta");
        found.extend(["content", "refusal", "reasoning_content"].iter().filter_map(|name| delta?.get(name)));
    }
    if let Some(delta) = node.get("delta") {
        found.push(delta);
        found.extend(["text", "thinking"].iter().filter_map(|name| delta.get(name)));
    }
    found.extend(node.get("response"));
    found.extend(node.get("message").and_then(|message| message.get("content")));
    found.retain(|node| node.is_filled());
    found
}

/// The pieces of a call's arguments in an event, each with what its call is known by in this stream.
pub(crate) fn arguments<'a>(node: &'a Node, data: &[u8]) -> Vec<(String, &'a Node)> {
    let raw = |node: Option<&Node>| node.map_or_else(String::new, |node| String::from_utf8_lossy(&data[node.range.clone()]).into_owned());
    let mut found = Vec::new();
    for choice in node.get("choices").map_or(&[][..], Node::elements) {
        for call in choice.get("delta").and_then(|delta| delta.get("tool_calls")).map_or(&[][..], Node::elements) {
            if let Some(piece) = call.get("function").and_then(|function| function.get("arguments")) {
                found.push((format!("{}/{}", raw(choice.get("index")), raw(call.get("index"))), piece));
            }
        }
    }
    if let Some(delta) = node.get("delta") {
        found.extend(delta.get("partial_json").map(|piece| (raw(node.get("index")), piece)));
        if node.get("type").and_then(|kind| kind.text(data)).is_some_and(|kind| kind == "response.function_call_arguments.delta") {
            found.push((raw(node.get("item_id")), delta));
        }
    }
    found.retain(|(_, piece)| piece.is_filled());
    found
}
