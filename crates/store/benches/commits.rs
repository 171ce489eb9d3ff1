//! Commits a second of the server's database in SQLite, against a bare loop of `rusqlite` that does the same to the same tables.
//!
//! `cargo bench -p squall-store --bench commits` (`-- --quick` for a look). Both end each commit with an fsync, so absolute numbers
//! tell of the disk; what is judged is the ratio of the two, measured in turns on one file system.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::json;
use squall_engine::Clock;
use squall_store::{Batch, Database, SqliteDatabase, Write};
use squall_sys::BootClock;

/// A hundred bytes or so, as a heartbeat or a schedule's state.
fn body(n: u64) -> serde_json::Value {
    json!({ "n": n, "state": "waiting", "next": "2026-11-21T05:39:34.848Z", "labels": { "team": "checkout" } })
}

/// Commits a second of one connection that knows nothing but SQL.
fn bare(path: &Path, lasts: Duration, sync: bool) -> f64 {
    let connection = Connection::open(path).expect("opened");
    let sync = if sync { "FULL" } else { "NORMAL" };
    connection.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = {sync}; PRAGMA cache_size = -4096;")).expect("set");
    let sql = "CREATE TABLE IF NOT EXISTS documents (kind TEXT, id TEXT, version INTEGER, created_us INTEGER, updated_us INTEGER, body TEXT, \
        PRIMARY KEY (kind, id)) STRICT";
    connection.execute_batch(sql).expect("made");
    let sql = "INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?4, ?5) ON CONFLICT DO UPDATE \
        SET version = excluded.version, updated_us = excluded.updated_us, body = excluded.body";
    let mut statement = connection.prepare(sql).expect("prepared");
    let (clock, mut n) = (BootClock::new(), 0_u64);
    let start = clock.now();
    while clock.now() - start < lasts {
        statement.execute(params!["thing", (n % 1000).to_string(), n.cast_signed(), 0, body(n).to_string()]).expect("written");
        n += 1;
    }
    n as f64 / (clock.now() - start).as_secs_f64()
}

/// Commits a second of so many clients of one database.
async fn ours(path: &Path, lasts: Duration, clients: u64, sync: bool) -> f64 {
    let clock = BootClock::new();
    let db = Arc::new(SqliteDatabase::open(path, Arc::new(clock)).expect("opened"));
    let start = clock.now();
    let clients = (0..clients).map(|client| {
        let db = Arc::clone(&db);
        tokio::spawn(async move {
            let mut n = 0_u64;
            while clock.now() - start < lasts {
                let id = ((client + n * 7) % 1000).to_string();
                let batch = Batch { sync, ..Batch::new([Write::Put { kind: "thing".into(), id, body: body(n) }]) };
                db.commit(batch).await.expect("committed");
                n += 1;
            }
            n
        })
    });
    let mut total = 0;
    for client in clients.collect::<Vec<_>>() {
        total += client.await.expect("ended");
    }
    total as f64 / (clock.now() - start).as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "a bench tells what it measured")]
fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, lasts) = if quick { (3, Duration::from_millis(300)) } else { (5, Duration::from_secs(1)) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // Where the state directory would be: not in memory, as /tmp may be.
    let directory = tempfile::tempdir_in(std::env::var("SQUALL_BENCH_DIR").unwrap_or_else(|_| "/var/tmp".into())).expect("a directory");
    println!("{:<14}{:>9}{:>14}{:>14}{:>8}", "acknowledged", "clients", "rusqlite/s", "squall/s", "ratio");
    for sync in [true, false] {
        for clients in [1, 4, 16, 64] {
            let (mut loops, mut servers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..rounds {
                let path = |name: &str| directory.path().join(format!("{name}-{sync}-{clients}-{round}"));
                let bare = bare(&path("bare"), lasts, sync);
                let ours = runtime.block_on(ours(&path("ours"), lasts, clients, sync));
                loops.push(bare);
                servers.push(ours);
                ratios.push(ours / bare);
            }
            let name = if sync { "on disk" } else { "written" };
            println!("{name:<14}{clients:>9}{:>14.0}{:>14.0}{:>8.2}", median(loops), median(servers), median(ratios));
        }
    }
}
