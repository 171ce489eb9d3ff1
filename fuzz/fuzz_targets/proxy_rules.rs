//! Any JSON as a list of rules, and a request that they decide on: never a panic, and the same decision for the same seed, key
//! and attempt. What they do to bodies depends on the bytes alone.
//!
//! An input is the JSON, an empty line, `METHOD TARGET`, header fields as lines, an empty line, and a body.
#![no_main]

mod cuts;
mod steps;

use std::time::Duration;

use cuts::Cuts;
use libfuzzer_sys::{Corpus, fuzz_target};
use squall_proxy::RuleSpec;
use squall_proxy::fuzzing::{Outcome, Request, Rules};
use steps::{run, timeless};

fuzz_target!(|input: &[u8]| -> Corpus {
    let (json, rest) = split(input, b"\n\n");
    let Ok(specs) = serde_json::from_slice::<Vec<RuleSpec>>(json) else { return Corpus::Reject };
    let again = serde_json::to_vec(&specs).expect("a rule is JSON");
    assert_eq!(serde_json::from_slice::<Vec<RuleSpec>>(&again).expect("a rule that was read"), specs);
    let (Ok(one), Ok(other)) = (Rules::compile(1, &specs), Rules::compile(1, &specs)) else {
        assert!(Rules::compile(1, &specs).is_err());
        return Corpus::Keep;
    };
    let (head, body) = split(rest, b"\n\n");
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, target) = split(lines.next().unwrap_or_default(), b" ");
    let fields: Vec<_> =
        lines.map(|line| split(line, b": ")).map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec())).collect();
    let json = serde_json::from_slice(body).ok();
    let request = Request { method, target, host: b"shop", fields: &fields, client: None, body: json.as_ref() };
    for attempt in 0..3_u32 {
        let now = Duration::from_millis(700) * attempt;
        let (decided, repeated) = (one.decide(&request, now), other.decide(&request, now));
        assert_eq!(decided.said, repeated.said, "attempt {attempt}");
        if attempt == 0 {
            bodies(&decided, &repeated, body);
        }
    }
    Corpus::Keep
});

fn bodies(decided: &Outcome, repeated: &Outcome, body: &[u8]) {
    assert_eq!(decided.edited(body.to_vec()), repeated.edited(body.to_vec()));
    for content_type in ["application/json", "text/event-stream", "application/x-ndjson"] {
        let (mut one, mut other) = (decided.bodies(content_type), repeated.bodies(content_type));
        let whole = run(&mut one, body, std::iter::once(body.len()));
        let pieces = run(&mut other, body, Cuts::of(body.len(), 0));
        assert_eq!(timeless(&whole), timeless(&pieces), "{content_type}");
    }
}

/// Both sides of the first of these.
fn split<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    match bytes.windows(at.len()).position(|window| window == at) {
        Some(found) => (&bytes[..found], &bytes[found + at.len()..]),
        None => (bytes, &[]),
    }
}
