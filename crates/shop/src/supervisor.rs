//! Keeps one service running: a thread that starts it, waits for its end, and starts it again.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Time between the end of a service and its next start.
const PAUSE: Duration = Duration::from_millis(200);

/// How to start a service.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where its standard error goes.
    pub log: PathBuf,
}

/// A service that is kept running until this is dropped.
#[derive(Debug)]
pub struct Supervised {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    /// The process that runs now, by number and by a descriptor that cannot come to mean another one.
    running: Option<(u32, OwnedFd)>,
    starts: u32,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervised {
    /// Starts the service. The receiver gets one answer: that it listens, or why it could not be started.
    ///
    /// The service asks to be killed when the thread that started it ends, so each has a thread for all its life.
    pub fn start(name: &str, recipe: Recipe) -> io::Result<(Self, Receiver<io::Result<()>>)> {
        let shared = Arc::new(Shared::default());
        let (ready, answer) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("keeps-{name}")).spawn({
            let shared = shared.clone();
            move || keep(&shared, &recipe, &ready)
        })?;
        Ok((Self { shared, thread: Some(thread) }, answer))
    }

    /// The process that runs now.
    pub fn pid(&self) -> Option<u32> {
        self.shared.lock().running.as_ref().map(|(pid, _)| *pid)
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u32 {
        self.shared.lock().starts.saturating_sub(1)
    }

    /// Kills the service for good, without waiting.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        if let Some((_, process)) = &state.running {
            // The only error is that it is gone already.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(shared: &Shared, recipe: &Recipe, ready: &Sender<io::Result<()>>) {
    loop {
        let mut state = shared.lock();
        if state.stopping {
            return;
        }
        // Started under the lock, so that a stop either comes before or sees the process.
        let mut child = match spawn(recipe) {
            Ok((child, process)) => {
                state.running = Some((child.id(), process));
                state.starts += 1;
                child
            }
            Err(error) if state.starts == 0 => {
                let _ = ready.send(Err(error));
                return;
            }
            // It ran before: a machine that is out of memory or processes for now is no reason to give it up.
            Err(_) => {
                pause(shared, state);
                continue;
            }
        };
        drop(state);
        // Nobody asks after the first start; then the channel is closed.
        let _ = ready.send(wait_until_listening(&mut child, recipe));
        let _ = child.wait();
        let mut state = shared.lock();
        state.running = None;
        pause(shared, state);
    }
}

/// Waits before the next start, or until there will be none.
fn pause(shared: &Shared, state: MutexGuard<'_, State>) {
    let paused = shared.changed.wait_timeout_while(state, PAUSE, |state| !state.stopping);
    drop(paused.unwrap_or_else(PoisonError::into_inner));
}

#[expect(clippy::disallowed_methods, reason = "a supervisor exists to start processes")]
fn spawn(recipe: &Recipe) -> io::Result<(Child, OwnedFd)> {
    use std::os::unix::process::CommandExt;

    let log = File::options().create(true).append(true).open(&recipe.log)?;
    let mut child = Command::new(&recipe.program)
        .args(&recipe.args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C in the terminal is for the starter alone, which then stops the services in order.
        .process_group(0)
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    match pid.ok_or(rustix::io::Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        Ok(process) => Ok((child, process)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error.into())
        }
    }
}

/// Reads the line that a service prints once it listens.
fn wait_until_listening(child: &mut Child, recipe: &Recipe) -> io::Result<()> {
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.starts_with("listening") {
        return Ok(());
    }
    let log = std::fs::read_to_string(&recipe.log).unwrap_or_default();
    Err(io::Error::other(log.lines().last().unwrap_or("it ended before it listened").to_owned()))
}
