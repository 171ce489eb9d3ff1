//! Starting, finding and ending stressors: children that carry a load, so that the load ends with them.
//!
//! A stressor is found by its marker, an argument on its own command line, so a fresh process can find it with nothing but
//! the ledger's undo. It is killed through a pidfd that was opened before the command line was read again: a number that was
//! reused in between cannot be hit.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use squall_undo::Armed;

/// How long a killed stressor may take to be gone. The kernel gives back some gigabytes a second.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// A stressor that this process has started.
#[derive(Debug)]
pub struct Started {
    /// Its process id.
    pub pid: u32,
    /// Each line of its standard output; `ended: …` is the last.
    pub lines: Receiver<String>,
}

/// The stressors of this process, by marker.
#[derive(Debug)]
struct Live {
    children: HashMap<String, Stage>,
    /// Markers that were killed: a start that comes late, from an injection that was given up, must not happen.
    reverted: HashSet<String>,
}

/// How far a child is.
#[derive(Debug)]
enum Stage {
    /// Its thread is about to start it.
    Starting,
    /// It is there; the end of the pipe tells it that this process is gone.
    Running { pid: u32, stdin: Option<ChildStdin> },
}

static LIVE: Mutex<Option<Live>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// Works on the table. It is whole between any two of its calls, whoever panicked.
fn with_live<T>(work: impl FnOnce(&mut Live) -> T) -> T {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let done = work(live.get_or_insert_with(|| Live { children: HashMap::new(), reverted: HashSet::new() }));
    CHANGED.notify_all();
    done
}

/// Waits until the table satisfies something; false if it does not for too long.
fn wait_until(within: Duration, satisfied: impl Fn(&Live) -> bool) -> bool {
    let live: MutexGuard<'_, Option<Live>> = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let pending = |live: &mut Option<Live>| live.as_ref().is_some_and(|live| !satisfied(live));
    let (_live, waited) = CHANGED.wait_timeout_while(live, within, pending).unwrap_or_else(PoisonError::into_inner);
    !waited.timed_out()
}

/// Starts a stressor: `program stressor --marker <marker> <args>`.
///
/// `PR_SET_PDEATHSIG`, which the child asks for, fires when the *thread* that started it ends. So one thread starts it, waits
/// for it and reaps it: that thread ends with the child or with the whole process.
pub fn start(armed: &Armed, program: &Path, marker: &str, args: &[OsString]) -> io::Result<Started> {
    let _ = armed;
    with_live(|live| {
        if live.reverted.contains(marker) {
            return Err(io::Error::other("it was reverted before it was started"));
        }
        if live.children.contains_key(marker) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is already there"));
        }
        live.children.insert(marker.to_owned(), Stage::Starting);
        Ok(())
    })?;
    let started = spawn(program, marker, args);
    if started.is_err() {
        with_live(|live| live.children.remove(marker));
    }
    started
}

fn spawn(program: &Path, marker: &str, args: &[OsString]) -> io::Result<Started> {
    #[expect(clippy::disallowed_methods, reason = "this module exists to start the stressor")]
    let mut command = Command::new(program);
    command.arg0("squall").arg("stressor").arg("--marker").arg(marker).args(args);
    // No terminal, no directory and no secrets of ours to hold on to.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/").env_clear();
    let (told, started) = channel();
    let (say, lines) = channel();
    let marker = marker.to_owned();
    std::thread::Builder::new().name("stressor".into()).stack_size(128 * 1024).spawn(move || match command.spawn() {
        Ok(child) => attend(child, &marker, &told, &say),
        Err(error) => drop(told.send(Err(error))),
    })?;
    let pid = started.recv().map_err(|_| io::Error::other("the thread that starts stressors is gone"))??;
    Ok(Started { pid, lines })
}

/// Passes on what the child says until it ends, and reaps it.
fn attend(mut child: Child, marker: &str, told: &Sender<io::Result<u32>>, say: &Sender<String>) {
    let running = Stage::Running { pid: child.id(), stdin: child.stdin.take() };
    with_live(|live| live.children.insert(marker.to_owned(), running));
    // Whoever asked may have given up: the child is attended to all the same.
    let _ = told.send(Ok(child.id()));
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = say.send(line);
        }
    }
    let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    with_live(|live| live.children.remove(marker));
    let _ = say.send(format!("ended: {how}"));
}

/// Tells a stressor of this process to begin.
pub fn go(armed: &Armed, marker: &str) -> io::Result<()> {
    use std::io::Write;
    let line = format!("{}\n", armed.hand_over());
    with_live(|live| match live.children.get_mut(marker) {
        Some(Stage::Running { stdin: Some(stdin), .. }) => stdin.write_all(line.as_bytes()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("stressor {marker} is gone"))),
    })
}

/// The process ids of the stressors with that marker, whoever started them. Ended ones (zombies) do not count.
pub fn find(marker: &str) -> io::Result<Vec<u32>> {
    Ok(candidates(marker)?.into_iter().filter(|pid| carries(*pid, marker)).collect())
}

/// Where to look: the one child, if it is ours, otherwise everywhere.
fn candidates(marker: &str) -> io::Result<Vec<u32>> {
    if let Some(pid) =
        with_live(|live| live.children.get(marker).and_then(|stage| if let Stage::Running { pid, .. } = stage { Some(*pid) } else { None }))
    {
        return Ok(vec![pid]);
    }
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Whether that process is a stressor with that marker: `… stressor --marker <marker> …`.
fn carries(pid: u32, marker: &str) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut args = line.split(|byte| *byte == 0).skip(1);
    args.next() == Some(b"stressor") && args.next() == Some(b"--marker") && args.next() == Some(marker.as_bytes())
}

/// A stressor that was killed and may not be gone yet.
#[derive(Debug)]
pub struct Dying {
    /// Its process id.
    pub pid: u32,
    marker: String,
    fd: OwnedFd,
}

/// Kills every stressor with that marker. None where there was none. This process starts no more with that marker.
pub fn kill(armed: &Armed, marker: &str) -> io::Result<Vec<Dying>> {
    signal(armed, marker, Signal::KILL)
}

/// Asks every stressor with that marker to end (`SIGTERM`), as [`kill`] kills.
pub fn ask(armed: &Armed, marker: &str) -> io::Result<Vec<Dying>> {
    signal(armed, marker, Signal::TERM)
}

fn signal(armed: &Armed, marker: &str, signal: Signal) -> io::Result<Vec<Dying>> {
    let _ = armed;
    with_live(|live| live.reverted.insert(marker.to_owned()));
    // One that is being started at this moment is there in a millisecond, and must not be missed.
    wait_until(GONE_WITHIN, |live| !matches!(live.children.get(marker), Some(Stage::Starting)));
    let mut dying = Vec::new();
    for pid in find(marker)? {
        let Some(fd) = open(pid, marker)? else { continue };
        match pidfd_send_signal(&fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => dying.push(Dying { pid, marker: marker.to_owned(), fd }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dying)
}

impl Dying {
    /// Waits until it is really gone, its memory included, and reaped if it is a child of this process.
    pub fn wait(&self) -> io::Result<()> {
        self.wait_for(GONE_WITHIN)
    }

    /// As [`Dying::wait`], for so long at the most: `TimedOut` then.
    pub fn wait_for(&self, within: Duration) -> io::Result<()> {
        wait_gone(&self.fd, self.pid, within)?;
        wait_reaped(&self.marker)
    }
}

/// The process behind the number, if it still is that stressor once the descriptor holds it.
fn open(pid: u32, marker: &str) -> io::Result<Option<OwnedFd>> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => Ok(carries(pid, marker).then_some(fd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A pidfd becomes readable when the process has ended: after its memory was given back.
fn wait_gone(fd: &OwnedFd, pid: u32, within: Duration) -> io::Result<()> {
    let deadline = crate::cpu_time::monotonic() + within;
    loop {
        let left = deadline.saturating_sub(crate::cpu_time::monotonic());
        let timeout = left.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if left.is_zero() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("stressor {pid} was told to end and is still there")));
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A child of ours is a zombie until its thread has reaped it.
fn wait_reaped(marker: &str) -> io::Result<()> {
    if wait_until(GONE_WITHIN, |live| !live.children.contains_key(marker)) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("stressor {marker} is not reaped")))
}
