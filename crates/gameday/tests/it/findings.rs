//! Findings.

use std::collections::BTreeSet;

use jiff::Timestamp;
use squall_gameday::{
    Analysis, Deviation, Finding, FindingError, FindingState, FindingStep, NewActionItem, Observation, Observed, Priority, Query,
    fingerprint, search,
};
use squall_model::Verdict;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).expect("a time")
}

fn seen(run: &str, second: i64, verdict: Verdict) -> Observation {
    let analysis = Analysis {
        metric: "error rate".into(),
        expected: "below 1%".into(),
        actual: "4.2%".into(),
        likely_cause: vec!["net.latency of 800ms on payments".into()],
    };
    let deviated = verdict == Verdict::Deviated;
    Observation {
        run: run.into(),
        experiment: "slow-payments".into(),
        began: at(second - 60),
        ended: at(second),
        verdict,
        probes: BTreeSet::from(["error rate".into(), "latency".into()]),
        deviations: deviated.then(|| Deviation { probe: "error rate".into(), analysis }).into_iter().collect(),
        service: Some("checkout".into()),
        runbook: None,
        game_day: None,
    }
}

fn fix() -> FindingStep {
    FindingStep::Fix { reason: Some("the timeout is shorter".into()) }
}

fn item(text: &str, priority: &str, due: Option<&str>) -> NewActionItem {
    serde_json::from_value(serde_json::json!({ "text": text, "owner": "bob", "priority": priority, "due": due })).expect("an item")
}

#[test]
fn a_finding_goes_from_a_run_that_deviated_to_one_that_held() {
    let first = seen("r1", 100, Verdict::Deviated);
    assert_eq!(first.candidates(), [fingerprint("slow-payments", "error rate")]);
    let mut finding = Finding::open(&first);
    assert_eq!(finding.title, "slow-payments: error rate was 4.2% and should be below 1%");
    assert_eq!(finding.observe(&first), Observed::Nothing, "a run counts once");
    finding.apply(FindingStep::Acknowledge, "ada", at(200)).expect("open");
    assert_eq!(finding.observe(&seen("r2", 300, Verdict::Held)), Observed::Noted, "nobody has said that it is fixed");
    finding.apply(fix(), "ada", at(400)).expect("acknowledged");
    assert_eq!(finding.observe(&seen("r3", 430, Verdict::Held)), Observed::Noted, "that run began before the fix");
    assert_eq!(finding.observe(&seen("r4", 500, Verdict::Inconclusive)), Observed::Nothing);
    let held = seen("r5", 600, Verdict::Held);
    assert!(held.candidates().contains(&fingerprint("slow-payments", "error rate")));
    assert_eq!(finding.observe(&held), Observed::Verified);
    assert_eq!((finding.state, finding.history.last().map(|change| change.by.as_str())), (FindingState::Verified, Some("r5")));
    assert_eq!(finding.observe(&seen("r6", 700, Verdict::Deviated)), Observed::Reopened);
    assert_eq!((finding.state, finding.reopened, finding.found_by()), (FindingState::Open, 1, Some("r1")));
}

#[test]
fn what_will_not_be_fixed_stays_so_when_it_is_seen_again() {
    let mut finding = Finding::open(&seen("r1", 100, Verdict::Deviated));
    finding.apply(FindingStep::Wontfix { reason: "nobody uses it".into() }, "ada", at(200)).expect("open");
    assert_eq!(finding.observe(&seen("r2", 900, Verdict::Deviated)), Observed::Noted);
    assert_eq!((finding.state, finding.runs.len()), (FindingState::Wontfix, 2));
    finding.apply(FindingStep::Reopen { reason: "somebody does".into() }, "ada", at(1000)).expect("over");
    assert_eq!(finding.state, FindingState::Open);
}

#[test]
fn only_a_run_verifies_and_reasons_must_say_something() {
    let mut finding = Finding::open(&seen("r1", 100, Verdict::Deviated));
    let state = |result: Result<(), FindingError>| matches!(result, Err(FindingError::State { .. }));
    assert!(state(finding.apply(FindingStep::Reopen { reason: "x".into() }, "ada", at(1))));
    finding.apply(fix(), "ada", at(200)).expect("open");
    assert!(state(finding.apply(FindingStep::Acknowledge, "ada", at(2))));
    assert!(state(finding.apply(fix(), "ada", at(2))));
    let empty = finding.apply(FindingStep::Wontfix { reason: " ".into() }, "ada", at(3));
    assert!(matches!(empty, Err(FindingError::Words(_))), "{empty:?}");
    let describe =
        |runbook: &str| FindingStep::Describe { title: None, service: None, runbook: Some(runbook.into()), tags: None, notes: None };
    assert!(finding.apply(describe("javascript:alert(1)"), "ada", at(4)).is_err());
    finding.apply(describe("https://wiki.example/x"), "ada", at(5)).expect("a link");
    assert_eq!(finding.runbook.as_deref(), Some("https://wiki.example/x"));
}

#[test]
fn action_items_have_numbers_that_stay_and_can_be_late() {
    let mut finding = Finding::open(&seen("r1", 100, Verdict::Deviated));
    let add = |finding: &mut Finding, what| finding.apply(FindingStep::AddAction(Box::new(what)), "ada", at(200)).expect("good");
    add(&mut finding, item("shorter timeout", "P1", Some("2026-12-01")));
    add(&mut finding, item("alert", "P0", None));
    assert_eq!(finding.priority(), Some(Priority::P0));
    let days = |text: &str| text.parse().expect("a day");
    assert!(!finding.overdue(days("2026-12-01")) && finding.overdue(days("2026-12-02")));
    let mut done = item("shorter timeout", "P1", Some("2026-12-01"));
    done.state = squall_gameday::ActionState::Done;
    finding.apply(FindingStep::ChangeAction { id: 1, what: Box::new(done.clone()) }, "bob", at(300)).expect("known");
    assert_eq!((finding.actions[0].closed, finding.overdue(days("2026-12-02"))), (Some(at(300)), false));
    assert_eq!(finding.apply(FindingStep::ChangeAction { id: 9, what: Box::new(done) }, "bob", at(300)), Err(FindingError::NoAction(9)));
}

#[test]
fn a_finding_stays_small_however_often_it_is_seen() {
    let mut finding = Finding::open(&seen("r0", 100, Verdict::Deviated));
    for run in 1..500 {
        finding.observe(&seen(&format!("r{run}"), 100 + run, Verdict::Deviated));
    }
    assert_eq!((finding.runs.len(), finding.found_by(), finding.runs[49].run.as_str()), (50, Some("r0"), "r499"));
}

#[test]
fn the_same_weakness_has_the_same_id_and_another_has_another() {
    let id = fingerprint("slow-payments", "error rate");
    assert!(id.len() == 17 && id.starts_with('f'), "{id}");
    assert_eq!(id, fingerprint("slow-payments", "error rate"));
    assert_ne!(id, fingerprint("slow-payments", "latency"));
    assert_ne!(fingerprint("a", "b\0c"), fingerprint("a\0b", "c"));
}

#[test]
fn search_finds_by_words_and_filters_the_best_first() {
    let mut one = Finding::open(&seen("r1", 100, Verdict::Deviated));
    one.tags.insert("timeouts".into());
    let mut two = Finding::open(&seen("r2", 200, Verdict::Deviated));
    two.title = "The cache forgets its neighbours".into();
    two.notes = "also seen as slow payments by some".into();
    two.experiment = "cache".into();
    two.apply(FindingStep::AddAction(Box::new(item("write a Prüfung", "P2", Some("2026-01-01")))), "ada", at(300)).expect("good");
    let all = [("one", &one), ("two", &two)];
    let words = |words: &str| search(all, &Query { words: words.into(), ..Query::default() });
    assert_eq!(words(""), ["two", "one"], "the newest first");
    assert_eq!(words("slow payments"), ["one", "two"], "a title counts more than notes");
    assert_eq!(words("\"slow payments\""), ["one", "two"]);
    assert_eq!(words("\"payments slow\""), [""; 0]);
    assert_eq!(words("CACH neigh"), ["two"]);
    assert_eq!(words("prüfung"), ["two"]);
    assert_eq!(words("cache timeouts"), [""; 0], "every word must be there");
    assert_eq!(words("latency"), ["two", "one"], "the likely cause is searched, and the newest first where words say the same");
    let by = |query: Query| search(all, &query);
    assert_eq!(by(Query { tags: vec!["timeouts".into()], ..Query::default() }), ["one"]);
    assert_eq!(by(Query { owner: Some("bob".into()), ..Query::default() }), ["two"]);
    assert_eq!(by(Query { overdue_on: Some("2026-06-01".parse().expect("a day")), ..Query::default() }), ["two"]);
    assert_eq!(by(Query { states: vec![FindingState::Fixed], ..Query::default() }), [""; 0]);
    assert_eq!(by(Query { priority: Some(Priority::P2), service: Some("checkout".into()), ..Query::default() }), ["two"]);
}
