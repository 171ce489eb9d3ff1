//! The clients, and what is kept of their reports.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use squall_proxy::body::{Step, Steps};
use squall_proxy::stream::{Body, Compiled};

use super::edge::PLAIN;
use super::scenario::Scenario;

fn manifest(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn installed(path: &str) -> PathBuf {
    let path = manifest("../../target").join(path);
    assert!(path.exists(), "{} is needed for this test; `cargo xtask clients` installs it", path.display());
    path
}

fn run(program: &PathBuf, args: &[String]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the clients are programs")]
    let output = Command::new(program).args(args).output();
    output.unwrap_or_else(|error| panic!("{} is needed for this test: {error}", program.display()))
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// What a driver in Python reports.
pub(crate) fn python(driver: &str, args: &[String]) -> Value {
    let mut all = vec![manifest("tests/streams").join(driver).display().to_string()];
    all.extend_from_slice(args);
    report(&run(&installed("test-python/bin/python"), &all))
}

/// What a driver in Node reports.
pub(crate) fn node(driver: &str, args: &[String]) -> Value {
    let packages = installed("test-node/node_modules/eventsource").join("../..");
    let mut all = vec![manifest("tests/streams").join(driver).display().to_string(), packages.display().to_string()];
    all.extend_from_slice(args);
    report(&run(&"node".into(), &all))
}

/// What curl got.
pub(crate) struct Got {
    pub(crate) exit: i32,
    pub(crate) status: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn curl(url: &str, patience: u64) -> Got {
    let args = ["-sSN", "--max-time", &patience.to_string(), "-w", "%{stderr}%{http_code}", url].map(String::from);
    let output = run(&"curl".into(), &args);
    let said = String::from_utf8_lossy(&output.stderr);
    // The status is what it writes last, without a line end.
    let status = said.trim_end().rsplit(['\n', ' ']).next().unwrap_or_default();
    let status = status.chars().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect();
    Got { exit: output.status.code().unwrap_or(-1), status, body: output.stdout }
}

/// No scenario sends other bytes by chance, so that any seed will do.
const SEED: u64 = 7;

/// The bytes that a scenario sends to whoever asks for the plain stream.
pub(crate) fn bytes_of(scenario: &Scenario) -> Vec<u8> {
    let mut out = Steps::default();
    match scenario.compiled() {
        None => out.send(PLAIN),
        Some(Compiled::Answer(answer)) => return answer.answer(&format!("/{}/events", scenario.name), SEED).body.to_vec(),
        Some(Compiled::Body(settings)) => {
            let mut fault = settings.fault(&Body { content_type: "text/event-stream", content_encoding: "", seed: SEED }).unwrap();
            fault.piece(PLAIN.into(), &mut out);
            fault.end(&mut out);
        }
    }
    let mut bytes = Vec::new();
    while let Some(step) = out.take() {
        match step {
            Step::Send(more) => bytes.extend_from_slice(&more),
            Step::Wait(time) if time.as_secs() > 60 => break,
            _ => {}
        }
    }
    bytes
}

/// Compares a report with the one that is kept.
pub(crate) fn compare(file: &str, report: &Value) {
    let path = manifest("tests/streams").join(file);
    if std::env::var_os("SQUALL_BLESS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(report).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let names: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(kept.as_object().unwrap().keys().collect::<Vec<_>>(), names);
    for name in names {
        assert_eq!(report[name], kept[name], "{name} in {file}");
    }
}
