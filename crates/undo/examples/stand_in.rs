//! A run reduced to its undo side, for this crate's tests: it stops a process and makes a file, each with its undo, and kills
//! itself with SIGKILL at the step it is told.
//!
//! `stand_in engine STATE RUN VICTIM FILE STEP alone|both` or `stand_in watchdog --run-dir DIR`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the tests read what it prints")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use squall_model::{InjectionId, RevertedBy, RunId};
use squall_undo::{Armed, Entry, Ledger, StateDir, Watchdog, boottime, watch};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[path = "../tests/it/undoer.rs"]
mod undoer;
use undoer::TestUndoer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["watchdog", "--run-dir", dir] => {
            watch(Path::new(dir), &TestUndoer).await?;
            Ok(())
        }
        ["engine", state, run, victim, file, step, who] => {
            let script = Script { step: step.parse()?, at: 0, both: *who == "both", watchdog: None };
            engine(&StateDir::new(state)?, &run.parse()?, victim.parse()?, Path::new(file), script).await
        }
        _ => Err("see the source".into()),
    }
}

struct Script {
    step: u32,
    at: u32,
    both: bool,
    watchdog: Option<u32>,
}

impl Script {
    /// One more step is done. Dies here if it is the one; says so, so that the test can see how far it came.
    fn reached(&mut self, what: &str) -> Outcome<()> {
        self.at += 1;
        eprintln!("{} {what}", self.at);
        if self.at == self.step {
            if self.both
                && let Some(watchdog) = self.watchdog.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            {
                kill_process(watchdog, Signal::KILL)?;
            }
            kill_process(rustix::process::getpid(), Signal::KILL)?;
        }
        Ok(())
    }
}

async fn engine(state: &StateDir, run: &RunId, victim: i32, file: &Path, mut script: Script) -> Outcome<()> {
    let ledger = Ledger::create(state, run)?;
    script.reached("ledger made")?;
    let run_dir = state.run_dir(run);
    let mut watchdog = Watchdog::start(&std::env::current_exe()?, ["watchdog".as_ref(), "--run-dir".as_ref(), run_dir.as_os_str()])?;
    script.watchdog = watchdog.pid();
    script.reached("watchdog started")?;
    watchdog.ready().await?;
    println!("watchdog {}", watchdog.pid().unwrap_or_default());
    ledger.attach(watchdog.poker());
    script.reached("watchdog ready")?;

    let entry = |number, fault: &str, undo| Entry {
        injection: InjectionId(number),
        fault: fault.into(),
        target: format!("process:{victim}"),
        undo,
        claims: vec![format!("process:{victim}:{number}")],
        deadline: Some(boottime() + Duration::from_millis(500)),
    };
    let _armed: Armed = ledger.arm(entry(1, "test.pause", json!({ "pid": victim })))?;
    script.reached("armed the pause")?;
    kill_process(Pid::from_raw(victim).ok_or("pid 0")?, Signal::STOP)?;
    script.reached("paused")?;
    let _armed = ledger.arm(entry(2, "test.file", json!({ "path": file })))?;
    script.reached("armed the file")?;
    std::fs::write(file, "made by the stand-in")?;
    script.reached("made the file")?;
    if script.step == u32::MAX {
        // An engine that hangs.
        kill_process(rustix::process::getpid(), Signal::STOP)?;
    }
    for number in [1, 2] {
        ledger.revert(InjectionId(number), &TestUndoer, RevertedBy::Engine).await?;
        script.reached("reverted")?;
    }
    ledger.close()?;
    script.reached("closed")?;
    if !watchdog.stop().await {
        return Err("the watchdog did not end after the ledger was closed".into());
    }
    script.reached("over")
}
