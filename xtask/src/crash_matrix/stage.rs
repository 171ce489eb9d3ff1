//! One point's stage: victims, a manifest with every kind of fault, a state directory, and the run that is killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use squall_model::RunId;
use squall_undo::{Ledger, LedgerView, StateDir};

use super::Moment;
use super::victim::{Supervised, Victim};
use super::wire::Wire;
use crate::shell;

/// A run takes about three seconds; one that takes so long hangs.
const HANGS: Duration = Duration::from_mins(1);
/// How long after its start a process may take to show up in `/proc` as what it is.
const POLL: Duration = Duration::from_millis(1);

pub struct Stage {
    squall: PathBuf,
    /// In the environment of everything that Squall starts at this point.
    pub name: String,
    scratch: tempfile::TempDir,
    pub state: StateDir,
    pub paused: Victim,
    pub restarted: Victim,
    pub killed: Victim,
    pub looping: Supervised,
    pub wire: Wire,
}

impl Stage {
    pub fn new(squall: &Path, number: usize) -> Result<Self> {
        let name = format!("crash-matrix-{}-{number}", std::process::id());
        let scratch = tempfile::Builder::new().prefix("crash-matrix-").tempdir()?;
        std::fs::create_dir(scratch.path().join("tmp"))?;
        let state = StateDir::new(scratch.path().join("state"))?;
        let stage = Self {
            squall: squall.to_owned(),
            paused: Victim::start(&name, "paused")?,
            restarted: Victim::start(&name, "restarted")?,
            killed: Victim::start(&name, "killed")?,
            looping: Supervised::start(&name, "looping")?,
            wire: Wire::new(),
            name,
            scratch,
            state,
        };
        std::fs::write(stage.file("signal"), "0")?;
        std::fs::write(stage.file("experiment.yaml"), stage.manifest())?;
        Ok(stage)
    }

    /// The tokens of all victims.
    pub fn tokens(&self) -> [&String; 4] {
        [&self.paused.token, &self.restarted.token, &self.killed.token, &self.looping.token]
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Made by the custom fault, removed by its undo.
    pub fn touched(&self) -> PathBuf {
        self.file("touched")
    }

    /// Where programs that honour `TMPDIR` put files; nothing may be left in it.
    pub fn temporary(&self) -> PathBuf {
        self.file("tmp")
    }

    fn manifest(&self) -> String {
        let filled = [
            ("@SIGNAL@", self.file("signal").display().to_string()),
            ("@PAUSED@", self.paused.pid().to_string()),
            ("@RESTARTED@", self.restarted.pid().to_string()),
            ("@KILLED@", self.killed.pid().to_string()),
            ("@LOOPING@", self.looping.token.clone()),
            ("@TOUCHED@", self.touched().display().to_string()),
            ("@NETNS@", self.wire.here.name_of_namespace().to_owned()),
            ("@PEER@", self.wire.there.v4().to_string()),
            ("@PEER6@", self.wire.there.v6().to_string()),
        ];
        filled.iter().fold(include_str!("experiment.yaml").to_owned(), |text, (word, value)| text.replace(word, value))
    }

    fn command(&self) -> std::process::Command {
        let mut command = shell::command(&self.squall);
        command.env("CRASH_MATRIX", &self.name).env("TMPDIR", self.temporary()).arg("--state-dir").arg(self.state.path());
        command
    }

    /// Starts the run. It kills itself right after event `halt`.
    pub fn run(&self, halt: Option<u64>) -> Result<Engine<'_>> {
        let mut command = self.command();
        command.args(["run", "--plain", "--quiet"]).arg(self.file("experiment.yaml"));
        if let Some(halt) = halt {
            command.arg("--halt-after-event").arg(halt.to_string());
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("squall run")?;
        Ok(Engine { stage: self, begin: shell::now(), child })
    }

    pub fn recover(&self) -> Result<()> {
        let output = shell::output(self.command().arg("recover"))?;
        if !output.status.success() {
            bail!("squall recover ended with {}: {}", output.status, String::from_utf8_lossy(&output.stdout));
        }
        Ok(())
    }

    /// The run, once it has a directory.
    pub fn run_id(&self) -> Option<RunId> {
        self.state.runs().ok()?.pop()
    }

    /// Its ledger, once there is one.
    pub fn ledger(&self) -> Option<LedgerView> {
        Ledger::read(&self.state.ledger(&self.run_id()?)).ok()
    }

    /// How many events a run has in its journal.
    pub fn events(&self) -> Result<u64> {
        let output = shell::output(self.command().args(["show", "latest", "--events", "--output", "json"]))?;
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).context("`squall show` gave no JSON")?;
        Ok(shown["events"].as_array().context("`squall show` has no events")?.len() as u64)
    }

    /// A matrix in which a fault is never applied shows nothing of it.
    pub fn check_that_every_fault_came(&self) -> Result<()> {
        let view = self.ledger().context("no ledger")?;
        let faults = self.manifest();
        let faults = faults.lines().filter_map(|line| Some(line.split_once("fault: ")?.1.split([',', ' ']).next()?.to_owned()));
        for fault in faults {
            if !view.entries.iter().any(|entry| entry.armed.fault == fault) {
                bail!("{fault} was never armed");
            }
        }
        if self.looping.starts() < 2 {
            bail!("the crash loop killed nothing");
        }
        Ok(())
    }
}

/// A run that is going. Killed when dropped.
pub struct Engine<'a> {
    stage: &'a Stage,
    begin: f64,
    child: Child,
}

/// How it was killed.
pub struct Killed {
    /// It had ended by itself before.
    pub over: bool,
    /// Entries that were open at that time.
    pub open: usize,
}

impl Engine<'_> {
    pub fn wait_to_the_end(mut self) -> Result<Output> {
        self.wait_until_dead(|| ())?;
        let mut stderr = Vec::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            std::io::Read::read_to_end(&mut pipe, &mut stderr)?;
        }
        Ok(Output { status: self.child.wait()?, stdout: Vec::new(), stderr })
    }

    /// Kills the engine at its moment, and leaves the watchdog alone.
    pub fn kill(&mut self, moment: Moment) -> Result<Killed> {
        let open = self.die(moment, || ())?;
        Ok(Killed { over: self.ended_by_itself()?, open })
    }

    /// Kills engine and watchdog. Without a head start the watchdog is held from the moment it watches, so that it is killed
    /// before it can do anything.
    pub fn kill_with_watchdog(&mut self, moment: Moment, head_start: Option<Duration>) -> Result<Killed> {
        let pid = self.child.id();
        let mut watchdog = None;
        let mut held = head_start.is_some();
        let mut open = self.die(moment, || {
            watchdog = watchdog.or_else(|| watchdog_of(pid));
            if let (false, Some(watchdog)) = (held, watchdog)
                && watches(watchdog)
            {
                held = signal(watchdog, Signal::STOP);
            }
        })?;
        if let Some(watchdog) = watchdog {
            std::thread::sleep(head_start.unwrap_or_default());
            signal(watchdog, Signal::KILL);
            open = self.stage.ledger().map_or(open, |view| view.open().count());
        }
        Ok(Killed { over: self.ended_by_itself()?, open })
    }

    /// Waits until the engine is dead, by its own hand or ours. How many entries were open then.
    fn die(&mut self, moment: Moment, each_look: impl FnMut()) -> Result<usize> {
        if let Moment::Time(after) = moment {
            self.wait_until(each_look, Some(after))?;
            // The count is taken before: right after, the watchdog is quicker.
            let open = self.stage.ledger().map_or(0, |view| view.open().count());
            self.child.kill()?;
            self.child.wait()?;
            return Ok(open);
        }
        self.wait_until_dead(each_look)?;
        Ok(self.stage.ledger().map_or(0, |view| view.entries.iter().filter(|entry| !by_engine(entry)).count()))
    }

    fn wait_until_dead(&mut self, each_look: impl FnMut()) -> Result<()> {
        self.wait_until(each_look, None)
    }

    fn wait_until(&mut self, mut each_look: impl FnMut(), time: Option<Duration>) -> Result<()> {
        loop {
            each_look();
            let now = shell::now() - self.begin;
            if self.child.try_wait()?.is_some() || time.is_some_and(|time| now >= time.as_secs_f64()) {
                return Ok(());
            }
            if now > HANGS.as_secs_f64() {
                bail!("the run hangs");
            }
            std::thread::sleep(POLL);
        }
    }

    fn ended_by_itself(&mut self) -> Result<bool> {
        use std::os::unix::process::ExitStatusExt;
        Ok(self.child.wait()?.signal() != Some(Signal::KILL.as_raw()))
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn by_engine(entry: &squall_undo::EntryView) -> bool {
    entry.reverted.as_ref().is_some_and(|done| done.by == squall_model::RevertedBy::Engine)
}

/// The engine's watchdog: a child that runs the subcommand of that name.
fn watchdog_of(engine: u32) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{engine}/task")).ok()?;
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children: Vec<i32> =
        children.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    children
        .into_iter()
        .find(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.split(|b| *b == 0).any(|a| a == b"watchdog")))
}

/// Whether a watchdog has opened all that it waits on; from then on it needs to do nothing until something happens.
fn watches(watchdog: i32) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{watchdog}/fd")) else { return false };
    let timer = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).any(|to| to.to_string_lossy().contains("timerfd"));
    if timer {
        // It says that it is ready a few instructions later.
        std::thread::sleep(5 * POLL);
    }
    timer
}

fn signal(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}
