//! The processes that are broken: real ones, with a token in their arguments by which they are found again after a relaunch.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::shell;

/// Nothing of the matrix lives longer than this, even if the matrix itself is killed.
const LIFETIME: Duration = Duration::from_mins(2);

/// Body of the hidden `cargo xtask victim TOKEN`.
pub fn live(_token: &str) {
    std::thread::sleep(LIFETIME);
}

/// The token of a role at a point; one argument, whole.
pub fn token(stage: &str, role: &str) -> String {
    format!("{stage}-victim-{role}")
}

/// Starts a victim.
fn start(token: &str) -> Result<Child> {
    let mut command = shell::command(std::env::current_exe()?);
    Ok(command.args(["victim", token]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// A victim that somebody else may relaunch. Every process with its token is killed at the end.
pub struct Victim {
    pub token: String,
    child: Child,
}

impl Victim {
    pub fn start(stage: &str, role: &str) -> Result<Self> {
        let token = token(stage, role);
        Ok(Self { child: start(&token)?, token })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        kill_all(&self.token);
        let _ = self.child.wait();
    }
}

/// A victim that is kept running, as systemd would.
pub struct Supervised {
    pub token: String,
    stop: Arc<AtomicBool>,
    starts: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Supervised {
    pub fn start(stage: &str, role: &str) -> Result<Self> {
        let token = token(stage, role);
        let (stop, starts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(1)));
        let mut child = start(&token)?;
        let (name, stopping, counter) = (token.clone(), stop.clone(), starts.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
                if !matches!(child.try_wait(), Ok(None)) {
                    // A host that cannot start a process now may be able to at the next look.
                    if let Ok(next) = start(&name) {
                        child = next;
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            let _ = child.kill();
            let _ = child.wait();
        });
        Ok(Self { token, stop, starts, thread: Some(thread) })
    }

    /// How often it was started.
    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        kill_all(&self.token);
    }
}

/// A process as `/proc` shows it.
pub struct Process {
    pub pid: i32,
    pub arguments: Vec<String>,
    /// `T` is stopped.
    pub state: char,
}

/// Every process that can be looked at and is not a zombie.
pub fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(pid: i32) -> Option<Process> {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = arguments.split(|byte| *byte == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    (!matches!(state, 'Z' | 'X')).then_some(Process { pid, arguments, state })
}

/// Kills every process with the token as one whole argument.
pub fn kill_all(token: &str) {
    // One that is being relaunched may come after the first look.
    for _ in 0..3 {
        for found in processes().iter().filter(|found| found.arguments.iter().any(|a| a == token)) {
            kill(found.pid, |now| now.arguments.iter().any(|a| a == token));
        }
    }
}

/// Kills a process if it is still the one that was meant.
pub fn kill(pid: i32, meant: impl Fn(&Process) -> bool) {
    let Some(Ok(descriptor)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { return };
    if process(pid).is_some_and(|now| meant(&now)) {
        // It may have ended meanwhile, which is as good.
        let _ = pidfd_send_signal(&descriptor, Signal::KILL);
    }
}
