//! What only `PostgreSQL` can get wrong: several servers, cut connections, TLS, formats.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use squall_store::{
    AuditEntry, AuditFilter, Batch, Change, Changes, CommitError, Database, Fence, LeaseError, PostgresDatabase, StoreError, Write,
};
use squall_sys::BootClock;
use squall_testkit::Postgres;

use crate::conformance::{CASES, World, create, put};
use crate::sample::{audit_entry, run, sampled};

pub async fn connect(address: &str) -> Result<PostgresDatabase, StoreError> {
    PostgresDatabase::connect(address, Arc::new(BootClock::new())).await
}

/// In a schema of its own, which is as good as a database of its own, as a user who owns nothing else.
async fn server(postgres: &Postgres, schema: &str) -> PostgresDatabase {
    let missing = "SELECT count(*) = 0 FROM pg_roles WHERE rolname = 'squall'";
    if postgres.psql(missing).as_deref() == Ok("t") {
        postgres.psql("CREATE ROLE squall LOGIN").expect("made");
    }
    postgres.psql(&format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION squall")).expect("made");
    let address = format!("{} user=squall options='-c search_path={schema}'", postgres.address("postgres"));
    connect(&address).await.expect("connected")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_passes_the_whole_suite() {
    let postgres = Postgres::start();
    for (n, (name, case)) in CASES.iter().enumerate() {
        println!("{name}");
        let db = Arc::new(server(&postgres, &format!("case_{n}")).await);
        case(&World { db, clock: None }).await;
    }
}

async fn told(changes: &mut Changes) -> Change {
    tokio::time::timeout(Duration::from_secs(20), changes.next()).await.expect("in time").expect("the database lives")
}

#[expect(clippy::disallowed_methods, reason = "PostgreSQL has a clock of its own")]
async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_share_one_state_and_hear_of_each_others_changes() {
    let postgres = Postgres::start();
    // Started at the same time on a database without tables.
    let (one, two) = tokio::join!(server(&postgres, "ours"), server(&postgres, "ours"));
    let (mut first, mut second) = (one.watch(), two.watch());
    let version = one.commit(Batch::new([create("a", json!(1))])).await.expect("committed").versions[0];
    assert_eq!(two.get("thing", "a").await.expect("read").expect("there").version, version, "read at once");
    let change = Change::Document { kind: "thing".into(), id: "a".into() };
    assert_eq!((told(&mut first).await, told(&mut second).await), (change.clone(), change.clone()));
    // A squall in another schema of the same database is another squall.
    let other = server(&postgres, "other").await;
    let mut apart = other.watch();
    assert_eq!(other.get("thing", "a").await.expect("read"), None);
    // The connections that listen are cut: whoever watches is told to look for himself, and goes on hearing.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(postgres.psql(cut).as_deref(), Ok("3"));
    for changes in [&mut first, &mut second, &mut apart] {
        assert_eq!(told(changes).await, Change::Missed, "the connection was cut");
        assert_eq!(told(changes).await, Change::Missed, "there is a new one");
    }
    two.commit(Batch::new([put("a", json!(2))])).await.expect("committed");
    assert_eq!((told(&mut first).await, told(&mut second).await), (change.clone(), change));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_outlives_a_crash_of_the_database() {
    let mut postgres = Postgres::start();
    let db = server(&postgres, "ours").await;
    db.commit(Batch::new([create("a", json!(1))])).await.expect("committed");
    postgres.kill();
    let error = db.get("thing", "a").await.expect_err("gone");
    assert!(matches!(error, StoreError::Unreachable { .. }) && error.hint().is_some(), "{error}");
    assert!(matches!(db.ping().await, Err(StoreError::Unreachable { .. })));
    postgres.restart();
    // Connections of before are in the pool still.
    assert_eq!(db.get("thing", "a").await.expect("read").expect("there").body, json!(1));
    db.commit(Batch::new([put("a", json!(2))])).await.expect("committed");
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let postgres = Postgres::start();
    drop(server(&postgres, "ours").await);
    postgres.psql("INSERT INTO ours.squall_migrations (version) VALUES (99)").expect("aged");
    let error = connect(&format!("{} options='-c search_path=ours'", postgres.address("postgres"))).await.err().expect("refused");
    assert!(matches!(error, StoreError::NewerServer { found: 99, known: 1, .. }), "{error}");
    assert!(error.hint().expect("a hint").contains("newer squall"));
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_with_the_next_step() {
    // A port that nobody listens on any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let error = connect(&format!("postgres://ada:secret@127.0.0.1:{port}/squall?sslmode=disable")).await.err().expect("refused");
    let text = error.to_string();
    assert!(text.contains(&format!("squall on 127.0.0.1:{port}")) && !text.contains("secret"), "{text}");
    assert!(error.hint().is_some());
}

/// Who holds the lease, by what was written under it: in the order of the audit trail, tokens never go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_servers_that_fight_for_a_lease_only_the_newest_holder_writes() {
    const TTL: Duration = Duration::from_millis(40);
    let postgres = Postgres::with_settings(&["fsync=off"]);
    let servers = join_all((0..3).map(|_| server(&postgres, "ours"))).await;
    let (written, fenced, lost) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    servers[0].append(&run(1), &[crate::sample::first(&run(1), "one")], true, None).await.expect("begun");
    let fight = servers.iter().enumerate().map(|(n, db)| {
        let (written, fenced, lost) = (&written, &fenced, &lost);
        async move {
            // Each holds it as often, however fast the machine is.
            for round in 0..15_u64 {
                let fence = loop {
                    match db.acquire("fought-for", &format!("server-{n}"), TTL).await.expect("it answers") {
                        Some(fence) => break fence,
                        None => pause(5).await,
                    }
                };
                // Like a server that is stopped for a while now and then, and does not know it.
                for step in 0..6 {
                    let stalls = (round * 7 + step * 3 + n as u64).is_multiple_of(5);
                    pause(if stalls { 60 } else { 1 }).await;
                    match write(db, &fence).await {
                        Ok(()) => written.fetch_add(1, Ordering::Relaxed),
                        Err(CommitError::Fenced(_)) => {
                            fenced.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    };
                    match db.renew(&fence, TTL).await {
                        Ok(()) => {}
                        Err(LeaseError::Lost(_)) => drop(lost.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    });
    join_all(fight).await;
    let rows = servers[0].audit(None, usize::MAX, &AuditFilter::default()).await.expect("read");
    let tokens: Vec<u64> = rows.iter().map(|row| row.entry.detail["token"].as_u64().expect("a token")).collect();
    assert!(tokens.is_sorted(), "an old holder wrote after a newer one: {tokens:?}");
    assert_eq!(tokens.len(), written.load(Ordering::Relaxed));
    let holders = tokens.chunk_by(|a, b| a == b).count();
    let refused = fenced.load(Ordering::Relaxed) + lost.load(Ordering::Relaxed);
    assert!(holders > 20 && refused > 5, "{holders} holders, {refused} refusals: that was no fight");
    println!("{} writes under {holders} fences, {refused} refused", tokens.len());
}

/// Under the lease: a row that tells its token, and a document that the next one overwrites.
async fn write(db: &PostgresDatabase, fence: &Fence) -> Result<(), CommitError> {
    let entry = AuditEntry { detail: json!({ "token": fence.token }), ..audit_entry("fought-for") };
    let batch = Batch::new([put("owner", json!(fence.token)), Write::Audit(entry)]).fenced(fence.clone());
    db.commit(batch).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_not_taken_while_its_holder_is_writing_under_it() {
    let postgres = Postgres::with_settings(&["fsync=off", "client_connection_check_interval=20ms"]);
    let (one, two) = tokio::join!(server(&postgres, "ours"), server(&postgres, "ours"));
    let fence = one.acquire("x", "one", Duration::ZERO).await.expect("answers").expect("free");
    // Its commit has passed the check of its fence, and then waits: somebody holds the end of the audit trail.
    let holding = hold(&postgres, "SELECT 1 FROM ours.squall_audit_head FOR UPDATE");
    let commit = async { write(&one, &fence).await };
    let acquire = async {
        waiting(&postgres, 1).await;
        // The lease has lapsed, but while that commit is under way nobody can have it.
        let acquire = two.acquire("x", "two", Duration::from_mins(1));
        let watch = async {
            waiting(&postgres, 2).await;
            drop(holding);
        };
        tokio::join!(acquire, watch).0
    };
    let (committed, acquired) = tokio::join!(commit, acquire);
    committed.expect("it was first");
    let new = acquired.expect("answers").expect("lapsed");
    assert!(new.token > fence.token);
    assert!(matches!(write(&one, &fence).await, Err(CommitError::Fenced(_))));
}

/// A transaction that holds a lock until it is dropped.
struct Holding(std::process::Child);

fn hold(postgres: &Postgres, sql: &str) -> Holding {
    let script = format!("BEGIN; {sql}; SELECT pg_sleep(60)");
    let mut psql = Postgres::command("psql");
    let psql = psql.args(["-X", "-q", "-d", &postgres.address("postgres"), "-c", &script]).stdout(std::process::Stdio::null()).spawn();
    let holding = Holding(psql.expect("started"));
    let held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    squall_testkit::eventually("the lock is held", || postgres.psql(held).as_deref() == Ok("1"));
    holding
}

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Until so many wait for a lock.
async fn waiting(postgres: &Postgres, count: usize) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let seen = || postgres.psql(waiting);
    squall_testkit::in_time("they wait", || if seen() == Ok(count.to_string()) { Ok(()) } else { Err(format!("{:?}", seen())) }).await;
}

#[tokio::test]
async fn what_was_written_cannot_be_changed_by_mistake() {
    let postgres = Postgres::start();
    let db = server(&postgres, "ours").await;
    db.commit(Batch::new([Write::Audit(audit_entry("x"))])).await.expect("committed");
    db.append(&run(1), &[crate::sample::first(&run(1), "one"), sampled(1, 0.0)], true, None).await.expect("appended");
    for table in ["ours.squall_audit", "ours.squall_events"] {
        for sql in [format!("DELETE FROM {table}"), format!("UPDATE {table} SET seq = 9"), format!("TRUNCATE {table}")] {
            let error = postgres.psql(&sql).expect_err("refused");
            assert!(error.contains("append-only"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_spoken_to_by_tls_must_prove_its_name() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let keys = tempfile::tempdir().expect("a directory");
    let (certificate, secret) = (keys.path().join("server.crt"), keys.path().join("server.key"));
    std::fs::write(&certificate, key.cert.pem()).expect("written");
    std::fs::write(&secret, key.signing_key.serialize_pem()).expect("written");
    for (path, mode) in [(keys.path(), 0o755), (&certificate, 0o644), (&secret, 0o600)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("its mode");
    }
    Postgres::own(&secret);
    let settings = [
        "listen_addresses=localhost".to_owned(),
        format!("port={port}"),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.display()),
        format!("ssl_key_file={}", secret.display()),
    ];
    let postgres = Postgres::with_settings(&settings.each_ref().map(String::as_str));
    let address = |host: &str, ca: &str| format!("postgres://postgres@{host}:{port}/postgres?sslmode=require{ca}");
    let ca = format!("&sslrootcert={}", certificate.display());
    let db = connect(&address("localhost", &ca)).await.expect("connected");
    db.commit(Batch::new([create("a", json!(1))])).await.expect("committed");
    assert_eq!(postgres.psql("SELECT count(*) > 0 FROM pg_stat_ssl WHERE ssl").as_deref(), Ok("t"));
    let unknown = connect(&address("localhost", "")).await.err().expect("nobody knows its CA");
    assert!(unknown.to_string().contains("certificate"), "{unknown}");
    let elsewhere = connect(&address("127.0.0.1", &ca)).await.err().expect("that is not its name");
    assert!(elsewhere.to_string().contains("certificate"), "{elsewhere}");
}
