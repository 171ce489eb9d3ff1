//! Any bytes as a manifest: an answer within bounds of time and memory, and each message at a place within the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squall_model::{Diagnostics, parse_policy};

// Kinds with real arguments and checks, without the weight of the real ones.
#[path = "../../crates/engine/tests/it/catalogue.rs"]
mod catalogue;

fn check(text: &str, found: &Diagnostics) {
    assert!(!found.is_empty(), "refused without a word");
    for diagnostic in found {
        assert!(text.get(diagnostic.span.clone()).is_some(), "{diagnostic:?} is not within the text");
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let registry = catalogue::registry();
    match squall_engine::validate_experiment(text, &registry) {
        // What passed the check can be made ready to run.
        Ok((experiment, _)) => drop(squall_engine::Program::compile(&experiment, &registry).expect("checked")),
        Err(found) => check(text, &found),
    }
    if let Err(found) = parse_policy(text) {
        check(text, &found);
    }
});
