//! A server that is killed while it writes: what it acknowledged is there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use squall_store::{AuditEntry, AuditFilter, Batch, Database, List, SqliteDatabase, Write};
use squall_sys::BootClock;
use squall_testkit::Postgres;

use crate::conformance::create;
use crate::sample::audit_entry;

/// Set for a process of this test binary that writes until it is killed: a file, or the address of a `PostgreSQL`.
const WRITER: &str = "SQUALL_STORE_TEST_SERVER";

async fn open(place: &str) -> Arc<dyn Database> {
    if place.starts_with('/') {
        Arc::new(SqliteDatabase::open(Path::new(place), Arc::new(BootClock::new())).expect("opened"))
    } else {
        Arc::new(crate::postgres::connect(place).await.expect("connected"))
    }
}

/// Not a test of its own: what the others start. Sixteen clients write; each write is told when it is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_process() {
    let Ok(place) = std::env::var(WRITER) else { return };
    let db = open(&place).await;
    join_all((0..16).map(|client| {
        let db = Arc::clone(&db);
        async move {
            for n in 0.. {
                let id = format!("{}-{client}-{n}", std::process::id());
                let entry = Write::Audit(AuditEntry { subject: id.clone(), ..audit_entry("") });
                db.commit(Batch::new([create(&id, json!(n)), entry])).await.expect("committed");
                // Told after it was acknowledged: whatever the parent has read must be there.
                let mut out = std::io::stdout().lock();
                if writeln!(out, "\nwrote {id}").and_then(|()| out.flush()).is_err() {
                    return;
                }
            }
        }
    }))
    .await;
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(place: &str) -> Server {
    #[expect(clippy::disallowed_methods, reason = "a process that is killed while it writes")]
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "sudden_end::server_process", "--nocapture"]).env(WRITER, place);
    Server(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started"))
}

/// Reads what the server acknowledges until there are so many, kills it by `kill`, and gives all that it has acknowledged.
fn kill_after(server: &mut Server, count: usize, kill: impl FnOnce(&mut Child)) -> BTreeSet<String> {
    let lines = BufReader::new(server.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut ids = lines.filter_map(|line| Some(line.strip_prefix("wrote ")?.to_owned()));
    let mut acknowledged: BTreeSet<String> = ids.by_ref().take(count).collect();
    assert_eq!(acknowledged.len(), count, "it writes");
    kill(&mut server.0);
    // What it said before it was killed, in the pipe still. The last line may have been cut.
    let mut rest: Vec<String> = ids.collect();
    rest.pop();
    acknowledged.extend(rest);
    server.0.wait().expect("ended");
    acknowledged
}

/// Every write that was acknowledged is there, no batch is there by half, and the trail stands.
async fn check(db: &dyn Database, acknowledged: &BTreeSet<String>) {
    let documents: BTreeSet<String> = db.list("thing", &List::default()).await.expect("listed").into_iter().map(|d| d.id).collect();
    let lost: Vec<_> = acknowledged.difference(&documents).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
    let rows = db.audit(None, usize::MAX, &AuditFilter::default()).await.expect("listed");
    assert_eq!(rows.into_iter().map(|row| row.entry.subject).collect::<BTreeSet<_>>(), documents);
    assert_eq!(db.audit_verify(None).await.expect("sound").seq, documents.len() as u64);
}

#[tokio::test]
async fn what_sqlite_acknowledged_outlives_kill_9_of_the_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("squall.db").display().to_string();
    let mut acknowledged = BTreeSet::new();
    // In the middle of 1,000 writes, again and again on what the last one left.
    for count in [500, 137, 363] {
        acknowledged.extend(kill_after(&mut server(&place), count, |server| server.kill().expect("killed")));
        check(open(&place).await.as_ref(), &acknowledged).await;
    }
    assert!(acknowledged.len() >= 1000);
}

#[tokio::test]
async fn what_postgres_acknowledged_outlives_kill_9_of_both() {
    let mut postgres = Postgres::start();
    let place = postgres.address("postgres");
    let mut acknowledged = BTreeSet::new();
    for count in [500, 500] {
        let kill = |server: &mut Child| {
            postgres.kill();
            server.kill().expect("killed");
        };
        acknowledged.extend(kill_after(&mut server(&place), count, kill));
        postgres.restart();
        check(open(&place).await.as_ref(), &acknowledged).await;
    }
    assert!(acknowledged.len() >= 1000);
}
