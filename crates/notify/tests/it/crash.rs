//! The process is killed with SIGKILL at any point, again and again: what was written is delivered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use squall_notify::{DeliveryState, EventKind, delivery_id};
use squall_store::SqliteDatabase;
use squall_sys::BootClock;

use crate::receiver::{Receiver, answer};
use crate::{Bench, WEBHOOK_SECRET, notice};

const DATABASE: &str = "SQUALL_NOTIFY_TEST_DATABASE";
const FIRST: &str = "SQUALL_NOTIFY_TEST_FIRST";

fn open(path: &std::path::Path) -> Bench {
    let clock = Arc::new(BootClock::new());
    let database = SqliteDatabase::open(&path.join("squall.db"), clock.clone()).expect("a database");
    let bench = Bench::with(clock.clone(), Arc::new(database), Vec::new());
    // The secrets of every process that opens it are where the channel says.
    let guards = crate::guards(path);
    Bench { transport: squall_notify::Transport::new(guards, Vec::new(), clock).expect("a transport"), ..bench }
}

/// Not a test by itself: the process that is killed. Writes notices and delivers them, and says which it has written.
#[tokio::test]
async fn the_process_that_is_killed() {
    let (Some(path), Ok(first)) = (std::env::var_os(DATABASE), std::env::var(FIRST)) else { return };
    let bench = open(std::path::Path::new(&path));
    let _delivering = bench.deliver();
    for n in first.parse::<u64>().expect("a number").. {
        let notice = notice(&format!("n{n}"), EventKind::RunStarted);
        bench.tell(&notice).await;
        println!("written n{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_delivered_although_the_process_is_killed_again_and_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::answering(|index, _| answer(if index % 7 == 3 { 500 } else { 200 })).await;
    let secret = directory.path().join("hook");
    std::fs::write(&secret, WEBHOOK_SECRET).expect("written");
    let channel = json!({
        "to": { "webhook": { "url": receiver.url("/"), "secret": { "file": secret } } },
        "retry": { "tries": 100, "base": "100ms", "cap": "100ms" }, "rate": { "perMinute": 6000, "burst": 1000 }, "timeout": "1s",
    });
    open(directory.path()).channel("hook", channel).await;
    let mut written = Vec::new();
    for round in 0..8_u64 {
        let (path, first) = (directory.path().to_owned(), round * 1_000);
        let lines = tokio::task::spawn_blocking(move || killed_after(&path, first, 3 + usize::try_from(round * 5 % 17).unwrap_or(1)));
        written.extend(lines.await.expect("it was killed"));
    }
    assert!(written.len() >= 8 * 3, "{written:?}");
    let bench = open(directory.path());
    let _delivering = bench.deliver();
    let end = bench.wall() + Duration::from_mins(1);
    while !bench.outbox.list(None, Some(DeliveryState::Pending), None, 1).await.expect("listed").items.is_empty() {
        assert!(bench.wall() < end, "something still waits");
        squall_engine::Clock::sleep_until(&BootClock::new(), squall_engine::Clock::now(&BootClock::new()) + Duration::from_millis(20))
            .await;
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for got in receiver.got() {
        *times.entry(got.headers["webhook-id"].clone()).or_default() += 1;
    }
    for name in &written {
        let id = delivery_id("hook", &notice(name, EventKind::RunStarted));
        assert!(times.contains_key(&id), "{name} was written and never sent");
        let known = bench.outbox.get(&id).await.expect("read").expect("known").value;
        assert_eq!(known.state, DeliveryState::Delivered, "{known:?}");
    }
}

/// Starts the process and kills it when it has written so many. Returns what it has said to have written.
fn killed_after(path: &std::path::Path, first: u64, count: usize) -> Vec<String> {
    let this = std::env::current_exe().expect("this program");
    #[expect(clippy::disallowed_methods, reason = "it is there to be killed")]
    let mut child = Command::new(this)
        .args(["crash::the_process_that_is_killed", "--exact", "--nocapture"])
        .env(DATABASE, path)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let words = lines.filter_map(|line| line.split_once("written ").map(|(_, name)| name.to_owned()));
    let written: Vec<String> = words.take(count).collect();
    child.kill().expect("SIGKILL");
    child.wait().expect("it is gone");
    written
}
