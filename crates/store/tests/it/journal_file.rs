//! What only a database on disk can get wrong: permissions, sudden ends, damage, several processes.

use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use squall_model::Verdict;
use squall_store::{Filter, RunStore, Store, StoreError};
use tempfile::TempDir;

use crate::sample::{ended, first, run, sampled};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("squall.db");
    (directory, path)
}

/// A database with some runs, with all of it in the main file.
fn filled(path: &Path) {
    let store = Store::open(path).expect("made");
    for n in 0..20 {
        store.append(&run(n), &[first(&run(n), "one")], false).expect("begun");
        let records: Vec<_> = (1..50).map(|seq| sampled(seq, 0.5)).collect();
        store.append(&run(n), &records, false).expect("appended");
        store.append(&run(n), &[ended(50, Verdict::Held)], true).expect("ended");
    }
    drop(store);
    let busy: i64 = Connection::open(path).expect("opened").query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0)).expect("done");
    assert_eq!(busy, 0);
}

#[test]
fn only_the_owner_can_read_any_of_the_files() {
    let (directory, path) = place();
    let store = Store::open(&path).expect("made");
    store.append(&run(1), &[first(&run(1), "one")], true).expect("appended");
    for entry in std::fs::read_dir(directory.path()).expect("listed").flatten() {
        let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[test]
fn a_directory_that_is_not_there_is_told_with_the_next_step() {
    let error = Store::open(Path::new("/nowhere/squall.db")).expect_err("no directory");
    assert!(matches!(error, StoreError::Open { .. }) && error.hint().expect("a hint").contains("--state-dir"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_told_with_the_next_step() {
    let (_directory, path) = place();
    std::fs::write(&path, "this is not a database, but it is long enough to look like one: ".repeat(100)).expect("written");
    let error = Store::open(&path).expect_err("damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("mv ") && hint.contains("squall recover"), "{hint}");
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    let (_directory, path) = place();
    filled(&path);
    let good = std::fs::read(&path).expect("read");
    let mut errors = 0;
    for step in 0..200 {
        let at = step * good.len() / 200;
        let mut bad = good.clone();
        for (i, byte) in bad.iter_mut().skip(at).take(64).enumerate() {
            *byte = byte.wrapping_add(u8::try_from(i % 251).expect("small") + 1);
        }
        std::fs::write(&path, &bad).expect("written");
        let read = Store::open(&path).and_then(|store| {
            let runs = store.runs(&Filter::default())?;
            runs.iter().try_for_each(|summary| store.records(&summary.run).map(drop))
        });
        errors += usize::from(read.is_err());
        remove_sides(&path);
    }
    assert!(errors > 50, "only {errors} of 200 damages were seen");
}

#[test]
fn a_database_cut_short_is_an_error_and_never_a_panic() {
    let (_directory, path) = place();
    filled(&path);
    let good = std::fs::read(&path).expect("read");
    for part in 1..20 {
        std::fs::write(&path, &good[..good.len() * part / 20]).expect("written");
        let read = Store::open(&path).and_then(|store| store.records(&run(1)).map(drop));
        assert!(read.is_err(), "{part}/20 of it were taken for all of it");
        remove_sides(&path);
    }
}

#[test]
fn a_torn_log_loses_its_end_and_nothing_else() {
    let (directory, path) = place();
    let store = Store::open(&path).expect("made");
    store.append(&run(1), &[first(&run(1), "one")], true).expect("appended");
    for seq in 1..100 {
        store.append(&run(1), &[sampled(seq, 1.0)], false).expect("appended");
    }
    // As after a power cut: a copy of both files, the log without its end and with zeros instead.
    let copy = directory.path().join("copy.db");
    std::fs::copy(&path, &copy).expect("copied");
    let log = std::fs::read(directory.path().join("squall.db-wal")).expect("read");
    for (cut, zeros) in [(100, 0), (5000, 8192), (20_001, 0)] {
        let mut torn = log[..log.len() - cut].to_vec();
        torn.resize(torn.len() + zeros, 0);
        std::fs::write(directory.path().join("copy.db-wal"), torn).expect("written");
        let records = Store::open(&copy).expect("opened").records(&run(1)).expect("read");
        assert!((50..100).contains(&records.len()), "{} are left", records.len());
        std::fs::copy(&path, &copy).expect("copied");
        let _ = std::fs::remove_file(directory.path().join("copy.db-shm"));
    }
}

#[test]
fn a_row_that_makes_no_sense_is_told_and_the_others_are_read() {
    let (_directory, path) = place();
    filled(&path);
    let other = Connection::open(&path).expect("opened");
    other.execute_batch("DROP TRIGGER events_keep_what_was_written; DROP TRIGGER events_keep_everything").expect("dropped");
    let n = |n: u64| other.query_row("SELECT n FROM runs WHERE id = ?1", [run(n).as_str()], |r| r.get::<_, i64>(0)).expect("there");
    other.execute("UPDATE events SET body = '{\"ended\":' WHERE run = ?1 AND kind = 'ended'", [n(3)]).expect("broken");
    other.execute("UPDATE events SET body = '{\"fromTheFuture\":{}}' WHERE run = ?1 AND seq = 7", [n(4)]).expect("broken");
    other.execute("DELETE FROM events WHERE run = ?1 AND seq = 7", [n(5)]).expect("gone");
    other.execute("UPDATE events SET at_us = -1 WHERE run = ?1 AND seq = 7", [n(6)]).expect("broken");
    other.execute("UPDATE runs SET labels = 'x' WHERE n = ?1", [n(8)]).expect("broken");
    let store = Store::open(&path).expect("opened");
    let runs = store.runs(&Filter::default()).expect("listed");
    assert_eq!(runs.len(), 20);
    assert_eq!(runs.iter().filter(|r| r.damaged.is_some()).map(|r| r.run.clone()).collect::<Vec<_>>(), [run(8), run(3)]);
    for (n, seq) in [(3, 50), (4, 7), (5, 7), (6, 7)] {
        let error = store.records(&run(n)).expect_err("damaged");
        assert!(matches!(&error, StoreError::DamagedEvent { seq: found, .. } if *found == seq), "{error}");
    }
    assert_eq!(store.records(&run(9)).expect("sound").len(), 51);
}

/// Set for a process of this test binary that writes until it is killed.
const WRITER: &str = "SQUALL_STORE_TEST_WRITER";

/// Not a test of its own: what `records_survive_sigkill` starts.
#[test]
fn writer_process() {
    let Ok(path) = std::env::var(WRITER) else { return };
    let store = Store::open(Path::new(&path)).expect("opened");
    let id = run(u64::from(std::process::id()));
    store.append(&id, &[first(&id, "one")], false).expect("begun");
    let mut out = std::io::stdout().lock();
    for seq in 1.. {
        store.append(&id, &[sampled(seq, 1.0)], seq % 50 == 0).expect("appended");
        // Told after it was written: whatever the parent has read must be there.
        if writeln!(out, "\nwrote {seq}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn writer(path: &Path) -> Writer {
    #[expect(clippy::disallowed_methods, reason = "a process that is killed while it writes")]
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "journal_file::writer_process", "--nocapture"]).env(WRITER, path).stdout(Stdio::piped()).stderr(Stdio::null());
    Writer(command.spawn().expect("started"))
}

/// Reads what the writer says until it has written so many, kills it, and gives the last that it said.
fn kill_after(writer: &mut Writer, count: u64) -> u64 {
    use std::io::BufRead;
    let mut lines = std::io::BufReader::new(writer.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let wrote = |line: String| line.strip_prefix("wrote ").and_then(|n| n.parse::<u64>().ok());
    let mut last = lines.by_ref().filter_map(wrote).find(|n| *n >= count).expect("it writes");
    writer.0.kill().expect("killed");
    last = lines.filter_map(wrote).last().unwrap_or(last);
    writer.0.wait().expect("ended");
    last
}

#[test]
fn records_survive_sigkill_of_several_writers_at_once() {
    let (_directory, path) = place();
    // At the same time, on a database that is not there yet.
    let mut writers: Vec<Writer> = (0..4).map(|_| writer(&path)).collect();
    let told: Vec<(u32, u64)> = writers.iter_mut().zip([40, 80, 120, 160]).map(|(w, count)| (w.0.id(), kill_after(w, count))).collect();
    let store = Store::open(&path).expect("opened");
    for (pid, last) in told {
        let records = store.records(&run(u64::from(pid))).expect("read");
        assert!(records.len() as u64 > last, "{} of {last} are left", records.len());
    }
}

#[test]
fn reading_goes_on_while_another_process_writes() {
    let (_directory, path) = place();
    let store = Store::open(&path).expect("made");
    store.append(&run(1), &[first(&run(1), "one")], false).expect("appended");
    let other = Connection::open(&path).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("held");
    assert_eq!(store.records(&run(1)).expect("read").len(), 1);
    assert_eq!(Store::open(&path).expect("opened too").runs(&Filter::default()).expect("listed").len(), 1);
}

#[test]
fn a_long_journal_is_copied_into_the_database_when_it_is_closed() {
    let (directory, path) = place();
    let store = Store::open(&path).expect("made");
    store.append(&run(1), &[first(&run(1), "one")], false).expect("appended");
    for seq in 1..400 {
        store.append(&run(1), &[sampled(seq, 1.0)], false).expect("appended");
    }
    drop(store);
    let log = directory.path().join("squall.db-wal");
    assert!(std::fs::metadata(&log).map_or(0, |m| m.len()) == 0, "the log is as long as it was");
    assert_eq!(Store::open(&path).expect("opened").records(&run(1)).expect("read").len(), 400);
    // The file can be read by itself then: nothing of it is elsewhere.
    let mut whole = std::fs::File::open(&path).expect("there");
    assert!(whole.seek(SeekFrom::End(0)).expect("its size") > 20_000);
}

fn remove_sides(path: &Path) {
    for side in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(side);
        let _ = std::fs::remove_file(name);
    }
}
