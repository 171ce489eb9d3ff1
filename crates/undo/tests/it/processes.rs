//! Engines and watchdogs that are killed at every step, as real processes.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use squall_model::{RevertedBy, RunId};
use squall_undo::{Ledger, LedgerView, StateDir, boottime, recover};

use crate::undoer::TestUndoer;

/// Steps of the stand-in, of which each may be its last.
const STEPS: u32 = 11;

/// A process that is killed and waited for at the end, whatever happens.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests are about real processes")]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

/// A process without children that waits for its standard input to end, with one argument more.
fn waiting(argument: &str) -> Command {
    let mut command = command("sh");
    command.args(["-c", "read line", argument]).stdin(Stdio::piped());
    command
}

struct Stage {
    scratch: tempfile::TempDir,
    state: StateDir,
    run: RunId,
    victim: Guarded,
    file: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        let state = StateDir::new(scratch.path().join("state")).expect("state");
        let victim = Guarded(command("sleep").arg("60").spawn().expect("sleep"));
        let file = scratch.path().join("touched");
        // A run of its own: what carries another test's mark must not be taken for this one's.
        let run = RunId::new(1_700_000_000_000 + u64::from(victim.0.id()), 1);
        Self { scratch, state, run, victim, file }
    }

    /// Starts the stand-in. It dies after `step`.
    fn engine(&self, step: u32, who: &str) -> Guarded {
        let exe = std::env::current_exe().expect("own path");
        let target = exe.ancestors().nth(2).expect("target directory");
        let mut command = command(target.join("examples/stand_in"));
        command.arg("engine").arg(self.state.path()).args([self.run.as_str(), &self.victim.0.id().to_string()]).arg(&self.file);
        command.args([&step.to_string(), who]).stdout(Stdio::piped()).stderr(Stdio::piped());
        Guarded(command.spawn().expect("the example stand_in is built together with the tests"))
    }

    fn ledger(&self) -> LedgerView {
        Ledger::read(&self.state.ledger(&self.run)).expect("ledger")
    }

    fn stopped(&self) -> bool {
        state_of(self.victim.0.id()) == Some('T')
    }

    fn clean(&self) -> bool {
        !self.stopped() && !self.file.exists() && self.ledger().open().next().is_none() && self.ledger().closed.is_some()
    }

    /// Waits for the clean state within the two seconds that are promised.
    fn clean_soon(&self) -> bool {
        eventually(Duration::from_secs(2), || self.clean())
    }
}

fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn eventually(patience: Duration, condition: impl Fn() -> bool) -> bool {
    let until = boottime() + patience;
    while boottime() < until {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    condition()
}

fn lines(engine: &mut Guarded) -> String {
    let mut said = String::new();
    engine.0.stderr.take().expect("piped").read_to_string(&mut said).expect("utf-8");
    said
}

fn watchdog_of(engine: &mut Guarded) -> i32 {
    let mut line = String::new();
    BufReader::new(engine.0.stdout.take().expect("piped")).read_line(&mut line).expect("line");
    line.trim().strip_prefix("watchdog ").and_then(|pid| pid.parse().ok()).expect("pid of the watchdog")
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("pid"), signal).expect("signal");
}

#[test]
fn the_watchdog_reverts_wherever_the_engine_is_killed() {
    for step in 1..=STEPS {
        let stage = Stage::new();
        let mut engine = stage.engine(step, "alone");
        let said = lines(&mut engine);
        let _ = engine.0.wait();
        if step == 1 {
            // No watchdog yet, and nothing armed.
            assert!(!stage.stopped() && stage.ledger().entries.is_empty());
            continue;
        }
        assert!(stage.clean_soon(), "killed after {said}ledger: {:#?}", stage.ledger());
    }
}

#[tokio::test]
async fn recover_reverts_wherever_engine_and_watchdog_are_killed() {
    for step in 1..=STEPS {
        let stage = Stage::new();
        let mut engine = stage.engine(step, "both");
        let said = lines(&mut engine);
        let _ = engine.0.wait();
        let recovered = recover(&stage.state, &TestUndoer).await.expect("recover");
        assert!(recovered.iter().all(squall_undo::RecoveredRun::clean), "killed after {said}{recovered:#?}");
        assert!(stage.clean(), "killed after {said}ledger: {:#?}", stage.ledger());
        assert!(recover(&stage.state, &TestUndoer).await.expect("again").is_empty(), "nothing is left to recover");
    }
}

#[test]
fn the_watchdog_reverts_what_is_late_while_the_engine_hangs_and_once_more_when_it_dies() {
    let stage = Stage::new();
    let mut engine = stage.engine(u32::MAX, "alone");
    // The deadline is half a second after arming, and the grace a second.
    let late = || stage.state.ledger(&stage.run).exists() && stage.ledger().entries.iter().filter(|e| e.early.is_some()).count() == 2;
    assert!(eventually(Duration::from_secs(6), late), "{:#?}", stage.ledger());
    assert!(!stage.stopped() && !stage.file.exists());
    assert_eq!(stage.ledger().open().count(), 2, "the engine lives, and may still touch");
    // What an engine that wakes up late would do.
    std::fs::write(&stage.file, "late").expect("touch");
    engine.0.kill().expect("kill");
    assert!(stage.clean_soon(), "{:#?}", stage.ledger());
    assert_eq!(stage.ledger().closed, Some(RevertedBy::Watchdog));
}

#[test]
fn the_watchdog_outlives_the_signals_that_end_the_run() {
    let stage = Stage::new();
    let mut engine = stage.engine(u32::MAX, "alone");
    let watchdog = watchdog_of(&mut engine);
    assert!(eventually(Duration::from_secs(5), || stage.ledger().entries.len() == 2));
    for number in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal(watchdog, number);
    }
    let own_session = rustix::process::getsid(Pid::from_raw(watchdog)).expect("session");
    assert_eq!(own_session.as_raw_nonzero().get(), watchdog, "a session of its own");
    assert_eq!(std::fs::read_link(format!("/proc/{watchdog}/cwd")).expect("cwd"), Path::new("/"));
    engine.0.kill().expect("kill");
    assert!(stage.clean_soon(), "{:#?}", stage.ledger());
    assert!(eventually(Duration::from_secs(2), || matches!(state_of(u32::try_from(watchdog).expect("pid")), None | Some('Z'))));
}

#[tokio::test]
async fn recover_finds_processes_by_their_mark_when_no_ledger_knows_them() {
    let stage = Stage::new();
    let mut engine = stage.engine(3, "both");
    let _ = engine.0.wait();
    let marker = format!("squall-{}-1", stage.run);
    let orphan = Guarded(waiting(&marker).spawn().expect("orphan"));
    let stranger = Guarded(waiting("squall-r000000000000-1").spawn().expect("stranger"));
    let pid = orphan.0.id();
    // The mark shows once the child has executed its program.
    assert!(eventually(Duration::from_secs(2), || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.starts_with(b"sh"))));
    let recovered = recover(&stage.state, &TestUndoer).await.expect("recover");
    let orphans: Vec<_> = recovered.iter().flat_map(|one| &one.orphans).collect();
    assert_eq!(orphans.len(), 1, "{recovered:#?}");
    assert!(orphans[0].gone && orphans[0].pid == i32::try_from(pid).expect("pid"));
    assert_eq!(state_of(pid), Some('Z'), "killed, and for its parent to wait for");
    assert_ne!(state_of(stranger.0.id()), Some('Z'), "of a run that is not in this state directory");
    drop(stage.scratch);
}
