//! The audit trail.

use futures_util::future::join_all;
use serde_json::json;
use squall_store::{AuditEntry, AuditError, AuditFilter, AuditHead, Batch, Write};

use super::{World, put};
use crate::sample::audit_entry;

async fn fill(w: &World) {
    let with = |n: u64| AuditEntry {
        at: jiff::Timestamp::from_second(1_800_000_000 + n.cast_signed()).expect("a time"),
        actor: if n.is_multiple_of(2) { "ada" } else { "grace\u{0}" }.into(),
        action: if n.is_multiple_of(3) { "run.start" } else { "schedule.pause" }.into(),
        outcome: if n == 7 { "refused" } else { "ok" }.into(),
        detail: json!({ "b": n, "a": "\u{0}" }),
        ..audit_entry(&format!("experiment/{n}"))
    };
    for n in 0..10 {
        let versions =
            w.commit([put("x", json!(n)), Write::Audit(with(2 * n)), Write::Audit(with(2 * n + 1))]).await.expect("committed").versions;
        assert_eq!(versions[1..], [2 * n + 1, 2 * n + 2], "rows are counted from 1");
    }
}

pub async fn rows_are_listed_from_both_ends_and_filtered(w: &World) {
    fill(w).await;
    let list = async |after, limit, filter: AuditFilter| {
        let rows = w.db.audit(after, limit, &filter).await.expect("listed");
        rows.into_iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    let all = AuditFilter::default;
    let back = || AuditFilter { descending: true, ..all() };
    assert_eq!(list(None, 99, all()).await, (1..=20).collect::<Vec<_>>());
    assert_eq!(list(None, 3, all()).await, [1, 2, 3]);
    assert_eq!(list(Some(3), 2, all()).await, [4, 5]);
    assert_eq!(list(None, 2, back()).await, [20, 19]);
    assert_eq!(list(Some(19), 2, back()).await, [18, 17]);
    assert_eq!(list(Some(20), 2, all()).await, [0; 0]);
    assert_eq!(list(None, 99, AuditFilter { outcome: Some("refused".into()), ..all() }).await, [8]);
    assert_eq!(list(Some(4), 2, AuditFilter { actor: Some("ada".into()), ..all() }).await, [5, 7]);
    assert_eq!(list(None, 2, AuditFilter { action: Some("run.".into()), ..back() }).await, [19, 16]);
    assert_eq!(list(None, 9, AuditFilter { subject: Some("experiment/1".into()), until: Some(at(12)), ..all() }).await, [2, 11, 12]);
    assert_eq!(list(None, 9, AuditFilter { from: Some(at(18)), ..all() }).await, [19, 20]);
    let row = w.db.audit(Some(1), 1, &all()).await.expect("read").remove(0);
    assert_eq!((row.entry.actor.as_str(), row.entry.at, row.entry.detail), ("grace\u{0}", at(1), json!({ "a": "\u{0}", "b": 1 })));
}

fn at(n: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + n).expect("a time")
}

pub async fn a_trail_stands_against_a_head_that_was_kept(w: &World) {
    let empty = w.db.audit_verify(None).await.expect("sound");
    assert_eq!(empty, AuditHead::default());
    w.commit([Write::Audit(audit_entry("x"))]).await.expect("committed");
    let kept = w.db.audit_verify(Some(&empty)).await.expect("sound");
    fill_more(w).await;
    let head = w.db.audit_verify(Some(&kept)).await.expect("sound");
    let last = w.db.audit(None, 1, &AuditFilter { descending: true, ..AuditFilter::default() }).await.expect("read").remove(0);
    assert_eq!((kept.seq, head.seq, &head.hash), (1, 4, &last.hash));
    // Another past, and one that is longer than what is left.
    let other = AuditHead { seq: 2, hash: kept.hash.clone() };
    assert!(matches!(w.db.audit_verify(Some(&other)).await, Err(AuditError::Broken { seq: 2, .. })));
    let longer = AuditHead { seq: 9, hash: kept.hash };
    assert!(matches!(w.db.audit_verify(Some(&longer)).await, Err(AuditError::Broken { seq: 5, .. })));
}

async fn fill_more(w: &World) {
    for n in 0..3 {
        w.commit([Write::Audit(audit_entry(&n.to_string()))]).await.expect("committed");
    }
}

pub async fn rows_of_many_writers_make_one_chain(w: &World) {
    let writers = (0..40).map(|n| async move {
        let batch = Batch::new([Write::Audit(audit_entry("first")), put(&n.to_string(), json!(n)), Write::Audit(audit_entry("second"))]);
        w.db.commit(batch).await.expect("committed").versions
    });
    let mut seqs: Vec<u64> = join_all(writers).await.into_iter().flat_map(|versions| [versions[0], versions[2]]).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=80).collect::<Vec<_>>());
    assert_eq!(w.db.audit_verify(None).await.expect("sound").seq, 80);
}
