//! The watchdog itself: a process that does nothing but wait, and reverts when the engine is gone or late.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::pending;
use futures_util::stream::FuturesUnordered;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use squall_model::{InjectionId, RevertedBy};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::file::{LedgerError, LedgerFile, now_micros};
use crate::identity::boottime;
use crate::ledger::Undoer;
use crate::outstanding::{Outcome, revert_entries, revert_open};
use crate::record::{EntryView, LedgerView, Record};
use crate::state_dir::ledger_in;
use crate::watchdog::READY;

/// How late an entry may be before the watchdog reverts it though the engine lives. The engine's own revert begins at the
/// deadline.
const GRACE: Duration = Duration::from_secs(1);
/// The longest wait for an engine that is just reverting what is late.
const BUSY_ENGINE: Duration = Duration::from_secs(3);
/// The first and the longest wait between tries to revert what is late.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long an engine may take from the end of its pipe to its own.
const DYING: Duration = Duration::from_millis(100);
/// Rounds of reverting after the engine's end; `squall recover` can be run at any time after that.
const ROUNDS: usize = 8;

/// How the watch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEnd {
    /// The engine closed the ledger, or somebody else did.
    Closed,
    /// The engine was gone; what was open was reverted, with these outcomes of the last round.
    EngineGone(Vec<Outcome>),
    /// A signal asked for the end, and nothing was outstanding.
    Signal,
}

/// The watch could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A call that the waiting needs.
    #[error("the watchdog cannot {0}: {1}")]
    Io(&'static str, #[source] io::Error),
}

/// Body of `squall watchdog --run-dir DIR`. Says `ready` on standard output, then waits until the engine is gone (standard
/// input ends, or its process does), an entry is late, or the ledger is closed. Returns when there is nothing left to watch.
///
/// To be called in a process of its own: it leaves its session, ignores the signals that end others, and lowers its chance to
/// be killed when memory is short.
pub async fn watch(run_dir: &Path, undoer: &dyn Undoer) -> Result<WatchEnd, WatchError> {
    detach();
    let mut signals = Signals::new().map_err(|e| WatchError::Io("handle signals", e))?;
    let file = LedgerFile::open(ledger_in(run_dir))?;
    let mut engine = Engine::new(&file.read()?)?;
    let timer = BootTimer::new().map_err(|e| WatchError::Io("make a timer", e))?;
    let mut out = io::stdout();
    // Where nobody listens any more the engine is gone already, and there may be something to revert.
    let _ = out.write_all(READY).and_then(|()| out.flush());
    let mut late = Late::default();
    let mut reverting = FuturesUnordered::new();
    loop {
        let view = file.read()?;
        if view.closed.is_some() {
            return Ok(WatchEnd::Closed);
        }
        for injection in late.due(&view) {
            reverting.push(revert_late(&file, injection, undoer));
        }
        timer.set(late.next(&view)).map_err(|e| WatchError::Io("set its timer", e))?;
        tokio::select! {
            biased;
            sign = engine.next() => if sign == Sign::Gone {
                drop(reverting);
                engine.dead().await;
                return after_the_engine(&file, undoer).await;
            },
            () = timer.elapsed() => {}
            Some((injection, done)) = reverting.next() => late.tried(injection, done),
            () = signals.any() => if view.open().next().is_none() {
                return Ok(WatchEnd::Signal);
            },
        }
    }
}

/// Becomes a process that outlives its parent's terminal, session and working directory. None of it is needed to revert, so
/// none is an error.
fn detach() {
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    // Lowering needs CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)).
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
}

/// Reverts everything, round after round while something fails.
async fn after_the_engine(file: &LedgerFile, undoer: &dyn Undoer) -> Result<WatchEnd, WatchError> {
    let by = RevertedBy::Watchdog;
    let before = file.read()?;
    if before.closed.is_some() {
        return Ok(WatchEnd::Closed);
    }
    let mut outcomes = Vec::new();
    for _ in 0..ROUNDS {
        outcomes = revert_open(file, undoer, by).await?;
        if outcomes.iter().all(|outcome| outcome.result.is_ok()) {
            break;
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    let text = match (before.open().count(), failed) {
        (0, _) => "the run's process was gone; nothing was outstanding".to_owned(),
        (open, 0) => format!("the run's process was gone; reverted all {open} outstanding entries"),
        (open, failed) => {
            format!("the run's process was gone; {failed} of {open} outstanding entries could not be reverted; run `squall recover`")
        }
    };
    // Only people read it, and the entries say the same.
    let _ = file.append(&Record::Noted { by, text, at: now_micros() });
    Ok(WatchEnd::EngineGone(outcomes))
}

/// Reverts what an engine that lives has not reverted in time. Whether it is done.
async fn revert_late(file: &LedgerFile, injection: InjectionId, undoer: &dyn Undoer) -> (InjectionId, bool) {
    let _lock = file.lock(BUSY_ENGINE).await;
    let Ok(view) = file.read() else { return (injection, false) };
    let entries = view.open().filter(|entry| entry.armed.injection == injection && entry.is_outstanding());
    let entries = entries.map(|entry| entry.armed.clone()).collect();
    let outcomes = revert_entries(file, entries, undoer, RevertedBy::Watchdog, false).await;
    (injection, outcomes.iter().all(|outcome| outcome.result.is_ok()))
}

/// What is late, and when the next thing will be.
#[derive(Default)]
struct Late {
    /// Being reverted now.
    busy: BTreeSet<InjectionId>,
    /// Could not be reverted: when to try again, and the wait before that.
    again: BTreeMap<InjectionId, (Duration, Duration)>,
}

impl Late {
    /// When an entry is to be reverted though the engine lives.
    fn when(&self, entry: &EntryView) -> Option<Duration> {
        let injection = entry.armed.injection;
        let deadline = Duration::from_micros(entry.armed.deadline?);
        let waits = entry.is_outstanding() && !self.busy.contains(&injection);
        waits.then(|| self.again.get(&injection).map_or(deadline + GRACE, |(at, _)| *at))
    }

    /// Injections to be reverted now.
    fn due(&mut self, view: &LedgerView) -> BTreeSet<InjectionId> {
        let now = boottime();
        let due: BTreeSet<_> =
            view.open().filter(|entry| self.when(entry).is_some_and(|at| at <= now)).map(|entry| entry.armed.injection).collect();
        self.busy.extend(&due);
        due
    }

    /// When to look again.
    fn next(&self, view: &LedgerView) -> Option<Duration> {
        view.open().filter_map(|entry| self.when(entry)).min()
    }

    fn tried(&mut self, injection: InjectionId, done: bool) {
        self.busy.remove(&injection);
        if done {
            self.again.remove(&injection);
        } else {
            let wait = self.again.get(&injection).map_or(RETRY.0, |(_, wait)| (*wait * 2).min(RETRY.1));
            self.again.insert(injection, (boottime() + wait, wait));
        }
    }
}

/// What the engine lets be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Its process has ended, or its end of the pipe is closed.
    Gone,
    /// It wrote to the ledger.
    Poked,
}

/// The engine, as seen from outside: its end of the pipe, and its process.
struct Engine {
    pipe: pipe::Receiver,
    /// Tells of the process whoever else may hold the pipe's other end.
    process: Option<AsyncFd<OwnedFd>>,
    gone: bool,
}

impl Engine {
    fn new(view: &LedgerView) -> Result<Self, WatchError> {
        let failed = |error| WatchError::Io("watch its standard input", error);
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        let pipe = pipe::Receiver::from_owned_fd(stdin).map_err(failed)?;
        let identity = view.header.as_ref().map(|header| &header.engine);
        let opened = identity.and_then(|engine| Some((engine, pidfd_open(Pid::from_raw(engine.pid)?, PidfdFlags::NONBLOCK))));
        let (process, gone) = match opened {
            // Compared after opening: what was compared is what is open.
            Some((engine, Ok(descriptor))) => (readable(descriptor).ok(), matches!(engine.alive(), Ok(Some(false)))),
            // Already gone and waited for.
            Some((_, Err(Errno::SRCH))) => (None, true),
            // No header, or a kernel without pidfd_open: the pipe alone tells.
            Some((_, Err(_))) | None => (None, false),
        };
        Ok(Self { pipe, process, gone })
    }

    async fn next(&mut self) -> Sign {
        if self.gone {
            return Sign::Gone;
        }
        let Self { pipe, process, gone } = self;
        let ended = async {
            match process {
                // Readable when the process has ended (pidfd_open(2)).
                Some(process) => drop(process.readable().await),
                None => pending().await,
            }
        };
        let mut pokes = [0; 64];
        tokio::select! {
            biased;
            () = ended => *gone = true,
            read = pipe.read(&mut pokes) => *gone = !matches!(read, Ok(1..)),
        }
        if *gone { Sign::Gone } else { Sign::Poked }
    }
}

impl Engine {
    /// Waits until the process has ended, where only its end of the pipe is closed yet: the kernel closes files first, and
    /// kills the children that die with their parent last. What such a child still does would undo the revert.
    async fn dead(&mut self) {
        if let Some(process) = &self.process {
            // One that has closed its end and lives on has given up its run: that is as good.
            let _ = tokio::time::timeout(DYING, process.readable()).await;
        }
    }
}

/// A descriptor that is waited for.
#[expect(deprecated, reason = "what makes it unsound, a type that changes its descriptor, cannot happen with an owned descriptor")]
fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// A timer on `CLOCK_BOOTTIME`, which goes on while the machine is suspended.
struct BootTimer(AsyncFd<OwnedFd>);

impl BootTimer {
    fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(readable(timer)?))
    }

    /// Goes off at a time since boot; never, for `None`.
    fn set(&self, at: Option<Duration>) -> io::Result<()> {
        let seconds = at.map_or(0, |at| i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
        let it_value = Timespec { tv_sec: seconds, tv_nsec: at.map_or(0, |at| i64::from(at.subsec_nanos())) };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval, it_value })?;
        Ok(())
    }

    async fn elapsed(&self) {
        let read = self.0.async_io(Interest::READABLE, |timer| Ok(rustix::io::read(timer, &mut [0; 8])?)).await;
        if read.is_err() {
            // Cannot fail on an open timer; but a loop that spins would be worse than a timer that is gone.
            pending::<()>().await;
        }
    }
}

/// The signals that end other processes. A handler that only takes note of them keeps this one alive.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?]))
    }

    async fn any(&mut self) {
        let Self([terminate, interrupt, hangup]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
