//! Golden tests: a kind, its settings, a body in; the steps out, byte by byte, in a file that is committed.
//!
//! `SQUALL_BLESS=1` writes the files anew.

use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

use super::kind::{Body, Compiled, Kind};
use crate::body::{BodyFault, Step, Steps};

/// The steps of a kind on a body that comes in pieces of these lengths (the rest in one).
pub(crate) fn steps(kinds: &[Kind], kind: &str, with: &Value, content_type: &str, body: &[u8], cuts: &[usize]) -> Vec<Step> {
    let kind = kinds.iter().find(|listed| listed.name == kind).unwrap();
    let Compiled::Body(settings) = (kind.compile)(with.as_object().unwrap()).unwrap() else { panic!("works on no body") };
    let Some(mut fault) = settings.fault(&Body { content_type, content_encoding: "", seed: 7 }) else {
        return vec![Step::Send(Bytes::copy_from_slice(body))];
    };
    run(fault.as_mut(), body, cuts)
}

fn run(fault: &mut dyn BodyFault, body: &[u8], cuts: &[usize]) -> Vec<Step> {
    let (mut out, mut at) = (Steps::default(), 0);
    for &cut in cuts {
        let end = (at + cut).min(body.len());
        fault.piece(Bytes::copy_from_slice(&body[at..end]), &mut out);
        at = end;
    }
    fault.piece(Bytes::copy_from_slice(&body[at..]), &mut out);
    fault.end(&mut out);
    // Bytes that are sent without anything between them are one.
    let mut merged: Vec<Step> = Vec::new();
    while let Some(step) = out.take() {
        match (merged.last_mut(), step) {
            (Some(Step::Send(last)), Step::Send(more)) => *last = Bytes::from([&last[..], &more[..]].concat()),
            (_, step) => merged.push(step),
        }
    }
    merged
}

/// All that is sent, as if nothing waited.
pub(crate) fn sent(steps: &[Step]) -> Vec<u8> {
    steps.iter().flat_map(|step| if let Step::Send(bytes) = step { bytes.to_vec() } else { Vec::new() }).collect()
}

/// Checks the steps against the file, in one piece, byte by byte and in pieces of seven.
pub(crate) fn check(file: &Path, kinds: &[Kind], kind: &str, with: &Value, content_type: &str, body: &[u8]) {
    let whole = steps(kinds, kind, with, content_type, body, &[]);
    for length in [1, 7] {
        let pieces = vec![length; body.len() / length];
        assert_eq!(steps(kinds, kind, with, content_type, body, &pieces), whole, "{kind} in pieces of {length}");
    }
    // The bytes as they are; each step that is none in a line of its own between ⟦ and ⟧.
    let mut text = Vec::new();
    for step in &whole {
        match step {
            Step::Send(bytes) => text.extend_from_slice(bytes),
            other => text.extend_from_slice(format!("⟦{other:?}⟧").as_bytes()),
        }
    }
    if std::env::var_os("SQUALL_BLESS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let expected = std::fs::read(file).unwrap_or_default();
    assert!(
        text == expected,
        "{}: expected\n{}\nfound\n{}",
        file.display(),
        String::from_utf8_lossy(&expected),
        String::from_utf8_lossy(&text)
    );
}
