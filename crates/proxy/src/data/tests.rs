use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::stream::golden::{check, sent, steps};

const JSON: &str = "application/json; charset=utf-8";
const NDJSON: &str = "application/x-ndjson";
const ORDERS: &[u8] = include_bytes!("testdata/orders.json");
const READINGS: &[u8] = include_bytes!("testdata/readings.ndjson");

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/data/testdata").join(name)
}

/// Each kind on one body of JSON and on lines.
fn cases() -> Vec<(&'static str, Value, Value)> {
    vec![
        (
            "data.drift",
            json!({"fields": ["/orders/*/total", "/orders/*/items/*/count"], "scale": 1.1, "shift": 1, "noise": 0.05}),
            json!({"fields": ["/value"], "shift": -3, "share": "50%"}),
        ),
        (
            "data.missing",
            json!({"fields": ["/orders/*/customer/email", "/orders/1/placed"]}),
            json!({"fields": ["/sensor", "/value"], "how": "null", "share": "50%"}),
        ),
        (
            "data.adversarial",
            json!({"fields": ["/orders/*/customer/*", "/orders/*/total"], "lists": ["syntax", "prompt", "invisible", "numbers"]}),
            json!({"fields": ["/sensor"], "lists": ["control", "unicode"]}),
        ),
        (
            "data.invalid",
            json!({"fields": ["/orders/0/items", "/orders/*/total", "/orders/*/customer/name", "/orders/*/paid"]}),
            json!({"fields": ["/value"], "to": "object"}),
        ),
        ("data.stale", json!({"by": "36h"}), json!({"by": "1h", "fields": ["/at"]})),
    ]
}

#[test]
fn each_kind_sends_exactly_what_its_golden_files_say() {
    assert_eq!(cases().iter().map(|case| case.0).collect::<Vec<_>>(), KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>());
    for (kind, whole, lines) in cases() {
        let name = kind.trim_start_matches("data.");
        check(&testdata(&format!("{name}.orders.json")), KINDS, kind, &whole, JSON, ORDERS);
        check(&testdata(&format!("{name}.readings.ndjson")), KINDS, kind, &lines, NDJSON, READINGS);
    }
}

#[test]
fn what_is_no_json_or_does_not_match_stays_byte_by_byte() {
    for (kind, mut whole, _) in cases() {
        for (content_type, body) in [(JSON, &b"{\"orders\": [1, "[..]), ("text/event-stream", ORDERS), ("", ORDERS), (JSON, b"")] {
            assert_eq!(sent(&steps(KINDS, kind, &whole, content_type, body, &[])), body, "{kind}");
        }
        whole["fields"] = json!(["/nothing/*/here"]);
        assert_eq!(sent(&steps(KINDS, kind, &whole, JSON, ORDERS, &[])), ORDERS, "{kind}");
    }
    let large = format!("[\"{}\",1.5]", "x".repeat(17 << 20));
    let sent = sent(&steps(KINDS, "data.drift", &json!({"fields": ["/1"], "shift": 1}), JSON, large.as_bytes(), &[1 << 20, 3 << 20]));
    assert!(sent == large.as_bytes());
}

#[test]
fn settings_that_cannot_be_are_refused_with_what_to_write() {
    for (kind, with, message) in [
        ("data.drift", json!({"fields": ["/a"]}), "with: expected `scale`, `shift` or `noise`: without, nothing changes"),
        ("data.missing", json!({"fields": []}), "with: fields: expected at least one JSON Pointer, as `/items/*/price`"),
        ("data.invalid", json!({"fields": ["a"]}), "with: fields: `a` is no JSON Pointer; it starts with `/`, as `/items/*/price`"),
    ] {
        let kind = KINDS.iter().find(|listed| listed.name == kind).unwrap();
        assert_eq!((kind.compile)(with.as_object().unwrap()).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_share_of_records_is_about_as_large_as_asked() {
    let body = format!("[{}]", vec!["{\"a\":1}"; 10_000].join(","));
    let left = sent(&steps(KINDS, "data.missing", &json!({"fields": ["/*/a"], "share": "20%"}), JSON, body.as_bytes(), &[]));
    let gone = memchr::memmem::find_iter(&left, b"{}").count() as f64;
    assert!((gone - 2_000.0).abs() < 2.576 * (10_000.0_f64 * 0.2 * 0.8).sqrt(), "{gone}");
}

proptest! {
    #[test]
    fn what_comes_out_does_not_depend_on_the_pieces_and_is_json(
        case in 0..KINDS.len(), cuts in proptest::collection::vec(0_usize..200, 0..40),
    ) {
        let (kind, whole, lines) = cases().swap_remove(case);
        let once = steps(KINDS, kind, &whole, JSON, ORDERS, &[]);
        prop_assert_eq!(&steps(KINDS, kind, &whole, JSON, ORDERS, &cuts), &once);
        prop_assert!(json::parse(&sent(&once)).is_some());
        let once = steps(KINDS, kind, &lines, NDJSON, READINGS, &[]);
        prop_assert_eq!(&steps(KINDS, kind, &lines, NDJSON, READINGS, &cuts), &once);
    }
}
