//! What every store does, run over each of them.

use std::collections::BTreeMap;

use squall_model::{Record, Verdict};
use squall_store::{Filter, MemoryStore, RunStore, Store, StoreError};

use crate::sample::{ended, first, labels, run, sampled, started};

/// One test a line, for both stores.
macro_rules! conformance {
    ($($name:ident,)*) => {
        mod memory {
            use super::*;
            $(#[test] fn $name() { super::$name(&MemoryStore::new()); })*
        }
        mod sqlite {
            use super::*;
            $(#[test] fn $name() {
                let directory = tempfile::tempdir().expect("a directory");
                super::$name(&Store::open(&directory.path().join("squall.db")).expect("opened"));
            })*
        }
    };
}

conformance! {
    what_is_written_is_read_back,
    records_follow_each_other_without_gaps,
    a_batch_is_all_or_nothing,
    a_run_begins_once_and_with_its_start,
    a_run_that_was_not_begun_is_made_known_by_its_start,
    runs_are_listed_newest_first_and_filtered,
    a_run_without_an_end_is_unfinished,
    runs_are_found_by_a_prefix_that_is_theirs_alone,
    an_empty_batch_changes_nothing,
}

fn begin(store: &dyn RunStore, n: u64, experiment: &str, labels: &BTreeMap<String, String>) {
    store.begin(&started(&run(n), experiment), labels).expect("begun");
    store.append(&run(n), &[first(&run(n), experiment)], false).expect("started");
}

fn what_is_written_is_read_back(store: &dyn RunStore) {
    begin(store, 1, "one", &labels("checkout"));
    // Numbers whose shortest form a careless reader rounds.
    let numbers = [0.1 + 0.2, f64::MIN_POSITIVE, 5e-324, 1.797_693_134_862_315_7e308, -0.0, 0.119_607_843_137_254_92];
    let mut written = vec![first(&run(1), "one")];
    written.extend(numbers.iter().enumerate().map(|(i, n)| sampled(i as u64 + 1, *n)));
    store.append(&run(1), &written[1..4], true).expect("appended");
    store.append(&run(1), &written[4..], false).expect("appended");
    assert_eq!(store.records(&run(1)).expect("read"), written);
    assert_eq!(store.records_from(&run(1), 5).expect("read"), written[5..]);
    assert_eq!(store.records_from(&run(1), 99).expect("read"), []);
    assert!(matches!(store.records(&run(2)), Err(StoreError::UnknownRun(_))));
}

fn records_follow_each_other_without_gaps(store: &dyn RunStore) {
    begin(store, 1, "one", &BTreeMap::new());
    let wrong = |records: &[Record]| matches!(store.append(&run(1), records, false), Err(StoreError::OutOfOrder { expected: 1, .. }));
    assert!(wrong(&[sampled(2, 0.0)]), "a gap");
    assert!(wrong(&[sampled(0, 0.0)]), "one that is there");
    store.append(&run(1), &[sampled(1, 0.0)], false).expect("the next");
}

fn a_batch_is_all_or_nothing(store: &dyn RunStore) {
    begin(store, 1, "one", &BTreeMap::new());
    assert!(store.append(&run(1), &[sampled(1, 0.0), sampled(2, 0.0), sampled(4, 0.0)], false).is_err());
    assert_eq!(store.records(&run(1)).expect("read").len(), 1);
    store.append(&run(1), &[sampled(1, 0.0)], false).expect("the next is still the same");
}

fn a_run_begins_once_and_with_its_start(store: &dyn RunStore) {
    store.begin(&started(&run(1), "one"), &BTreeMap::new()).expect("begun");
    assert!(matches!(store.begin(&started(&run(1), "one"), &BTreeMap::new()), Err(StoreError::Begun(_))));
    assert!(matches!(store.append(&run(1), &[sampled(0, 0.0)], false), Err(StoreError::UnknownRun(_))), "no start");
    assert!(store.append(&run(1), &[first(&run(2), "two")], false).is_err(), "another's start");
    store.append(&run(1), &[first(&run(1), "one")], false).expect("its start");
    let again = Record { seq: 1, ..first(&run(1), "one") };
    assert!(matches!(store.append(&run(1), &[again], false), Err(StoreError::Begun(_))));
}

fn a_run_that_was_not_begun_is_made_known_by_its_start(store: &dyn RunStore) {
    assert!(matches!(store.append(&run(1), &[sampled(0, 0.0)], false), Err(StoreError::UnknownRun(_))));
    assert!(matches!(store.append(&run(1), &[], false), Err(StoreError::UnknownRun(_)) | Ok(())));
    store.append(&run(1), &[first(&run(1), "one"), sampled(1, 0.0)], true).expect("appended");
    let summary = store.summary(&run(1)).expect("known");
    assert_eq!((summary.experiment.as_str(), summary.events, summary.labels.len()), ("one", 2, 0));
}

fn runs_are_listed_newest_first_and_filtered(store: &dyn RunStore) {
    for (n, experiment, team, verdict) in
        [(1, "checkout-slow", "a", Verdict::Held), (2, "checkout-dead", "b", Verdict::Deviated), (3, "search", "a", Verdict::Held)]
    {
        begin(store, n, experiment, &labels(team));
        store.append(&run(n), &[sampled(1, 1.0), ended(2, verdict)], true).expect("ended");
    }
    let names = |filter: &Filter| store.runs(filter).expect("listed").into_iter().map(|r| r.experiment).collect::<Vec<_>>();
    assert_eq!(names(&Filter::default()), ["search", "checkout-dead", "checkout-slow"]);
    assert_eq!(names(&Filter { name: Some("checkout".into()), ..Filter::default() }), ["checkout-dead", "checkout-slow"]);
    assert_eq!(names(&Filter { verdict: Some(Verdict::Held), limit: Some(1), ..Filter::default() }), ["search"]);
    assert_eq!(names(&Filter { labels: labels("b"), ..Filter::default() }), ["checkout-dead"]);
    assert_eq!(names(&Filter { unfinished: true, ..Filter::default() }), Vec::<String>::new());
    let summary = store.summary(&run(2)).expect("known");
    assert_eq!(
        (summary.verdict, summary.reason.as_deref(), summary.lasted_us),
        (Some(Verdict::Deviated), Some("because it deviated"), 2000)
    );
    assert_eq!(store.latest().expect("listed"), Some(run(3)));
}

fn a_run_without_an_end_is_unfinished(store: &dyn RunStore) {
    begin(store, 1, "one", &BTreeMap::new());
    store.begin(&started(&run(2), "two"), &BTreeMap::new()).expect("begun, and killed right then");
    let unfinished = store.runs(&Filter { unfinished: true, ..Filter::default() }).expect("listed");
    assert_eq!(unfinished.iter().map(|r| (r.events, r.verdict)).collect::<Vec<_>>(), [(0, None), (1, None)]);
}

fn runs_are_found_by_a_prefix_that_is_theirs_alone(store: &dyn RunStore) {
    assert!(matches!(store.resolve("latest"), Err(StoreError::NoRuns)));
    begin(store, 1, "one", &BTreeMap::new());
    begin(store, 1_000_000, "two", &BTreeMap::new());
    assert_eq!(store.resolve("latest").expect("the newest"), run(1_000_000));
    assert_eq!(store.resolve(run(1).as_str()).expect("itself"), run(1));
    assert_eq!(store.resolve(&run(1).as_str()[..12]).expect("its start"), run(1));
    let error = store.resolve("r").expect_err("both");
    assert!(error.to_string().contains(run(1).as_str()) && error.hint().is_some(), "{error}");
    for nothing in ["", "x", "%", "_", "r%", "*"] {
        assert!(matches!(store.resolve(nothing), Err(StoreError::NoSuchRun(_))), "{nothing}");
    }
}

fn an_empty_batch_changes_nothing(store: &dyn RunStore) {
    begin(store, 1, "one", &BTreeMap::new());
    store.append(&run(1), &[], false).expect("nothing");
    store.append(&run(1), &[], true).expect("nothing, but synced");
    assert_eq!(store.records(&run(1)).expect("read").len(), 1);
}
