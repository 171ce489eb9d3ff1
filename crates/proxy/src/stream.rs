//! Faults on streams of events: tokens of a model, server-sent events, lines of JSON. One file each; the lists below are what
//! there is.
//!
//! ```text
//! pieces ──▶ Scanner: whole events, bytes as they came ──▶ a kind's Editor ──▶ Steps
//! ```
//!
//! What comes out depends on the bytes alone, not on the pieces that they arrive in. What a kind does not change passes byte by
//! byte, line ends and comments included. A response that is no stream by its `content-type` stays untouched.

mod cut_in_character;
mod cut_in_event;
mod dialect;
mod drop_event;
mod duplicate_event;
mod edit;
mod empty_delta;
mod error_event;
mod finish_by_length;
mod first_token_delay;
mod fragment;
mod heartbeat_only;
pub(crate) mod kind;
mod malformed_tool_call;
mod missing_end;
mod refusal;
mod reorder_events;
pub(crate) mod scan;
mod slow_tokens;
mod stall;
mod truncated_json;
mod unknown_event;

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

pub use cut_in_character::CutInCharacter;
pub use cut_in_event::CutInEvent;
pub use drop_event::DropEvent;
pub use duplicate_event::DuplicateEvent;
pub use empty_delta::EmptyDelta;
pub use error_event::{ErrorEvent, ModelError};
pub use finish_by_length::FinishByLength;
pub use first_token_delay::FirstTokenDelay;
pub use fragment::Fragment;
pub use heartbeat_only::HeartbeatOnly;
pub use kind::{Answer, Body, Compiled, Instead, Kind, OnBody, SettingsError};
pub use malformed_tool_call::{Malformed, MalformedToolCall};
pub use missing_end::{Before, MissingEnd};
pub use refusal::{ContextTooLong, Overloaded, Provider, QuotaExceeded, RateLimited};
pub use reorder_events::ReorderEvents;
pub use slow_tokens::SlowTokens;
pub use stall::Stall;
pub use truncated_json::TruncatedJson;
pub use unknown_event::UnknownEvent;

use kind::{answer_kind, body_kind};

/// The faults on streams.
pub const KINDS: &[Kind] = &[
    body_kind!("stream.firstTokenDelay", FirstTokenDelay),
    body_kind!("stream.slowTokens", SlowTokens),
    body_kind!("stream.stall", Stall),
    body_kind!("stream.heartbeatOnly", HeartbeatOnly),
    body_kind!("stream.fragment", Fragment),
    body_kind!("stream.cutInEvent", CutInEvent),
    body_kind!("stream.cutInCharacter", CutInCharacter),
    body_kind!("stream.missingEnd", MissingEnd),
    body_kind!("stream.errorEvent", ErrorEvent),
    body_kind!("stream.truncatedJson", TruncatedJson),
    body_kind!("stream.malformedToolCall", MalformedToolCall),
    body_kind!("stream.finishByLength", FinishByLength),
    body_kind!("stream.dropEvent", DropEvent),
    body_kind!("stream.duplicateEvent", DuplicateEvent),
    body_kind!("stream.reorderEvents", ReorderEvents),
    body_kind!("stream.emptyDelta", EmptyDelta),
    body_kind!("stream.unknownEvent", UnknownEvent),
];

/// All faults on what streams and data mean: `stream.*`, `model.*` and `data.*`.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain(MODEL_KINDS).chain(crate::data::KINDS)
}

/// The refusals of model providers.
pub const MODEL_KINDS: &[Kind] = &[
    answer_kind!("model.rateLimited", RateLimited),
    answer_kind!("model.overloaded", Overloaded),
    answer_kind!("model.quotaExceeded", QuotaExceeded),
    answer_kind!("model.contextTooLong", ContextTooLong),
];
