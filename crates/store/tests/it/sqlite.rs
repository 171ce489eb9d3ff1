//! What only the server's database in SQLite can get wrong: restarts, formats, a file that others use too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use squall_store::{Batch, CommitError, Database, Filter, RunStore, SqliteDatabase, Store};
use squall_testkit::FakeClock;
use tempfile::TempDir;

use crate::sample::{first, run, sampled};

const MINUTE: Duration = Duration::from_mins(1);

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    (directory, path)
}

fn open(path: &Path, clock: &FakeClock) -> SqliteDatabase {
    SqliteDatabase::open(path, Arc::new(clock.clone())).expect("opened")
}

#[tokio::test]
async fn a_lease_outlasts_the_server_but_not_the_machine() {
    let (_directory, path) = place();
    let clock = FakeClock::default();
    let db = open(&path, &clock);
    let old = db.acquire("x", "one", MINUTE).await.expect("answers").expect("free");
    drop(db);
    let db = open(&path, &clock);
    assert_eq!(db.acquire("x", "two", MINUTE).await.expect("answers"), None, "it lasts");
    db.commit(Batch::new([]).fenced(old.clone())).await.expect("still held");
    clock.advance(MINUTE);
    let new = db.acquire("x", "two", MINUTE).await.expect("answers").expect("lapsed");
    assert!(new.token > old.token);
    drop(db);
    // As after a restart of the machine, where the clock starts anew.
    Connection::open(&path).expect("opened").execute_batch("UPDATE leases SET boot = 'b'; UPDATE counters SET boot = 'b'").expect("set");
    let db = open(&path, &FakeClock::at(Duration::from_secs(1)));
    assert!(db.leases("").await.expect("listed")[0].left.is_zero());
    let third = db.acquire("x", "three", MINUTE).await.expect("answers").expect("lapsed");
    assert!(third.token > new.token + 1000, "what was given without being on disk is not given again");
    assert!(matches!(db.commit(Batch::new([]).fenced(new)).await, Err(CommitError::Fenced(_))));
}

#[tokio::test]
async fn journals_of_squall_run_are_read_and_go_on_beside_the_server() {
    let (_directory, path) = place();
    let store = Store::open(&path).expect("opened");
    store.append(&run(1), &[first(&run(1), "one")], true).expect("appended");
    let db = open(&path, &FakeClock::default());
    assert_eq!(db.runs(&Filter::default(), None).await.expect("listed").len(), 1);
    assert_eq!(db.run(&run(1)).await.expect("there").extra, json!(null));
    store.append(&run(1), &[sampled(1, 1.0)], false).expect("appended");
    assert_eq!(db.records_from(&run(1), 1, 9).await.expect("read"), [sampled(1, 1.0)]);
    db.append(&run(2), &[first(&run(2), "two")], true, None).await.expect("appended");
    assert_eq!(store.latest().expect("listed"), Some(run(2)));
}
