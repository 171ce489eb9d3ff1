//! Runs to write.

use std::collections::BTreeMap;

use squall_model::{Event, JOURNAL_VERSION, Measured, Record, RunId, Started, Value, Verdict};
use squall_store::AuditEntry;

pub fn run(n: u64) -> RunId {
    RunId::new(1_700_000_000_000 + n, 7)
}

pub fn started(run: &RunId, experiment: &str) -> Started {
    Started {
        version: JOURNAL_VERSION,
        run: run.clone(),
        experiment: experiment.into(),
        manifest: "apiVersion: squall.dev/v1\n".into(),
        seed: u64::MAX,
        wall: "2026-11-21T05:39:34.848Z".into(),
        host: "shop-1".into(),
        user: "ada".into(),
        squall: "0.1.0".into(),
    }
}

pub fn first(run: &RunId, experiment: &str) -> Record {
    Record { seq: 0, at: 0, event: Event::Started(Box::new(started(run, experiment))) }
}

pub fn sampled(seq: u64, value: f64) -> Record {
    Record { seq, at: seq * 1000, event: Event::Sampled { probe: 0, took: 12, measured: Measured::Value(Value::Number(value)) } }
}

pub fn ended(seq: u64, verdict: Verdict) -> Record {
    Record { seq, at: seq * 1000, event: Event::Ended { verdict, reason: format!("because it {verdict}") } }
}

pub fn labels(team: &str) -> BTreeMap<String, String> {
    [("team".to_owned(), team.to_owned())].into()
}

pub fn audit_entry(subject: &str) -> AuditEntry {
    AuditEntry {
        at: jiff::Timestamp::UNIX_EPOCH,
        actor: "ada".into(),
        action: "run.start".into(),
        subject: subject.into(),
        outcome: "ok".into(),
        detail: serde_json::json!({ "why": "because" }),
    }
}
