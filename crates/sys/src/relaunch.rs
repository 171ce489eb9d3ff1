//! Starting a process again, as it was.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use procfs::process::{FDTarget, Process};
use serde::{Deserialize, Serialize};
use squall_undo::Armed;

use crate::process::{ProcessFacts, ProcessId};

/// The environment variable that tells which injection started a process again.
const MARK: &str = "SQUALL_RELAUNCHED";

/// All that is needed to start a process again: bytes as the kernel has them, for they need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// The program.
    pub program: PathBuf,
    arguments: Vec<Vec<u8>>,
    environment: Vec<(Vec<u8>, Vec<u8>)>,
    directory: PathBuf,
    uid: u32,
    gid: u32,
    output: Option<PathBuf>,
    errors: Option<PathBuf>,
}

impl Snapshot {
    /// Of a process that runs.
    pub fn take(id: ProcessId) -> io::Result<Self> {
        let failed = |e: procfs::ProcError| io::Error::other(e.to_string());
        let process = Process::new(i32::try_from(id.pid).unwrap_or_default()).map_err(failed)?;
        let bytes = std::fs::read(format!("/proc/{}/cmdline", id.pid))?;
        let arguments = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|b| *b == 0).map(<[u8]>::to_vec).collect();
        let environment = process.environ().map_err(failed)?;
        let status = process.status().map_err(failed)?;
        let program = process.exe().map_err(failed)?;
        let text = program.to_string_lossy();
        if text.ends_with(" (deleted)") {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("its program {text} is no longer there to be started again")));
        }
        let file = |fd: i32| match process.fd_from_fd(fd).ok()?.target {
            FDTarget::Path(path) if path.is_file() => Some(path),
            _ => None,
        };
        let snapshot = Self {
            arguments,
            environment: environment.into_iter().map(|(k, v)| (k.into_vec(), v.into_vec())).collect(),
            directory: process.cwd().map_err(failed)?,
            uid: status.euid,
            gid: status.egid,
            output: file(1),
            errors: file(2),
            program,
        };
        if id.state().is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
        }
        Ok(snapshot)
    }

    /// Whether a process is of the same program, arguments and user.
    pub fn same(&self, other: &ProcessFacts) -> bool {
        other.program.as_ref() == Some(&self.program)
            && other.uid == self.uid
            && other.arguments.iter().map(String::as_bytes).eq(self.arguments.iter().map(Vec::as_slice))
    }

    /// Starts it again, unless that injection has done so already and it still runs. The process is nobody's child here: its
    /// own session, with process 1 (or the nearest reaper) as its parent.
    pub fn relaunch(&self, armed: &Armed, marker: &str) -> io::Result<ProcessId> {
        let _ = armed;
        if let Some(running) = find_relaunched(marker)? {
            return Ok(running);
        }
        #[expect(clippy::disallowed_methods, reason = "this module exists to start a process again")]
        let mut command = Command::new(&self.program);
        let words: Vec<&OsStr> = self.arguments.iter().map(|a| OsStr::from_bytes(a)).collect();
        if let Some((first, rest)) = words.split_first() {
            command.arg0(first).args(rest);
        }
        command.env_clear();
        command.envs(self.environment.iter().map(|(k, v)| (OsString::from_vec(k.clone()), OsString::from_vec(v.clone()))));
        command.env(MARK, marker).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(sink(self.output.as_deref())).stderr(sink(self.errors.as_deref()));
        if rustix::process::geteuid().is_root() && self.uid != 0 {
            command.gid(self.gid).uid(self.uid);
        }
        let pid = detached(&mut command)?;
        let facts = ProcessFacts::of(pid).ok_or_else(|| io::Error::other(format!("{} ended at once", self.program.display())))?;
        Ok(facts.id)
    }
}

/// The process that an injection started again and that still runs.
pub fn find_relaunched(marker: &str) -> io::Result<Option<ProcessId>> {
    let wanted = format!("{MARK}={marker}");
    for process in ProcessFacts::all()? {
        let environment = std::fs::read(format!("/proc/{}/environ", process.id.pid)).unwrap_or_default();
        if environment.split(|b| *b == 0).any(|variable| variable == wanted.as_bytes()) {
            return Ok(Some(process.id));
        }
    }
    Ok(None)
}

fn sink(path: Option<&Path>) -> Stdio {
    path.and_then(|p| OpenOptions::new().append(true).open(p).ok()).map_or_else(Stdio::null, Stdio::from)
}

/// Starts a command as a grandchild whose parent is gone at once, and gives its number.
fn detached(command: &mut Command) -> io::Result<u32> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let raw = write.as_raw_fd();
    // SAFETY: between fork and exec only setsid, fork, getpid, write and _exit are called, all async-signal-safe
    // (signal-safety(7)); nothing is allocated, and `raw` stays open as `write` outlives the spawn.
    // Safe code cannot do it: a second fork before exec is the only way to a process that is not our child, and `Command`
    // offers no other place for it.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::fork() {
                -1 => Err(io::Error::last_os_error()),
                0 => {
                    let pid = libc::getpid().to_ne_bytes();
                    if libc::write(raw, pid.as_ptr().cast(), pid.len()) == 4 { Ok(()) } else { Err(io::Error::last_os_error()) }
                }
                _ => libc::_exit(0),
            }
        });
    }
    let spawned = command.spawn();
    drop(write);
    let mut between = spawned?;
    between.wait()?;
    let mut pid = [0; 4];
    File::from(read).read_exact(&mut pid)?;
    Ok(u32::from_ne_bytes(pid))
}

/// Makes a command's process die with the thread that starts it: for what must never outlive Squall.
pub fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl and getppid are called, both async-signal-safe; nothing is allocated.
    // Safe code cannot do it: the setting belongs to the new process and has to be made inside it, before exec.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // The parent may have died before the setting was made.
            let now = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get());
            if u32::try_from(now).ok() == Some(parent) { Ok(()) } else { Err(io::Error::other("the parent is gone")) }
        });
    }
}
