//! Real processes to break, found by a program of their own.

use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use crate::waiting::eventually;

/// Nothing of a test lives longer than this unless it says so, even if the test itself is killed.
const SECONDS: &str = "120";

/// A process of a program that nobody else runs: a copy of `sleep` or of the shell under a name of its own, so that no
/// selector matches anything else. Every process of that program is killed when this is dropped, whoever has started it.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    twins: std::sync::Mutex<Vec<Child>>,
    program: PathBuf,
    directory: TempDir,
}

impl Victim {
    /// One that does nothing, and has no handler for any signal.
    pub fn sleeper() -> Self {
        let (directory, program) = own_program("sleep");
        Self::of(start(&program, &[SECONDS]), program, directory)
    }

    /// The same for a test that takes longer: it ends by itself after so many seconds.
    pub fn sleeper_for(seconds: u32) -> Self {
        let (directory, program) = own_program("sleep");
        Self::of(start(&program, &[&seconds.to_string()]), program, directory)
    }

    /// A shell that runs a script. `"$0"` in it is a program of its own that sleeps for `"$1"` seconds, `"$2"` the directory
    /// of both.
    pub fn script(script: &str) -> Self {
        let (directory, program) = own_program("sh");
        let sleep = directory.path().join(format!("{}s", name_of(&program)));
        copy("sleep", &sleep);
        let place = directory.path().to_string_lossy().into_owned();
        Self::of(start(&program, &["-c", script, &sleep.to_string_lossy(), SECONDS, &place]), program, directory)
    }

    /// A sleeper that holds a descriptor: a socket that listens, say.
    pub fn holding(descriptor: OwnedFd) -> Self {
        let (directory, program) = own_program("sleep");
        Self::of(start_with(&program, &[SECONDS], Stdio::from(descriptor)), program, directory)
    }

    fn of(child: Child, program: PathBuf, directory: TempDir) -> Self {
        Self { child, twins: std::sync::Mutex::default(), program, directory }
    }

    /// Starts another sleeper of the same program and arguments, and gives its number.
    pub fn twin(&self) -> u32 {
        let child = start(&self.program, &[SECONDS]);
        let pid = child.id();
        self.twins.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(child);
        pid
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The name of its program, up to 15 bytes: `comm` is the same.
    pub fn name(&self) -> &str {
        name_of(&self.program)
    }

    /// Where its program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A directory that is gone with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The processes of its program that run, whoever has started them, in order of their numbers.
    pub fn running(&self) -> Vec<u32> {
        running(&self.program)
    }

    /// Every process of its directory's programs: its own and the sleepers that a script starts.
    pub fn family(&self) -> Vec<u32> {
        running_in(self.directory.path())
    }

    /// The letter of its state (`proc_pid_stat(5)`); none when it has ended.
    pub fn state(&self) -> Option<char> {
        state(self.pid())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        kill_all_in(self.directory.path());
        // It may have become another program.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for twin in self.twins.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) {
            let _ = twin.wait();
        }
    }
}

/// A directory with a copy of a program under a name that no other process has.
pub(crate) fn own_program(of: &str) -> (TempDir, PathBuf) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let directory = tempfile::Builder::new().prefix("squall-victim-").tempdir().expect("a directory");
    // A victim may be another user.
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("made readable");
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // The kernel shows 15 bytes of a name, and `s` may come behind it.
    let path = directory.path().join(format!("v{:x}-{number:x}", std::process::id()));
    copy(of, &path);
    (directory, path)
}

fn copy(of: &str, to: &Path) {
    let from = ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(of)).find(|path| path.exists());
    std::fs::copy(from.expect("a system with coreutils and a shell"), to).expect("copied");
    std::fs::set_permissions(to, Permissions::from_mode(0o755)).expect("made executable");
}

pub(crate) fn start(program: &Path, args: &[&str]) -> Child {
    start_with(program, args, Stdio::null())
}

fn start_with(program: &Path, args: &[&str], stdin: Stdio) -> Child {
    #[expect(clippy::disallowed_methods, reason = "tests start what they break")]
    let mut command = Command::new(program);
    command.args(args).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    loop {
        match command.spawn() {
            // Another test forked while the copy was being written: its child has the file open for writing until it is
            // something else, in a moment.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            spawned => {
                let child = spawned.expect("started");
                // It is another program a moment before its arguments are in place.
                eventually("it has its arguments", || {
                    state(child.id()).is_none() || std::fs::read(format!("/proc/{}/cmdline", child.id())).is_ok_and(|line| !line.is_empty())
                });
                return child;
            }
        }
    }
}

/// How long a victim lives by itself.
pub(crate) const fn lifetime() -> &'static str {
    SECONDS
}

fn name_of(program: &Path) -> &str {
    program.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The processes of a program, without zombies.
pub(crate) fn running(program: &Path) -> Vec<u32> {
    found(|exe| exe == program)
}

/// The processes of all programs in a directory.
pub(crate) fn running_in(directory: &Path) -> Vec<u32> {
    found(|exe| exe.starts_with(directory))
}

fn found(is: impl Fn(&Path) -> bool) -> Vec<u32> {
    let mut pids: Vec<u32> =
        std::fs::read_dir("/proc").expect("proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.retain(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| is(&exe)) && state(*pid).is_some());
    pids.sort_unstable();
    pids
}

/// The letter of a process's state; none when it is gone or a zombie.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    (!matches!(state, 'Z' | 'X')).then_some(state)
}

pub(crate) fn kill_all_in(directory: &Path) {
    // One that is being started in place of another may come after the first look.
    for _ in 0..5 {
        for pid in running_in(directory) {
            let Some(Ok(descriptor)) = i32::try_from(pid).ok().and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::empty()))
            else {
                continue;
            };
            // Looked at again with the descriptor open: the number may be another's by now.
            if running_in(directory).contains(&pid) {
                let _ = pidfd_send_signal(&descriptor, Signal::KILL);
            }
        }
    }
}
