//! What is done to each stream, and how long clients are to wait for it.

use serde_json::{Value, json};
use squall_proxy::stream::{self, Compiled};

/// One fault, under a name that stands first in the path.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// None for the stream as it is.
    pub(crate) fault: Option<(&'static str, Value)>,
    /// It goes on for longer than a client waits.
    pub(crate) hangs: bool,
    /// How long it takes at least, in seconds.
    pub(crate) waits: f64,
}

impl Scenario {
    pub(crate) fn compiled(&self) -> Option<Compiled> {
        let (fault, with) = self.fault.as_ref()?;
        let kind = stream::all().find(|kind| kind.name == *fault).unwrap();
        Some((kind.compile)(with.as_object().unwrap()).unwrap())
    }

    /// Seconds after which a client gives up.
    pub(crate) fn patience(&self) -> u64 {
        if self.hangs { 2 } else { 60 }
    }
}

/// Every kind, most with settings that let something pass first.
pub(crate) fn all() -> Vec<Scenario> {
    let one = |name, fault, with| Scenario { name, fault: Some((fault, with)), hangs: false, waits: 0.0 };
    let hangs = |scenario: Scenario| Scenario { hangs: true, ..scenario };
    let waits = |waits, scenario: Scenario| Scenario { waits, ..scenario };
    vec![
        Scenario { name: "untouched", fault: None, hangs: false, waits: 0.0 },
        waits(0.5, one("firstTokenDelay", "stream.firstTokenDelay", json!({"delay": "500ms"}))),
        hangs(one("firstTokenNever", "stream.firstTokenDelay", json!({"delay": "1h"}))),
        waits(0.2, one("slowTokens", "stream.slowTokens", json!({"perSecond": 10}))),
        hangs(one("stall", "stream.stall", json!({"after": 2}))),
        waits(0.5, one("stallForSome", "stream.stall", json!({"after": 2, "for": "500ms"}))),
        waits(0.5, one("heartbeatOnly", "stream.heartbeatOnly", json!({"after": 2, "every": "100ms", "for": "500ms"}))),
        one("fragment", "stream.fragment", json!({"bytes": 19})),
        one("cutInEvent", "stream.cutInEvent", json!({"after": 2})),
        one("resetInEvent", "stream.cutInEvent", json!({"after": 2, "how": "reset"})),
        one("cutInCharacter", "stream.cutInCharacter", json!({})),
        one("missingEnd", "stream.missingEnd", json!({})),
        one("missingFinish", "stream.missingEnd", json!({"before": "finishReason"})),
        one("errorEvent", "stream.errorEvent", json!({"after": 3})),
        one("truncatedJson", "stream.truncatedJson", json!({"after": 1})),
        one("truncatedCall", "stream.malformedToolCall", json!({})),
        one("wrongTypeCall", "stream.malformedToolCall", json!({"how": "wrongType"})),
        one("unknownTool", "stream.malformedToolCall", json!({"how": "unknownTool"})),
        one("finishByLength", "stream.finishByLength", json!({"after": 1})),
        one("dropEvent", "stream.dropEvent", json!({})),
        one("duplicateEvent", "stream.duplicateEvent", json!({"share": "100%"})),
        one("reorderEvents", "stream.reorderEvents", json!({})),
        one("emptyDelta", "stream.emptyDelta", json!({"share": "100%"})),
        one("unknownEvent", "stream.unknownEvent", json!({"after": 1})),
        waits(1.0, one("rateLimited", "model.rateLimited", json!({"retryAfter": "1s"}))),
        one("overloaded", "model.overloaded", json!({})),
        one("quotaExceeded", "model.quotaExceeded", json!({})),
        one("contextTooLong", "model.contextTooLong", json!({})),
    ]
}

/// The faults on JSON in which nothing is left to chance, with the settings that the golden files of their names are kept for.
pub(crate) fn data() -> Vec<Scenario> {
    let one = |name, fault, with| Scenario { name, fault: Some((fault, with)), hangs: false, waits: 0.0 };
    let retyped = ["/orders/0/items", "/orders/*/total", "/orders/*/customer/name", "/orders/*/paid"];
    vec![
        one("missing", "data.missing", json!({"fields": ["/orders/*/customer/email", "/orders/1/placed"]})),
        one("invalid", "data.invalid", json!({"fields": retyped})),
        one("stale", "data.stale", json!({"by": "36h"})),
    ]
}

/// The scenarios as drivers are told of them.
pub(crate) fn as_json() -> String {
    let told = all().into_iter().map(|scenario| {
        json!({
            "name": scenario.name,
            "timeout": scenario.patience(),
            "patience": scenario.patience() * 1000,
            "waits": scenario.waits,
            "retries": u8::from(scenario.name == "rateLimited"),
        })
    });
    Value::Array(told.collect()).to_string()
}
