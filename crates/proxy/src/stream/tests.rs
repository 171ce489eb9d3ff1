use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::golden::{check, sent, steps};
use super::*;
use crate::body::Step;

const SSE: &str = "text/event-stream; charset=utf-8";
const NDJSON: &str = "application/x-ndjson";

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/stream/testdata").join(name)
}

/// The streams that stand in for each provider, with how they are labelled.
const STREAMS: [(&str, &str, &[u8]); 6] = [
    ("openai-chat", SSE, include_bytes!("testdata/openai-chat.sse")),
    ("openai-tools", SSE, include_bytes!("testdata/openai-tools.sse")),
    ("openai-responses", SSE, include_bytes!("testdata/openai-responses.sse")),
    ("anthropic", SSE, include_bytes!("testdata/anthropic.sse")),
    ("ollama", NDJSON, include_bytes!("testdata/ollama.ndjson")),
    ("plain", SSE, include_bytes!("testdata/plain.sse")),
];

/// Each kind with settings that make it work on these streams, and those streams that its golden files are kept for.
fn cases() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        ("stream.firstTokenDelay", json!({"delay": "2s"}), &["openai-chat", "openai-responses", "anthropic", "ollama", "plain"]),
        ("stream.slowTokens", json!({"every": "200ms"}), &["openai-chat", "anthropic", "ollama"]),
        ("stream.stall", json!({"after": 2}), &["openai-chat", "anthropic", "plain", "ollama"]),
        ("stream.heartbeatOnly", json!({"after": 3, "every": "1s", "for": "2500ms"}), &["openai-chat", "anthropic", "plain", "ollama"]),
        ("stream.fragment", json!({"bytes": 40, "every": "1ms"}), &["plain"]),
        ("stream.cutInEvent", json!({"after": 2, "how": "reset"}), &["openai-chat", "anthropic", "plain", "ollama"]),
        ("stream.cutInCharacter", json!({}), &["openai-chat", "anthropic", "ollama", "plain"]),
        ("stream.missingEnd", json!({}), &["openai-chat", "openai-responses", "anthropic", "ollama"]),
        ("stream.errorEvent", json!({"after": 3}), &["openai-chat", "openai-responses", "anthropic", "ollama", "plain"]),
        ("stream.truncatedJson", json!({"after": 2}), &["openai-chat", "anthropic", "ollama", "plain"]),
        ("stream.malformedToolCall", json!({}), &["openai-tools", "openai-responses", "anthropic"]),
        ("stream.finishByLength", json!({"after": 1}), &["openai-chat", "openai-tools", "openai-responses", "anthropic", "ollama"]),
        ("stream.dropEvent", json!({"after": 1}), &["openai-chat", "anthropic", "plain"]),
        ("stream.duplicateEvent", json!({"after": 1, "times": 3}), &["openai-chat", "anthropic", "plain"]),
        ("stream.reorderEvents", json!({"after": 1, "by": 2}), &["openai-chat", "anthropic", "plain"]),
        ("stream.emptyDelta", json!({"count": 2}), &["openai-chat", "openai-responses", "anthropic", "ollama"]),
        ("stream.unknownEvent", json!({"after": 1}), &["openai-chat", "anthropic", "plain", "ollama"]),
    ]
}

fn stream(name: &str) -> (&'static str, &'static [u8]) {
    let (_, content_type, body) = STREAMS.iter().find(|(known, ..)| *known == name).unwrap();
    (content_type, body)
}

#[test]
fn each_kind_sends_exactly_what_its_golden_files_say() {
    assert_eq!(cases().iter().map(|case| case.0).collect::<Vec<_>>(), KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>());
    for (kind, with, streams) in cases() {
        for name in streams {
            let (content_type, body) = stream(name);
            let file = testdata(&format!("{}.{name}", kind.trim_start_matches("stream.")));
            check(&file, KINDS, kind, &with, content_type, body);
        }
    }
}

#[test]
fn a_call_is_broken_in_each_of_the_three_ways() {
    for how in ["truncated", "wrongType", "unknownTool"] {
        for name in ["openai-tools", "openai-responses", "anthropic"] {
            let (content_type, body) = stream(name);
            check(
                &testdata(&format!("malformedToolCall-{how}.{name}")),
                KINDS,
                "stream.malformedToolCall",
                &json!({"how": how}),
                content_type,
                body,
            );
        }
    }
}

#[test]
fn a_response_that_is_no_stream_stays_untouched() {
    let body = br#"{"error":{"message":"bad key"}}"#;
    for (kind, with, _) in cases() {
        for content_type in ["application/json", "text/html", ""] {
            assert_eq!(sent(&steps(KINDS, kind, &with, content_type, body, &[])), body, "{kind}");
        }
    }
}

#[test]
fn what_has_not_been_reached_or_does_not_happen_passes_byte_by_byte() {
    for (kind, mut with, _) in cases() {
        if !with.as_object().unwrap().contains_key("after") {
            continue;
        }
        with["after"] = json!(1000);
        for (name, content_type, body) in STREAMS {
            assert_eq!(sent(&steps(KINDS, kind, &with, content_type, body, &[])), body, "{kind} on {name}");
        }
    }
    for kind in ["stream.dropEvent", "stream.duplicateEvent", "stream.truncatedJson", "stream.emptyDelta"] {
        let (content_type, body) = stream("anthropic");
        assert_eq!(sent(&steps(KINDS, kind, &json!({"share": "0%"}), content_type, body, &[])), body, "{kind}");
    }
}

#[test]
fn a_compressed_body_stays_untouched() {
    for (kind, with, _) in cases() {
        let listed = KINDS.iter().find(|listed| listed.name == kind).unwrap();
        let Compiled::Body(settings) = (listed.compile)(with.as_object().unwrap()).unwrap() else { panic!() };
        assert!(settings.fault(&Body { content_type: SSE, content_encoding: "gzip", seed: 1 }).is_none(), "{kind}");
        assert!(settings.fault(&Body { content_type: SSE, content_encoding: "identity", seed: 1 }).is_some(), "{kind}");
    }
}

#[test]
fn kinds_that_only_wait_or_reorder_keep_the_length_and_others_give_it_up() {
    for (kind, with, _) in cases() {
        let listed = KINDS.iter().find(|listed| listed.name == kind).unwrap();
        let Compiled::Body(settings) = (listed.compile)(with.as_object().unwrap()).unwrap() else { panic!() };
        let fault = settings.fault(&Body { content_type: SSE, content_encoding: "", seed: 1 }).unwrap();
        let keeps = ["firstTokenDelay", "slowTokens", "stall", "fragment", "reorderEvents"].contains(&kind.trim_start_matches("stream."));
        assert_eq!(fault.length(10), keeps.then_some(10), "{kind}");
        if keeps {
            for (_, content_type, body) in STREAMS {
                let steps = steps(KINDS, kind, &with, content_type, body, &[]);
                assert!(steps.contains(&Step::Hang) || sent(&steps).len() == body.len(), "{kind}");
            }
        }
    }
}

#[test]
fn without_a_time_heartbeats_go_on_until_the_client_leaves() {
    let (content_type, body) = stream("anthropic");
    let steps = steps(KINDS, "stream.heartbeatOnly", &json!({}), content_type, body, &[]);
    assert_eq!(steps.iter().filter(|step| **step == Step::Wait(Duration::from_secs(1))).count(), 10_000);
    assert_eq!(steps.last(), Some(&Step::Hang));
}

#[test]
fn a_share_of_events_is_the_same_each_time_and_about_as_large_as_asked() {
    let body: String = (0..10_000).map(|i| format!("data: {i}\n\n")).collect();
    let once = steps(KINDS, "stream.dropEvent", &json!({"share": "30%"}), SSE, body.as_bytes(), &[]);
    assert_eq!(once, steps(KINDS, "stream.dropEvent", &json!({"share": "30%"}), SSE, body.as_bytes(), &[10, 1000]));
    let left = sent(&once).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as f64;
    assert!((left - 7_000.0).abs() < 2.576 * (10_000.0_f64 * 0.3 * 0.7).sqrt(), "{left}");
}

#[test]
fn settings_that_cannot_be_are_refused_with_what_to_write() {
    for (kind, with, message) in [
        ("stream.slowTokens", json!({}), "with: expected either `every` (as 200ms) or `perSecond` above 0 (as 5)"),
        ("stream.slowTokens", json!({"perSecond": 0}), "with: expected either `every` (as 200ms) or `perSecond` above 0 (as 5)"),
        ("stream.fragment", json!({"bytes": 0}), "with: bytes: expected at least 1"),
        ("stream.reorderEvents", json!({"by": 0}), "with: by: expected at least 1"),
        ("stream.duplicateEvent", json!({"times": 1}), "with: times: expected a number from 2 to 1000"),
        ("stream.heartbeatOnly", json!({"every": "0s"}), "with: every: expected at least 1ms"),
        ("stream.unknownEvent", json!({"event": "a\nb"}), "with: event: expected one line"),
    ] {
        let kind = KINDS.iter().find(|listed| listed.name == kind).unwrap();
        assert_eq!((kind.compile)(with.as_object().unwrap()).unwrap_err().to_string(), message);
    }
    for kind in all() {
        let error = (kind.compile)(json!({"afte": 1}).as_object().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("with: unknown field `afte`"), "{}: {error}", kind.name);
        let schema = (kind.schema)();
        assert!(schema.get("description").and_then(Value::as_str).is_some_and(|text| text.len() > 20), "{}", kind.name);
    }
}

/// Bytes that no provider sends, made of those that providers send.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = proptest::sample::select(vec![
        &b"\n"[..],
        b"\n\n",
        b"\r",
        b"\r\n",
        b"data: ",
        b"event: error",
        b": ping",
        b"\xC3\xA9",
        b"\xC3",
        b"\xff",
        b"[DONE]",
        br#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
        br#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{"}}]}}]}"#,
        br#"{"choices":[{"text":"b","finish_reason":"stop"}]}"#,
        br#"{"choices":{"delta":[]},"error":1}"#,
        br#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"\u00e9{"}}"#,
        br#"{"type":"message_delta","delta":{"stop_reason":null}}"#,
        br#"{"type":"response.output_text.delta","delta":"c"}"#,
        br#"{"type":"response.completed","response":{"status":1,"output":[{"text":"c","arguments":"{"}]}}"#,
        br#"{"done":true,"response":"d"}"#,
        br#"{"type":3}"#,
        b"{\"a\":\"\xff\"}",
        b"[",
        b"1",
    ]);
    proptest::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn bytes_that_nobody_documents_are_borne_in_any_pieces(
        body in any_bytes(), lines: bool, cuts in proptest::collection::vec(0_usize..30, 0..40),
    ) {
        let content_type = if lines { NDJSON } else { SSE };
        for (kind, with, _) in cases() {
            let whole = steps(KINDS, kind, &with, content_type, &body, &[]);
            prop_assert_eq!(steps(KINDS, kind, &with, content_type, &body, &cuts), whole, "{}", kind);
        }
    }

    #[test]
    fn what_comes_out_does_not_depend_on_the_pieces(
        case in 0..KINDS.len(), which in 0..STREAMS.len(), end in 0_usize..3, cuts in proptest::collection::vec(0_usize..200, 0..40),
    ) {
        let (kind, with, _) = cases().swap_remove(case);
        let (_, content_type, body) = STREAMS[which];
        let body = String::from_utf8(body.to_vec()).unwrap().replace('\n', ["\n", "\r\n", "\r"][end]);
        let whole = steps(KINDS, kind, &with, content_type, body.as_bytes(), &[]);
        prop_assert_eq!(steps(KINDS, kind, &with, content_type, body.as_bytes(), &cuts), whole);
    }
}
