//! What the engine may do with a ledger, and what it may not.

use std::time::Duration;

use serde_json::{Value, json};
use squall_model::{InjectionId, RevertedBy, RunId};
use squall_undo::{ArmError, Entry, Ledger, LedgerError, StateDir, recover, recoverable, revert_outstanding};

use crate::undoer::TestUndoer;

struct Scratch {
    directory: tempfile::TempDir,
    state: StateDir,
}

fn scratch() -> Scratch {
    let directory = tempfile::tempdir().expect("scratch");
    let state = StateDir::new(directory.path().join("state")).expect("state");
    Scratch { directory, state }
}

fn run(number: u64) -> RunId {
    RunId::new(1_700_000_000_000 + number, 0)
}

fn entry(injection: u32, fault: &str, undo: Value) -> Entry {
    let injection = InjectionId(injection);
    Entry { injection, fault: fault.into(), target: "process:1:2".into(), undo, claims: Vec::new(), deadline: None }
}

fn claiming(injection: u32, claim: &str) -> Entry {
    Entry { claims: vec![claim.into()], ..entry(injection, "test.file", json!({ "path": "/nonexistent/squall" })) }
}

#[tokio::test]
async fn entries_are_on_disk_when_armed_and_reverted_last_first() {
    let scratch = scratch();
    let ledger = Ledger::create(&scratch.state, &run(1)).expect("create");
    let file = scratch.directory.path().join("touched");
    std::fs::write(&file, "").expect("touch");
    ledger.arm(entry(1, "test.file", json!({ "path": file }))).expect("arm");
    ledger.arm(entry(1, "test.file", json!({ "path": "/nonexistent/squall" }))).expect("arm again");
    ledger.arm(entry(2, "test.file", json!({ "path": "/nonexistent/squall" }))).expect("arm another");
    let view = Ledger::read(ledger.path()).expect("read");
    assert_eq!(view.open().map(|e| e.armed.entry).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(view.header.expect("header").run, run(1));

    let how = ledger.revert(InjectionId(1), &TestUndoer, RevertedBy::Engine).await.expect("revert");
    assert_eq!(how, "the file is gone; removed the file");
    assert!(!file.exists());
    assert!(matches!(ledger.close(), Err(LedgerError::Outstanding { open: 1, .. })));
    assert!(matches!(ledger.arm(entry(1, "test.file", Value::Null)), Err(ArmError::Reverted(InjectionId(1)))));
    ledger.revert(InjectionId(2), &TestUndoer, RevertedBy::Engine).await.expect("revert");
    ledger.close().expect("close");
    assert_eq!(Ledger::read(ledger.path()).expect("read").closed, Some(RevertedBy::Engine));
    assert!(matches!(ledger.arm(entry(3, "test.file", Value::Null)), Err(ArmError::Closed(_))));
}

#[tokio::test]
async fn a_failed_revert_holds_up_nothing_and_can_be_tried_again() {
    let scratch = scratch();
    let ledger = Ledger::create(&scratch.state, &run(1)).expect("create");
    let file = scratch.directory.path().join("touched");
    std::fs::write(&file, "").expect("touch");
    ledger.arm(entry(1, "test.file", json!({ "path": file }))).expect("arm");
    ledger.arm(entry(1, "test.fail", Value::Null)).expect("arm");
    let error = ledger.revert(InjectionId(1), &TestUndoer, RevertedBy::Engine).await.expect_err("fails");
    assert_eq!(error, "test.fail fails, as told");
    assert!(!file.exists(), "the other entry was reverted");
    let view = Ledger::read(ledger.path()).expect("read");
    assert_eq!(view.open().map(|e| e.armed.entry).collect::<Vec<_>>(), [2]);
    assert_eq!(view.entries[1].failures, [(RevertedBy::Engine, error)]);
}

#[tokio::test]
async fn an_undo_that_hangs_or_panics_does_not_hold_up_the_others() {
    let scratch = scratch();
    let file = scratch.directory.path().join("touched");
    std::fs::write(&file, "").expect("touch");
    let ledger = Ledger::create(&scratch.state, &run(1)).expect("create");
    ledger.arm(entry(1, "test.file", json!({ "path": file }))).expect("arm");
    ledger.arm(entry(2, "test.panic", Value::Null)).expect("arm");
    ledger.arm(entry(3, "test.hang", Value::Null)).expect("arm");
    drop(ledger);
    let run_dir = scratch.state.run_dir(&run(1));
    let reverting = revert_outstanding(&run_dir, &TestUndoer, RevertedBy::Watchdog);
    tokio::select! {
        _ = reverting => panic!("one of them hangs"),
        gone = gone(&file) => assert!(gone),
    }
}

async fn gone(file: &std::path::Path) -> bool {
    for _ in 0..500 {
        if !file.exists() {
            return true;
        }
        tokio::task::yield_now().await;
        poll_interval().await;
    }
    false
}

#[expect(clippy::disallowed_methods, reason = "polls for a condition with a deadline")]
async fn poll_interval() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[test]
fn a_claim_is_held_until_it_is_reverted_by_whatever_run() {
    let scratch = scratch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let first = Ledger::create(&scratch.state, &run(1)).expect("create");
    let second = Ledger::create(&scratch.state, &run(2)).expect("create");
    first.arm(claiming(1, "host:cpu")).expect("first");
    first.arm(claiming(1, "host:cpu")).expect("the same injection may arm again");
    match first.arm(claiming(2, "host:cpu")) {
        Err(ArmError::Claimed { run: holder, injection, .. }) => assert_eq!((holder, injection), (run(1), InjectionId(1))),
        other => panic!("{other:?}"),
    }
    let refused = second.arm(claiming(1, "host:cpu")).expect_err("held by the other run");
    assert!(refused.to_string().starts_with("host:cpu is already under injection 1 (test.file) of run r"), "{refused}");
    second.arm(claiming(1, "host:memory")).expect("another resource");
    assert!(Ledger::read(second.path()).expect("read").entries.len() == 1, "a refused entry is not in the ledger");
    runtime.block_on(first.revert(InjectionId(1), &TestUndoer, RevertedBy::Engine)).expect("revert");
    second.arm(claiming(2, "host:cpu")).expect("free again");
}

#[test]
fn nothing_is_armed_while_the_stop_file_exists() {
    let scratch = scratch();
    let ledger = Ledger::create(&scratch.state, &run(1)).expect("create");
    std::fs::write(scratch.state.stop_file(), "the on-call").expect("stop file");
    let refused = ledger.arm(entry(1, "test.file", Value::Null)).expect_err("stopped");
    assert!(refused.to_string().ends_with("STOP is there (the on-call); `squall stop --unblock` removes it"), "{refused}");
    std::fs::remove_file(scratch.state.stop_file()).expect("unblock");
    ledger.arm(entry(1, "test.file", Value::Null)).expect("armed");
}

#[test]
fn an_undo_that_would_not_be_read_back_is_refused() {
    let scratch = scratch();
    let ledger = Ledger::create(&scratch.state, &run(1)).expect("create");
    let mut deep = Value::Null;
    for _ in 0..200 {
        deep = Value::Array(vec![deep]);
    }
    assert!(matches!(ledger.arm(entry(1, "test.file", deep)), Err(ArmError::Encode(_))));
    let long = json!({ "path": "/nonexistent/squall", "note": "\n".repeat(300_000) });
    ledger.arm(entry(2, "test.file", long.clone())).expect("long undos are fine");
    assert_eq!(Ledger::read(ledger.path()).expect("read").entries[0].armed.undo, long);
}

#[test]
fn arming_needs_no_new_descriptor_and_many_threads_may_arm() {
    let scratch = scratch();
    let ledger = Ledger::create(&scratch.state, &run(1)).expect("create");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let ledger = &ledger;
            scope.spawn(move || {
                for number in 0..50 {
                    ledger.arm(entry(1 + thread * 50 + number, "test.file", json!({ "path": "/nonexistent/squall" }))).expect("arm");
                }
            });
        }
    });
    let view = Ledger::read(ledger.path()).expect("read");
    assert_eq!((view.entries.len(), view.damaged), (200, 0));
    let mut numbers: Vec<u32> = view.entries.iter().map(|e| e.armed.entry).collect();
    numbers.dedup();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn recover_leaves_live_runs_alone() {
    let scratch = scratch();
    let ledger = Ledger::create(&scratch.state, &run(1)).expect("create");
    ledger.arm(entry(1, "test.fail", Value::Null)).expect("arm");
    assert!(recoverable(&scratch.state).expect("look").is_empty());
    assert!(recover(&scratch.state, &TestUndoer).await.expect("recover").is_empty());
    assert_eq!(Ledger::read(ledger.path()).expect("read").open().count(), 1);
}
