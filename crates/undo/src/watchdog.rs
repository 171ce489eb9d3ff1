//! The engine's side of the watchdog: start it, poke it, learn that it died.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

/// What the watchdog says when it watches.
pub(crate) const READY: &[u8] = b"ready\n";
/// The longest wait for that: a starting process on a host that is already under heavy load.
const READY_PATIENCE: Duration = Duration::from_secs(10);
/// The longest wait for the watchdog's end once the ledger is closed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The watchdog could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// No process.
    #[error("the watchdog cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It ended instead of saying that it is ready.
    #[error("the watchdog ended at once ({0}); run `squall watchdog --run-dir DIR` by hand to see why")]
    Ended(String),
    /// It says nothing.
    #[error("the watchdog is not ready after {} s", READY_PATIENCE.as_secs())]
    Silent,
}

/// Tells the watchdog to look at the ledger again.
#[derive(Debug, Clone)]
pub struct Poker(Arc<OwnedFd>);

impl Poker {
    /// Never waits. A full pipe means that the watchdog has a poke to come anyway; a broken one is seen by [`Watchdog::lost`].
    pub fn poke(&self) {
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&*self.0, b"p"));
    }
}

/// A watchdog process, watching one run.
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
    stdout: ChildStdout,
    // The only end of the pipe that says that the engine is alive; nothing but this process holds it (close-on-exec).
    poker: Poker,
}

impl Watchdog {
    /// Starts `program args…`, which has to call [`crate::watch`] for the same run directory. Does not wait for it.
    #[expect(clippy::disallowed_methods, reason = "the watchdog is one of the processes that Squall exists to start")]
    pub fn start<S: AsRef<std::ffi::OsStr>>(program: &Path, args: impl IntoIterator<Item = S>) -> Result<Self, WatchdogError> {
        let mut command = Command::new(program);
        // Nothing of the terminal or of a pipe that somebody waits for the end of.
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(false);
        let mut child = command.spawn().map_err(WatchdogError::Start)?;
        let missing = || WatchdogError::Start(io::ErrorKind::BrokenPipe.into());
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stdin = child.stdin.take().ok_or_else(missing)?.into_owned_fd().map_err(WatchdogError::Start)?;
        let flags = fcntl_getfl(&stdin).map_err(|e| WatchdogError::Start(e.into()))?;
        fcntl_setfl(&stdin, flags | OFlags::NONBLOCK).map_err(|e| WatchdogError::Start(e.into()))?;
        Ok(Self { child, stdout, poker: Poker(Arc::new(stdin)) })
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// For [`crate::Ledger::attach`].
    pub fn poker(&self) -> Poker {
        self.poker.clone()
    }

    /// Returns when it watches. Nothing may be armed before.
    pub async fn ready(&mut self) -> Result<(), WatchdogError> {
        let mut said = [0; READY.len()];
        let heard = tokio::time::timeout(READY_PATIENCE, self.stdout.read_exact(&mut said)).await;
        match heard {
            Ok(Ok(_)) if said == READY => Ok(()),
            Ok(_) => Err(WatchdogError::Ended(self.child.wait().await.map_or_else(|e| e.to_string(), |status| status.to_string()))),
            Err(_) => Err(WatchdogError::Silent),
        }
    }

    /// Makes it look at the ledger again.
    pub fn poke(&self) {
        self.poker.poke();
    }

    /// Returns when it has ended, and how. May be dropped and called again.
    pub async fn lost(&mut self) -> String {
        self.child.wait().await.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string())
    }

    /// Returns when it has ended after the ledger was closed: true. False if it goes on, because it still reverts something
    /// or hangs; it ends by itself then.
    pub async fn stop(mut self) -> bool {
        self.poke();
        matches!(tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await, Ok(Ok(_)))
    }
}
