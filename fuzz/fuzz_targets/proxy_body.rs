//! Any bytes, cut anywhere, through every fault on bodies: never a panic, the same steps however the body is cut, the length
//! that was promised, and memory in proportion to the body.
//!
//! An input is four bytes (which kind, which settings, which type of body, where it is cut) and the body.
#![no_main]

mod cuts;
mod steps;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use cuts::Cuts;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use squall_proxy::RuleSpec;
use squall_proxy::body::Step;
use squall_proxy::fuzzing::{Outcome, Request, Rules};
use squall_proxy::stream::{self, Compiled};
use steps::{run, timeless};

const TYPES: [&str; 5] = ["text/event-stream", "application/json", "application/x-ndjson", "application/problem+json", "text/plain"];

/// Counts the bytes that are in use, and the most there were.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is done by the system's allocator; only numbers are kept beside it. There is no safe way to be one.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(used, Ordering::Relaxed);
        // SAFETY: as this one was called.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as this one was called.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Settings for each kind, at least one.
fn settings() -> Vec<(&'static str, Value)> {
    vec![
        ("stream.firstTokenDelay", json!({"delay": "5s"})),
        ("stream.slowTokens", json!({"every": "200ms", "jitter": "300ms"})),
        ("stream.slowTokens", json!({"perSecond": 5})),
        ("stream.stall", json!({"after": 1})),
        ("stream.stall", json!({"after": 2, "for": "5s"})),
        ("stream.heartbeatOnly", json!({"after": 1, "for": "10s"})),
        ("stream.heartbeatOnly", json!({"after": 1, "every": "10s"})),
        ("stream.fragment", json!({})),
        ("stream.fragment", json!({"bytes": 7, "every": "3ms"})),
        ("stream.cutInEvent", json!({})),
        ("stream.cutInEvent", json!({"after": 2, "how": "reset"})),
        ("stream.cutInCharacter", json!({})),
        ("stream.cutInCharacter", json!({"after": 1})),
        ("stream.missingEnd", json!({})),
        ("stream.missingEnd", json!({"before": "finishReason"})),
        ("stream.errorEvent", json!({"after": 1})),
        ("stream.truncatedJson", json!({"after": 1})),
        ("stream.malformedToolCall", json!({})),
        ("stream.malformedToolCall", json!({"how": "wrongType"})),
        ("stream.malformedToolCall", json!({"how": "unknownTool", "tool": "\"quoted\""})),
        ("stream.finishByLength", json!({"after": 1})),
        ("stream.dropEvent", json!({"after": 1})),
        ("stream.dropEvent", json!({"share": "50%"})),
        ("stream.duplicateEvent", json!({"share": "100%"})),
        ("stream.reorderEvents", json!({})),
        ("stream.reorderEvents", json!({"after": 1, "by": 3})),
        ("stream.emptyDelta", json!({"share": "100%"})),
        ("stream.unknownEvent", json!({"after": 1})),
        ("data.drift", json!({"fields": ["/a", "/*/*"], "scale": 1.5, "shift": -3, "noise": 0.5})),
        ("data.missing", json!({"fields": ["/a", "/*/b", "/items/0"]})),
        ("data.missing", json!({"fields": ["/*", "/*/*"], "how": "null"})),
        ("data.adversarial", json!({"fields": ["/a", "/*", "/*/*"]})),
        ("data.invalid", json!({"fields": ["/a", "/*", "/*/*"]})),
        ("data.stale", json!({"by": "36h"})),
        ("http.slowBody", json!({"perSecond": "7B"})),
        ("http.slowBody", json!({"perSecond": "1MB"})),
        ("http.truncate", json!({"after": "5B"})),
        ("http.truncate", json!({"after": "5B", "proper": true})),
        ("http.drop", json!({"after": "3B", "cut": "reset"})),
        ("http.malformed", json!({})),
        ("http.malformed", json!({"what": "garbage"})),
        ("http.body", json!({"replace": "other"})),
        ("http.body", json!({"merge": {"a": {"b": null}, "c": []}})),
        ("http.body", json!({"patch": [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "remove", "path": "/a"}]})),
        ("http.body", json!({"text": {"find": "(\\w)=", "replace": "$1:"}})),
    ]
}

struct Ready {
    name: &'static str,
    decided: Outcome,
}

static READY: LazyLock<Vec<Ready>> = LazyLock::new(|| {
    let settings = settings();
    let known: BTreeSet<_> = settings.iter().map(|(name, _)| *name).collect();
    for kind in stream::all() {
        let on_bodies =
            settings.iter().find(|(name, _)| *name == kind.name).map(|(_, with)| (kind.compile)(with.as_object().expect("an object")));
        let answers = kind.name.starts_with("model.");
        assert!(answers || matches!(on_bodies, Some(Ok(Compiled::Body(_)))), "{}: {on_bodies:?}", kind.name);
    }
    assert!(["http.slowBody", "http.truncate", "http.drop", "http.malformed", "http.body"].iter().all(|name| known.contains(name)));
    settings
        .into_iter()
        .map(|(name, with)| {
            let spec: RuleSpec = serde_json::from_value(json!({"fault": name, "with": with})).expect("a rule");
            let rules = Rules::compile(1, &[spec]).unwrap_or_else(|error| panic!("{name}: {error}"));
            let request = Request { method: b"GET", target: b"/", host: b"h", fields: &[], client: None, body: None };
            Ready { name, decided: rules.decide(&request, std::time::Duration::ZERO) }
        })
        .collect()
});

fuzz_target!(|input: &[u8]| {
    let [kind, second, content_type, cuts, body @ ..] = input else { return };
    let content_type = TYPES[usize::from(*content_type) % TYPES.len()];
    let ready = &READY[usize::from(*kind) % READY.len()];
    check(ready, None, content_type, *cuts, body);
    // A second fault behind it.
    if *second > 0 {
        check(ready, Some(&READY[usize::from(*second) % READY.len()]), content_type, *cuts, body);
    }
});

fn check(first: &Ready, second: Option<&Ready>, content_type: &str, cuts: u8, body: &[u8]) {
    let names = [Some(first.name), second.map(|second| second.name)];
    let made = || {
        first
            .decided
            .bodies(content_type)
            .into_iter()
            .chain(second.map(|s| s.decided.bodies(content_type)).unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let (mut faults, mut again) = (made(), made());
    let promised = faults.iter().try_fold(body.len() as u64, |length, fault| fault.length(length));
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let whole = run(&mut faults, body, std::iter::once(body.len()));
    let pieces = run(&mut again, body, Cuts::of(body.len(), cuts));
    let more = MOST.load(Ordering::Relaxed).saturating_sub(before);
    assert_eq!(timeless(&whole), timeless(&pieces), "{names:?}");
    if !names.contains(&Some("http.slowBody")) {
        assert_eq!(whole, pieces, "{names:?}");
    }
    let cut = whole.iter().any(|step| matches!(step, Step::Cut(_) | Step::Hang));
    let (sent, _) = timeless(&whole);
    let sent = sent.len();
    if let Some(promised) = promised
        && !cut
    {
        assert_eq!(sent as u64, promised, "{names:?}: it says another length");
    }
    // 64 KiB of a letter, and six bytes for what must be escaped, are the most that takes the place of one value; 10,000
    // heartbeats the most that is sent beside the body; a step for each byte the most that a pace makes.
    let values = body.iter().filter(|byte| matches!(byte, b'"' | b',' | b':' | b'[')).count();
    let most = (8 << 20) + body.len() * 4096 + values * (1 << 20);
    assert!(more < most, "{names:?}: {more} bytes for a body of {}", body.len());
}
