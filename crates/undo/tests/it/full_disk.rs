//! The ledger on a disk without room: in a small file system of its own, in a namespace of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use squall_model::{InjectionId, RevertedBy, RunId};
use squall_undo::{ArmError, Entry, Ledger, StateDir};

use crate::undoer::TestUndoer;

const DISK: &str = "SQUALL_TEST_FULL_DISK";

/// Starts itself again with a file system of 600 KiB. Skipped, with a word, where namespaces cannot be had.
#[test]
#[expect(clippy::disallowed_methods, reason = "a namespace needs a process of its own")]
fn arming_and_reverting_go_on_when_the_disk_is_full() {
    if let Some(disk) = std::env::var_os(DISK) {
        return on_a_full_disk(&PathBuf::from(disk));
    }
    let disk = tempfile::tempdir().expect("scratch");
    let script = "mount -t tmpfs -o size=600k none \"$1\" || exit 77; exec \"$0\" --exact full_disk::arming_and_reverting_go_on_when_the_disk_is_full";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([std::env::current_exe().expect("own path").as_path(), disk.path()])
        .env(DISK, disk.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() != Some(77) && !String::from_utf8_lossy(&output.stderr).contains("unshare failed") => {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        }
        _ => println!("skipped: needs unshare(1) and user namespaces"),
    }
}

fn on_a_full_disk(disk: &Path) {
    let state = StateDir::new(disk.join("state")).expect("state");
    let ledger = Ledger::create(&state, &RunId::new(1_700_000_000_000, 1)).expect("create");
    let mut filler = std::fs::File::create(disk.join("filler")).expect("filler");
    while filler.write_all(&[1; 512]).is_ok() {}
    let entry = |number| {
        let undo = json!({ "path": "/nonexistent/squall", "why": "x".repeat(100) });
        Entry { injection: InjectionId(number), fault: "test.file".into(), target: "host".into(), undo, claims: Vec::new(), deadline: None }
    };
    let mut armed = 0;
    let refused = loop {
        match ledger.arm(entry(armed + 1)) {
            Ok(_) => armed += 1,
            Err(error) => break error,
        }
    };
    assert!(armed >= 100, "only {armed} entries had room");
    assert!(matches!(refused, ArmError::Write { .. }), "{refused}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    for number in 1..=armed {
        runtime.block_on(ledger.revert(InjectionId(number), &TestUndoer, RevertedBy::Engine)).expect("revert");
    }
    ledger.close().expect("every revert had room to be recorded");
    let view = Ledger::read(ledger.path()).expect("read");
    assert_eq!((view.open().count(), view.damaged), (0, 0));
}
