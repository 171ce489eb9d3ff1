//! Somebody with access to the tables changes the audit trail.

use std::sync::Arc;

use rusqlite::Connection;
use squall_store::{AuditError, AuditHead, Batch, Database, SqliteDatabase, Write};
use squall_testkit::{FakeClock, Postgres};

use crate::sample::audit_entry;

/// Every way to change a row or the trail's end, and the first row that shows it. `{audit}` and `{head}` are the tables.
const WAYS: &[(&str, u64)] = &[
    ("UPDATE {audit} SET entry = replace(entry, 'ada', 'eve') WHERE seq = 3", 3),
    ("UPDATE {audit} SET entry = entry || ' ' WHERE seq = 1", 1),
    ("UPDATE {audit} SET entry = '{{}' WHERE seq = 8", 8),
    ("UPDATE {audit} SET hash = (SELECT hash FROM {audit} WHERE seq = 1) WHERE seq = 2", 2),
    ("UPDATE {audit} SET hash = '' WHERE seq = 8", 8),
    ("DELETE FROM {audit} WHERE seq = 1", 1),
    ("DELETE FROM {audit} WHERE seq = 5", 5),
    ("DELETE FROM {audit} WHERE seq = 8", 8),
    ("DELETE FROM {audit}", 1),
    ("UPDATE {audit} SET seq = 0 WHERE seq = 1", 1),
    ("UPDATE {audit} SET seq = -4 WHERE seq = 4", 1),
    ("UPDATE {audit} SET seq = 9 WHERE seq = 4", 4),
    ("INSERT INTO {audit} SELECT 9, hash, entry FROM {audit} WHERE seq = 8", 9),
    ("INSERT INTO {audit} SELECT 0, hash, entry FROM {audit} WHERE seq = 8", 1),
];

async fn fill(db: &dyn Database) -> AuditHead {
    for n in 0..8 {
        db.commit(Batch::new([Write::Audit(audit_entry(&n.to_string()))])).await.expect("committed");
    }
    db.audit_verify(None).await.expect("sound")
}

async fn broken_at(db: &dyn Database, kept: Option<&AuditHead>) -> u64 {
    match db.audit_verify(kept).await {
        Err(AuditError::Broken { seq, .. }) => seq,
        other => panic!("{other:?}"),
    }
}

/// Rows 8 and 7 are cut off, and the trail's end is set to match: only somebody who remembers it can tell.
const CUT: &str = "DELETE FROM {audit} WHERE seq > 6";

#[tokio::test]
async fn every_change_of_the_trail_is_found_in_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    let open = |path: &std::path::Path| SqliteDatabase::open(path, Arc::new(FakeClock::default())).expect("opened");
    let db = open(&path);
    let kept = fill(&db).await;
    drop(db);
    let tables = |sql: &str| sql.replace("{audit}", "audit").replace("{head}", "counters");
    let change = |sql: &str| {
        let copy = directory.path().join("copy.db");
        std::fs::copy(&path, &copy).expect("copied");
        let other = Connection::open(&copy).expect("opened");
        let error = other.execute_batch(&tables(sql)).err();
        if !sql.starts_with("INSERT") {
            assert!(error.expect("refused").to_string().contains("append-only"), "{sql}");
            other.execute_batch("DROP TRIGGER audit_keeps_what_was_written; DROP TRIGGER audit_keeps_everything").expect("dropped");
            other.execute_batch(&tables(sql)).expect("changed");
        }
        other
    };
    for (sql, seq) in WAYS {
        drop(change(sql));
        assert_eq!(broken_at(&open(&directory.path().join("copy.db")), None).await, *seq, "{sql}");
    }
    let other = change(CUT);
    other.execute_batch("UPDATE counters SET audit_seq = 6, audit_hash = (SELECT hash FROM audit WHERE seq = 6)").expect("changed");
    drop(other);
    let db = open(&directory.path().join("copy.db"));
    assert_eq!(db.audit_verify(None).await.expect("it seems sound").seq, 6);
    assert_eq!(broken_at(&db, Some(&kept)).await, 7);
    // Not even when it has grown again since.
    fill(&db).await;
    assert_eq!(broken_at(&db, Some(&kept)).await, 8);
}

#[tokio::test]
async fn every_change_of_the_trail_is_found_in_postgres() {
    let postgres = Postgres::with_settings(&["fsync=off"]);
    let db = crate::postgres::connect(&postgres.address("postgres")).await.expect("connected");
    let kept = fill(&db).await;
    postgres.psql("CREATE TABLE aside AS SELECT * FROM squall_audit; ALTER TABLE squall_audit DISABLE TRIGGER USER").expect("made");
    let change =
        |sql: &str| postgres.psql(&sql.replace("{audit}", "squall_audit").replace("{head}", "squall_audit_head")).expect("changed");
    for (sql, seq) in WAYS {
        change(sql);
        assert_eq!(broken_at(&db, None).await, *seq, "{sql}");
        change("DELETE FROM {audit}; INSERT INTO {audit} SELECT * FROM aside");
        db.audit_verify(Some(&kept)).await.expect("as it was");
    }
    change(CUT);
    change("UPDATE {head} SET seq = 6, hash = (SELECT hash FROM {audit} WHERE seq = 6)");
    assert_eq!(db.audit_verify(None).await.expect("it seems sound").seq, 6);
    assert_eq!(broken_at(&db, Some(&kept)).await, 7);
    fill(&db).await;
    assert_eq!(broken_at(&db, Some(&kept)).await, 8);
    change("DELETE FROM {head}");
    assert!(matches!(db.audit_verify(None).await, Err(AuditError::Store(_))));
}
