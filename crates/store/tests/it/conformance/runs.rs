//! Journals of runs.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;
use squall_model::{Record, Verdict};
use squall_store::{BeginRun, CommitError, Filter, StoreError};

use super::World;
use crate::sample::{ended, first, labels, run, sampled, started};

async fn begin(w: &World, n: u64, experiment: &str, extra: serde_json::Value) {
    let begin = BeginRun { started: started(&run(n), experiment), labels: labels("checkout"), extra, records: Vec::new(), fence: None };
    w.db.begin(begin).await.expect("begun");
    w.db.append(&run(n), &[first(&run(n), experiment)], false, None).await.expect("started");
}

pub async fn records_are_read_back_in_parts(w: &World) {
    begin(w, 1, "one", json!(null)).await;
    let mut written = vec![first(&run(1), "one")];
    let numbers = [0.1 + 0.2, f64::MIN_POSITIVE, 5e-324, 1.797_693_134_862_315_7e308, -0.0, 0.119_607_843_137_254_92];
    written.extend(numbers.iter().enumerate().map(|(i, n)| sampled(i as u64 + 1, *n)));
    w.db.append(&run(1), &written[1..4], true, None).await.expect("appended");
    w.db.append(&run(1), &[], true, None).await.expect("nothing, but synced");
    w.db.append(&run(1), &written[4..], false, None).await.expect("appended");
    let read = async |seq, limit| w.db.records_from(&run(1), seq, limit).await.expect("read");
    assert_eq!(read(0, 99).await, written);
    assert_eq!(read(2, 3).await, written[2..5]);
    assert_eq!(read(6, usize::MAX).await, written[6..]);
    assert_eq!(read(7, 1).await, []);
    assert_eq!(read(0, 0).await, []);
    assert!(matches!(w.db.records_from(&run(2), 0, 1).await, Err(StoreError::UnknownRun(_))));
}

pub async fn a_journal_has_no_gaps_and_no_forks(w: &World) {
    let unknown = w.db.append(&run(9), &[sampled(0, 0.0)], false, None).await;
    assert!(matches!(unknown, Err(CommitError::Store(StoreError::UnknownRun(_)))), "{unknown:?}");
    begin(w, 1, "one", json!(null)).await;
    let again =
        BeginRun { started: started(&run(1), "one"), labels: BTreeMap::new(), extra: json!(null), records: Vec::new(), fence: None };
    assert!(matches!(w.db.begin(again).await, Err(CommitError::Store(StoreError::Begun(_)))));
    let twice = [Record { seq: 1, ..first(&run(1), "one") }];
    assert!(matches!(w.db.append(&run(1), &twice, false, None).await, Err(CommitError::Store(StoreError::Begun(_)))));
    for wrong in [vec![sampled(2, 0.0)], vec![sampled(0, 0.0)], vec![sampled(1, 0.0), sampled(3, 0.0)]] {
        let outcome = w.db.append(&run(1), &wrong, false, None).await;
        assert!(matches!(outcome, Err(CommitError::Store(StoreError::OutOfOrder { .. }))), "{outcome:?}");
    }
    for seq in 1..6 {
        let tries = (0..6).map(|n| async move { w.db.append(&run(1), &[sampled(seq, f64::from(n))], n % 2 == 0, None).await });
        let outcomes = join_all(tries).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let late = |error: &CommitError| matches!(error, CommitError::Store(StoreError::OutOfOrder { .. }));
        assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(late), "{outcomes:?}");
    }
    assert_eq!(w.db.records_from(&run(1), 0, 99).await.expect("read").len(), 6);
    // One that was not begun is made known by its start.
    w.db.append(&run(2), &[first(&run(2), "two"), sampled(1, 0.0)], true, None).await.expect("appended");
    assert_eq!(w.db.run(&run(2)).await.expect("known").summary.events, 2);
    // One that was begun with its first records has them, or is not known at all.
    let begin = |records| BeginRun { started: started(&run(3), "three"), labels: labels("search"), extra: json!(3), records, fence: None };
    let gap = w.db.begin(begin(vec![first(&run(3), "three"), sampled(2, 0.0)])).await;
    assert!(matches!(gap, Err(CommitError::Store(StoreError::OutOfOrder { .. }))), "{gap:?}");
    assert!(matches!(w.db.run(&run(3)).await, Err(StoreError::UnknownRun(_))));
    w.db.begin(begin(vec![first(&run(3), "three"), sampled(1, 0.0)])).await.expect("begun");
    let found = w.db.run(&run(3)).await.expect("known");
    assert_eq!((found.summary.events, found.summary.labels, found.extra), (2, labels("search"), json!(3)));
    w.db.append(&run(3), &[sampled(2, 0.0)], true, None).await.expect("appended");
}

pub async fn runs_are_listed_in_pages_with_what_they_were_begun_with(w: &World) {
    for n in 1..=6 {
        begin(w, n, if n % 2 == 0 { "checkout-slow" } else { "search" }, json!({ "schedule": n })).await;
        if n < 5 {
            let verdict = if n == 2 { Verdict::Deviated } else { Verdict::Held };
            w.db.append(&run(n), &[sampled(1, 1.0), ended(2, verdict)], true, None).await.expect("ended");
        }
    }
    let list = async |filter: Filter, before: Option<u64>| {
        let runs = w.db.runs(&filter, before.map(run).as_ref()).await.expect("listed");
        runs.into_iter().map(|run| run.extra["schedule"].as_u64().expect("as begun")).collect::<Vec<_>>()
    };
    assert_eq!(list(Filter::default(), None).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(list(Filter { limit: Some(2), ..Filter::default() }, Some(5)).await, [4, 3]);
    assert_eq!(list(Filter { name: Some("slow".into()), ..Filter::default() }, Some(6)).await, [4, 2]);
    assert_eq!(list(Filter { unfinished: true, ..Filter::default() }, None).await, [6, 5]);
    assert_eq!(list(Filter { verdict: Some(Verdict::Held), limit: Some(1), ..Filter::default() }, Some(4)).await, [3]);
    assert_eq!(list(Filter { labels: labels("nobody's"), ..Filter::default() }, None).await, [0; 0]);
    let found = w.db.run(&run(2)).await.expect("known");
    let summary = &found.summary;
    assert_eq!((summary.verdict, summary.lasted_us, summary.events), (Some(Verdict::Deviated), 2000, 3));
    assert_eq!((summary.reason.as_deref(), &summary.labels, &summary.damaged), (Some("because it deviated"), &labels("checkout"), &None));
    assert_eq!((summary.host.as_str(), summary.user.as_str(), found.extra), ("shop-1", "ada", json!({ "schedule": 2 })));
    assert!(matches!(w.db.run(&run(99)).await, Err(StoreError::UnknownRun(_))));
}
