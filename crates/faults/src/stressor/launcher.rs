//! The parent's side of a stressor: start it, move it, wait until its load is in force, look at it, end it.

use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_engine::{Cx, InjectError, RevertError, Reverted};
use squall_sys::cgroup::Group;
use squall_sys::stressor;
use squall_undo::Armed;

use super::{Job, Order};

/// How long a stressor may take until its load is in force. Filling memory takes most: some gigabytes a second.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// The undo of every fault that a stressor carries: its marker finds it. The rest is for whoever verifies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Carried {
    /// On the stressor's command line.
    pub marker: String,
    /// What it does.
    pub job: Job,
    /// The control groups that it was put into, by directory.
    pub groups: Vec<PathBuf>,
}

/// Which program runs as the stressor: `program stressor --marker …`.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
}

impl Default for Launcher {
    /// The running binary itself, through `/proc/self/exe`: an upgrade or removal of its file does no harm.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe") }
    }
}

impl Launcher {
    /// Another program that understands the same arguments: for tests, whose own binary does not.
    pub fn of_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Arms the undo, starts the stressor, moves it into the groups, and waits until its load is in force.
    pub(crate) async fn carry(&self, cx: &Cx<'_, Carried>, job: Job, groups: Vec<Group>) -> Result<(), InjectError> {
        let deadline = deadline_of(cx)?;
        let directories = groups.iter().map(|group| group.directory.clone()).collect();
        let armed = cx.arm(&Carried { marker: cx.marker.to_owned(), job: job.clone(), groups: directories })?;
        self.start(armed, cx.marker, deadline, &job, groups).await
    }

    /// What [`Launcher::carry`] does once its undo is armed.
    pub(crate) async fn start(
        &self,
        armed: Armed,
        marker: &str,
        deadline: Duration,
        job: &Job,
        groups: Vec<Group>,
    ) -> Result<(), InjectError> {
        let args = Order::args(std::process::id(), deadline, job).map_err(InjectError::Failed)?;
        let (program, marker) = (self.program.clone(), marker.to_owned());
        let launched = blocking(move || launch(&armed, &program, &marker, &args, &groups)).await.map_err(InjectError::Failed)?;
        launched.map_err(InjectError::Failed)
    }
}

/// When a child has to end by itself.
pub(crate) fn deadline_of<U: Serialize>(cx: &Cx<'_, U>) -> Result<Duration, InjectError> {
    cx.deadline.ok_or_else(|| InjectError::Failed("it needs a `for`: what carries it ends by itself then".into()))
}

fn launch(armed: &Armed, program: &std::path::Path, marker: &str, args: &[std::ffi::OsString], groups: &[Group]) -> Result<(), String> {
    let started = stressor::start(armed, program, marker, args).map_err(|e| format!("the stressor cannot be started: {e}"))?;
    for group in groups {
        group.join(armed, started.pid).map_err(|e| join_error(group, &e))?;
    }
    // One that has ended already says why in its lines, better than a broken pipe does.
    let _ = stressor::go(armed, marker);
    match started.lines.recv_timeout(READY_WITHIN) {
        Ok(line) if line == "ready" => Ok(()),
        Ok(line) => match line.strip_prefix("error: ") {
            Some(error) => Err(error.to_owned()),
            None => Err(format!("the stressor {line} before its load was in force (out of memory, or at the end of its time?)")),
        },
        Err(RecvTimeoutError::Timeout) => Err(format!("the stressor was not ready within {} s", READY_WITHIN.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("the stressor is gone".into()),
    }
}

/// Why a stressor could not be put into a target's group.
fn join_error(group: &Group, error: &std::io::Error) -> String {
    let hint = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "; run as root, or use `target: { host: {} }`",
        std::io::ErrorKind::NotFound => "; the target has ended",
        _ => "",
    };
    format!("the stressor cannot join the target's control group {}: {error}{hint}", group.directory.display())
}

/// Runs what waits for the kernel away from the runtime's own threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())
}

/// Ends the stressor, wherever it was started from. `load` says in a word what goes with it.
pub(crate) async fn reverted(undo: &Carried, armed: &Armed, load: &'static str) -> Result<Reverted, RevertError> {
    let killed = killed(&undo.marker, armed).await.map_err(|error| RevertError(format!("stressor {}: {error}", undo.marker)))?;
    let how = match killed.as_slice() {
        [] => format!("no stressor {} is left, nothing to do", undo.marker),
        pids => format!("killed stressor {} and its {load} with it", pids.join(", ")),
    };
    Ok(Reverted { how })
}

/// Kills whatever has that marker, and waits until it is gone. Gives the process ids.
pub(crate) async fn killed(marker: &str, armed: &Armed) -> Result<Vec<String>, String> {
    let mut killed = Vec::new();
    // Again, in case one was being started meanwhile.
    loop {
        let dying = stressor::kill(armed, marker).map_err(|e| e.to_string())?;
        if dying.is_empty() {
            return Ok(killed);
        }
        killed.extend(dying.iter().map(|d| d.pid.to_string()));
        blocking(move || dying.iter().try_for_each(stressor::Dying::wait)).await?.map_err(|e| e.to_string())?;
    }
}
