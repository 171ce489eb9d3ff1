//! The journal's format on disk: what an older squall wrote, this one reads; what a newer one wrote, it refuses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use squall_model::{Event, JOURNAL_VERSION, Record};
use squall_store::{Batch, Database, Filter, MemoryStore, RunStore, SCHEMA_VERSION, SqliteDatabase, Store, StoreError, Write};
use squall_testkit::{FakeClock, Postgres};

use crate::sample::{audit_entry, first, run};

/// One record a line, as version 1 wrote them. Never edited: a change of the format is a new file.
const JOURNAL_V1: &str = include_str!("../golden/journal-v1.jsonl");
/// Events that version 1 has got since.
const JOURNAL_V1_LATER: &str = include_str!("../golden/journal-v1-later.jsonl");

/// A database as version 1 made it, as SQL, with the journal above in it.
const SCHEMA_V1: &str = include_str!("../golden/schema-v1.sql");

/// A server's database as version 2 made it.
const SCHEMA_V2: &str = include_str!("../golden/schema-v2.sql");

/// The same in PostgreSQL, where it was version 1.
const POSTGRES_V1: &str = include_str!("../golden/postgres-v1.sql");

fn golden() -> Vec<Record> {
    read(JOURNAL_V1)
}

fn read(journal: &str) -> Vec<Record> {
    journal.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn the_journal_of_version_1_is_read_and_written_as_it_was() {
    assert_eq!(JOURNAL_VERSION, 1, "a new version needs a golden file of its own, and this test stays");
    for journal in [JOURNAL_V1, JOURNAL_V1_LATER] {
        for (record, line) in read(journal).iter().zip(journal.lines()) {
            assert_eq!(serde_json::to_string(record).expect("written"), line);
        }
    }
}

#[test]
fn the_golden_journal_has_every_event_there_is() {
    let schema = serde_json::to_value(schemars::schema_for!(Event)).expect("JSON");
    let variants = schema["oneOf"].as_array().expect("variants").iter();
    let known: BTreeSet<String> = variants
        .flat_map(|v| match v["properties"].as_object() {
            Some(properties) => properties.keys().cloned().collect::<Vec<_>>(),
            None => v["enum"]
                .as_array()
                .into_iter()
                .flatten()
                .chain(v.get("const"))
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        })
        .collect();
    let seen: BTreeSet<String> = [golden(), read(JOURNAL_V1_LATER)]
        .iter()
        .flatten()
        .map(|record| match serde_json::to_value(&record.event).expect("JSON") {
            serde_json::Value::String(name) => name,
            value => value.as_object().and_then(|o| o.keys().next().cloned()).expect("a name"),
        })
        .collect();
    assert_eq!(known.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new(), "these are not in the golden file");
}

#[test]
fn both_stores_keep_the_golden_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let sqlite = Store::open(&directory.path().join("squall.db")).expect("opened");
    let memory = MemoryStore::new();
    let stores: [&dyn RunStore; 2] = [&sqlite, &memory];
    for store in stores {
        let records = golden();
        let Event::Started(started) = &records[0].event else { panic!("no start") };
        store.append(&started.run, &records, true).expect("appended");
        assert_eq!(store.records(&started.run).expect("read"), records);
    }
}

#[test]
fn a_database_of_version_1_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    Connection::open(&path).expect("made").execute_batch(SCHEMA_V1).expect("filled");
    let store = Store::open(&path).expect("opened");
    let records = store.records(&store.resolve("latest").expect("a run")).expect("read");
    assert_eq!(records, golden());
}

/// What the golden databases of a server hold, whatever keeps them.
async fn check_golden(db: &dyn Database) {
    let document = db.get("schedule", "nightly").await.expect("read").expect("there");
    assert_eq!((document.version, document.body.to_string().as_str()), (7, r#"{"cron":"0 3 * * *","z":1,"a":0.1}"#));
    assert_eq!(
        (document.created.to_string().as_str(), document.updated.to_string().as_str()),
        ("2026-11-21T05:39:34.848Z", "2026-11-21T05:39:35Z")
    );
    let lease = db.leases("").await.expect("listed").remove(0);
    assert_eq!((lease.name.as_str(), lease.holder.as_str(), lease.token, lease.left.is_zero()), ("scheduler", "server-1", 8, true));
    assert_eq!(db.audit_verify(None).await.expect("sound").seq, 1);
    let run = db.runs(&Filter::default(), None).await.expect("listed").remove(0);
    assert_eq!((run.summary.experiment.as_str(), run.extra.to_string().as_str()), ("payments-hangs", r#"{"schedule":"nightly"}"#));
    assert_eq!(db.records_from(&run.summary.run, 0, 99).await.expect("read"), golden());
    // And it goes on from there.
    let fence = db.acquire("scheduler", "server-2", Duration::from_mins(1)).await.expect("answers").expect("lapsed");
    assert!(fence.token > 8);
    db.commit(Batch::new([Write::Audit(audit_entry("x"))]).fenced(fence)).await.expect("committed");
    assert_eq!(db.audit_verify(None).await.expect("sound").seq, 2);
}

#[tokio::test]
async fn a_server_database_of_version_2_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    Connection::open(&path).expect("made").execute_batch(SCHEMA_V2).expect("filled");
    check_golden(&SqliteDatabase::open(&path, Arc::new(FakeClock::default())).expect("opened")).await;
}

#[tokio::test]
async fn a_postgres_database_of_version_1_is_read() {
    let postgres = Postgres::with_settings(&["fsync=off"]);
    postgres.psql(POSTGRES_V1).expect("filled");
    check_golden(&crate::postgres::connect(&postgres.address("postgres")).await.expect("connected")).await;
}

#[tokio::test]
async fn a_database_of_any_version_becomes_what_a_new_one_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let tables = |name: &str, from: &str| {
        let path = directory.path().join(name);
        Connection::open(&path).expect("made").execute_batch(from).expect("filled");
        drop(SqliteDatabase::open(&path, Arc::new(FakeClock::default())).expect("opened"));
        let connection = Connection::open(&path).expect("opened");
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").expect("prepared");
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))).expect("read");
        rows.collect::<Result<Vec<_>, _>>().expect("read")
    };
    let new = tables("new", "");
    assert!(new.len() > 10, "{new:?}");
    for (n, old) in [SCHEMA_V1, SCHEMA_V2].into_iter().enumerate() {
        assert_eq!(tables(&n.to_string(), old), new, "version {}", n + 1);
    }
}

#[tokio::test]
async fn a_server_opens_a_state_directory_of_before_there_were_servers() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    Connection::open(&path).expect("made").execute_batch(SCHEMA_V1).expect("filled");
    let db = SqliteDatabase::open(&path, Arc::new(FakeClock::default())).expect("opened");
    let run = db.runs(&Filter::default(), None).await.expect("listed").remove(0);
    assert_eq!(db.records_from(&run.summary.run, 0, 99).await.expect("read"), golden());
    db.commit(Batch::new([Write::Audit(audit_entry("x"))])).await.expect("committed");
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    drop(Store::open(&path).expect("made"));
    Connection::open(&path).expect("opened").pragma_update(None, "user_version", SCHEMA_VERSION + 1).expect("aged");
    let error = Store::open(&path).expect_err("newer");
    assert!(matches!(error, StoreError::Newer { found: 3, known: 2, .. }), "{error}");
    assert!(error.hint().expect("a hint").contains("newer squall"));
}

#[test]
fn somebody_elses_database_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    Connection::open(&path).expect("made").execute_batch("CREATE TABLE theirs (x)").expect("filled");
    let error = Store::open(&path).expect_err("foreign");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    let tables: i64 =
        Connection::open(&path).expect("opened").query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).expect("counted");
    assert_eq!(tables, 1);
}

#[test]
fn the_database_can_only_be_added_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    let store = Store::open(&path).expect("made");
    store.append(&run(1), &[first(&run(1), "one")], false).expect("appended");
    let other = Connection::open(&path).expect("opened");
    for sql in ["UPDATE events SET body = '{}'", "DELETE FROM events"] {
        let error = other.execute(sql, []).expect_err("refused").to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}
