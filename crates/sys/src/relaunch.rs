//! Knowing a process again, and starting it again as it was.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use procfs::process::{FDTarget, Process};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use squall_undo::{Armed, boottime};

use crate::attributes::Attributes;
use crate::detached::detached;
use crate::process::ProcessId;

/// The environment variable that tells which injection started a process again.
const MARK: &str = "SQUALL_RELAUNCHED";

/// By what a process is known again when somebody has started it anew: program, arguments and user. Bytes as the kernel has
/// them, for they need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Likeness {
    program: PathBuf,
    /// `/proc/PID/cmdline` as it is.
    arguments: Vec<u8>,
    uid: u32,
}

impl Likeness {
    /// Of a process that runs.
    pub fn of(id: ProcessId) -> io::Result<Self> {
        let mut likeness = Self::read(id.pid)?;
        let until = boottime() + STARTING;
        // Within `execve` it is another program a moment before its arguments are in place.
        while likeness.arguments.is_empty() && boottime() < until {
            std::thread::sleep(Duration::from_millis(1));
            likeness = Self::read(id.pid)?;
        }
        still(id)?;
        Ok(likeness)
    }

    fn read(pid: u32) -> io::Result<Self> {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline"))?;
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}"))?);
        Ok(Self { program: program_of(pid)?, arguments, uid })
    }

    /// The program, for people.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The processes that are like it and run.
    pub fn running(&self) -> io::Result<Vec<ProcessId>> {
        let like = |pid| program_of(pid).is_ok_and(|program| program == self.program) && Self::read(pid).is_ok_and(|other| other == *self);
        Ok(pids()?.filter(|pid| like(*pid)).filter_map(ProcessId::of).collect())
    }

    /// Those of them that somebody else than Squall has started.
    pub fn started_by_others(&self) -> io::Result<Vec<ProcessId>> {
        let mut running = self.running()?;
        running.retain(|id| own_mark(id.pid).is_none());
        Ok(running)
    }
}

/// All that is needed to start a process again. What only the process itself knew is lost: open files, sockets, memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    likeness: Likeness,
    environment: Vec<(Vec<u8>, Vec<u8>)>,
    directory: PathBuf,
    output: Option<PathBuf>,
    errors: Option<PathBuf>,
    attributes: Attributes,
}

impl Snapshot {
    /// Of a process that runs. An error if it could not be started again in the same way.
    pub fn take(id: ProcessId) -> io::Result<Self> {
        let failed = |e: procfs::ProcError| io::Error::other(e.to_string());
        let likeness = Likeness::of(id)?;
        let process = Process::new(i32::try_from(id.pid).unwrap_or_default()).map_err(failed)?;
        let snapshot = Self {
            environment: process.environ().map_err(failed)?.into_iter().map(|(k, v)| (k.into_vec(), v.into_vec())).collect(),
            directory: process.cwd().map_err(failed)?,
            output: file(&process, 1),
            errors: file(&process, 2),
            attributes: Attributes::of(&process)?,
            likeness,
        };
        check_relaunchable(id.pid, &snapshot.likeness)?;
        still(id)?;
        Ok(snapshot)
    }

    /// By what it is known again.
    pub fn likeness(&self) -> &Likeness {
        &self.likeness
    }

    /// Starts it again, unless that injection has done so already and it still runs. The process is nobody's child here: its
    /// own session, with process 1 (or the nearest reaper) as its parent. None if it ended at once. Blocks
    /// for some milliseconds.
    pub fn relaunch(&self, armed: &Armed, marker: &str) -> io::Result<Option<ProcessId>> {
        let _ = armed;
        let _only = only_one(marker)?;
        if let Some(running) = self.relaunched(marker)? {
            return Ok(Some(running));
        }
        #[expect(clippy::disallowed_methods, reason = "this module exists to start a process again")]
        let mut command = Command::new(&self.likeness.program);
        let words = self.likeness.arguments.strip_suffix(b"\0").unwrap_or(&self.likeness.arguments).split(|byte| *byte == 0);
        let words: Vec<&OsStr> = words.map(OsStr::from_bytes).collect();
        if let Some((first, rest)) = words.split_first() {
            command.arg0(first).args(rest);
        }
        command.env_clear();
        command.envs(self.environment.iter().map(|(k, v)| (OsString::from_vec(k.clone()), OsString::from_vec(v.clone()))));
        command.env(MARK, marker).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(sink(self.output.as_deref())).stderr(sink(self.errors.as_deref()));
        let pid = detached(&mut command, self.attributes.prepare())?;
        Ok(ProcessId::of(pid))
    }

    /// The process that the injection with this marker has started again, while it runs.
    pub fn relaunched(&self, marker: &str) -> io::Result<Option<ProcessId>> {
        let same_program = pids()?.filter(|pid| program_of(*pid).is_ok_and(|program| program == self.likeness.program));
        let marked = same_program.filter(|pid| own_mark(*pid).is_some_and(|mark| mark == marker.as_bytes()));
        let found = marked.filter_map(ProcessId::of).filter(|id| !id.awaits(Signal::KILL));
        Ok(found.min_by_key(|id| (id.start_ticks, id.pid)))
    }
}

/// The marker in a process's environment.
fn mark(pid: u32) -> Option<Vec<u8>> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|variable| Some(variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?.to_vec()))
}

/// The marker, unless the process has it from its parent, as whatever a process starts has its environment.
fn own_mark(pid: u32) -> Option<Vec<u8>> {
    let mark_of = mark(pid)?;
    let parent = Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?.ppid;
    let inherited = u32::try_from(parent).ok().and_then(mark);
    (inherited.as_ref() != Some(&mark_of)).then_some(mark_of)
}

fn still(id: ProcessId) -> io::Result<()> {
    if id.state().is_some() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::NotFound, "it has ended")) }
}

fn pids() -> io::Result<impl Iterator<Item = u32>> {
    Ok(std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// Where its program is, or was: an upgrade may have put another file in its place.
fn program_of(pid: u32) -> io::Result<PathBuf> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    let bytes = path.as_os_str().as_bytes();
    Ok(bytes.strip_suffix(b" (deleted)").map_or(path.clone(), |there| PathBuf::from(OsStr::from_bytes(there))))
}

/// A standard stream that is a file which can be written on.
fn file(process: &Process, number: i32) -> Option<PathBuf> {
    match process.fd_from_fd(number).ok()?.target {
        FDTarget::Path(path) if path.is_file() => Some(path),
        _ => None,
    }
}

fn sink(path: Option<&Path>) -> Stdio {
    path.and_then(|p| OpenOptions::new().append(true).open(p).ok()).map_or_else(Stdio::null, Stdio::from)
}

/// Refuses what would come back as something else.
fn check_relaunchable(pid: u32, likeness: &Likeness) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::Unsupported, why));
    let exe = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    if exe != likeness.program || !exe.is_file() {
        return refuse(format!("its program {} is no longer there to be started again", likeness.program.display()));
    }
    let root = std::fs::read_link(format!("/proc/{pid}/root"))?;
    if root != std::fs::read_link("/proc/self/root")? {
        return refuse(format!("it runs in another root directory, {}", root.display()));
    }
    for kind in ["mnt", "pid", "net", "ipc", "uts", "user"] {
        let namespace = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}"));
        if namespace(&pid.to_string())? != namespace("self")? {
            return refuse(format!("it runs in another {kind} namespace, in a container say, where Squall cannot start it"));
        }
    }
    if likeness.arguments.is_empty() {
        return refuse("it shows no arguments, so they are not known".to_owned());
    }
    if rewritten(&likeness.arguments) {
        return refuse("it has written a title over its arguments, so they are not known".to_owned());
    }
    Ok(())
}

/// Whether a process shows a title (as `setproctitle(3bsd)` makes it) and not its arguments: the kernel then shows no zero at
/// the end, or the title is padded with zeros.
fn rewritten(arguments: &[u8]) -> bool {
    let end = arguments.iter().position(|b| *b == 0).unwrap_or(arguments.len());
    // Two may be an empty argument.
    let padded = arguments.len() > end + 2 && arguments[end..].iter().all(|b| *b == 0);
    !arguments.ends_with(b"\0") || padded
}

/// How long a process that has just been started may take to show its arguments.
const STARTING: Duration = Duration::from_millis(50);
/// How long another process may take to start one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes sure that engine, watchdog and `squall recover` do not start the same process twice: the name of an abstract socket
/// (`unix(7)`) belongs to one, leaves no file, and is free when its holder dies. A process that is being started holds it too,
/// until it is what it will be and can be found.
fn only_one(marker: &str) -> io::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(format!("relaunch-{marker}"))?;
    let until = boottime() + PATIENCE;
    loop {
        match UnixListener::bind_addr(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && boottime() < until => std::thread::sleep(Duration::from_millis(2)),
            bound => return bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_not_taken_for_arguments() {
        assert!(!rewritten(b"sleep\x0060\0"));
        assert!(!rewritten(b"sh\0-c\0\0"), "an empty last argument");
        assert!(rewritten(b"nginx: master process nginx\0\0\0\0"));
        assert!(rewritten(b"sshd: someone"));
    }
}
