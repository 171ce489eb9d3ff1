//! Malformed manifests: one file each in `malformed/`, with a snapshot of what is said about it beside it.

use std::fmt::Write;
use std::path::PathBuf;

use squall_engine::validate_experiment;
use squall_model::{Diagnostics, parse_policy};

use crate::catalogue::registry;

fn cases() -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/malformed");
    let mut cases: Vec<(String, String)> = std::fs::read_dir(&directory)
        .expect("the directory of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "json"))
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), std::fs::read_to_string(&path).expect("a case")))
        .collect();
    cases.sort();
    cases
}

fn errors(name: &str, text: &str) -> Diagnostics {
    if name.starts_with("policy") {
        parse_policy(text).map(drop).expect_err(name)
    } else {
        validate_experiment(text, &registry()).map(drop).expect_err(name)
    }
}

/// The message, the line with what is pointed at, and the hint.
fn render(text: &str, errors: &Diagnostics) -> String {
    let mut out = String::new();
    for error in errors {
        let line = text.lines().nth(error.line - 1).unwrap_or_default();
        let shown = text.get(error.span.clone()).expect("a range of the text");
        writeln!(out, "{}:{}: {}", error.line, error.column, error.message).expect("a string");
        if line.chars().count() <= 200 {
            writeln!(out, "    {}", line.replace('\t', "→")).expect("a string");
            let carets = "^".repeat(shown.chars().count().clamp(1, 200));
            writeln!(out, "    {}{carets}", " ".repeat(error.column - 1)).expect("a string");
        }
        if let Some(hint) = &error.hint {
            writeln!(out, "    hint: {hint}").expect("a string");
        }
    }
    out
}

#[test]
fn every_malformed_manifest_is_told_what_is_wrong_where_and_what_to_do() {
    let cases = cases();
    assert!(cases.len() >= 80, "{} cases", cases.len());
    let mut without_hint = Vec::new();
    for (name, text) in cases {
        let errors = errors(&name, &text);
        assert!(!errors.is_empty(), "{name} is refused without a word");
        for error in &errors {
            if error.hint.is_none() {
                without_hint.push(format!("{name}: {}", error.message));
            }
            assert!(
                error.line >= 1 && error.column >= 1 && text.get(error.span.clone()).is_some(),
                "{name}: no place for: {}",
                error.message
            );
        }
        insta::with_settings!({ snapshot_path => "malformed/snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, render(&text, &errors));
        });
    }
    assert!(without_hint.is_empty(), "no hint for {without_hint:#?}");
}

/// What would blow up if each message searched everything, or each place counted from the start of its line.
#[test]
fn huge_manifests_are_refused_in_good_time() {
    let head = "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: { name: x }\nspec:\n  hypothesis:\n    statement: x\n    probes:\n";
    let mut probes = head.to_owned();
    let mut guards = String::from("  method: [{ wait: 1s }]\n  guards:\n");
    for i in 0..4_000 {
        writeln!(probes, "      - {{ name: probe {i}, http: {{ url: x }}, expect: {{ eq: 1 }} }}").expect("a string");
        writeln!(guards, "    - {{ probe: prob {i}, abort: {{ gt: 1 }} }}").expect("a string");
    }
    let long = "ü".repeat(400_000);
    let cases = [
        probes + &guards,
        format!("{head}      [{}]\n", vec!["{ a: ü }"; 12_000].join(", ")),
        format!("{long}: {long}\n"),
        format!("apiVersion: squall.dev/v1\nkind: Experiment\n{long}: 1\n"),
        "x: 1\n".repeat(40_000),
        format!("a: [{}]", vec!["*b"; 40_000].join(", ")),
    ];
    // The runner's own time limit for a test catches a blow-up.
    for text in cases {
        let errors = validate_experiment(&text, &registry()).map(drop).expect_err("refused");
        assert!(!errors.is_empty() && errors.len() < 300, "{}", errors.len());
        assert!(errors.iter().all(|error| error.message.chars().count() <= 401));
    }
}
