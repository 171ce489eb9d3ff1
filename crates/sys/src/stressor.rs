//! Starting, finding and ending stressors: children that carry a load, so that the load ends with them.
//!
//! A stressor is found by its marker, an argument on its own command line, so a fresh process can find it with nothing but
//! the ledger's undo. It is killed through a pidfd that was opened before the command line was read again: a number that was
//! reused in between cannot be hit.

use std::collections::HashMap;
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

/// Children of this process by marker: process id, and the pipe whose end tells the child that this process is gone.
static LIVE: Mutex<Option<HashMap<String, (u32, Option<ChildStdin>)>>> = Mutex::new(None);
static ENDED: Condvar = Condvar::new();

type Live = Option<HashMap<String, (u32, Option<ChildStdin>)>>;

fn live() -> MutexGuard<'static, Live> {
    // The map is whole between any two of its calls, whoever panicked.
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a stressor: `program stressor --marker <marker> <args>`.
///
/// `PR_SET_PDEATHSIG`, which the child asks for, fires when the *thread* that started it ends. So one thread starts it, waits
/// for it and reaps it: that thread ends with the child or with the whole process.
pub fn start(armed: &Armed, program: &Path, marker: &str, args: &[OsString]) -> io::Result<Started> {
    let _ = armed;
    if live().as_ref().is_some_and(|map| map.contains_key(marker)) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("stressor {marker} is already there")));
    }
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
    live().get_or_insert_default().insert(marker.to_owned(), (child.id(), child.stdin.take()));
    // Whoever asked may have given up: the child is attended to all the same.
    let _ = told.send(Ok(child.id()));
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = say.send(line);
        }
    }
    let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    if let Some(map) = live().as_mut() {
        map.remove(marker);
    }
    ENDED.notify_all();
    let _ = say.send(format!("ended: {how}"));
}

/// Tells a stressor of this process to begin.
pub fn go(armed: &Armed, marker: &str) -> io::Result<()> {
    use std::io::Write;
    let _ = armed;
    let mut live = live();
    let stdin = live.as_mut().and_then(|map| map.get_mut(marker)).and_then(|(_, stdin)| stdin.as_mut());
    stdin.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("stressor {marker} is gone")))?.write_all(b"go\n")
}

/// The process ids of the stressors with that marker, whoever started them. Ended ones (zombies) do not count.
pub fn find(marker: &str) -> io::Result<Vec<u32>> {
    Ok(candidates(marker)?.into_iter().filter(|pid| carries(*pid, marker)).collect())
}

/// Where to look: the one child, if it is ours, otherwise everywhere.
fn candidates(marker: &str) -> io::Result<Vec<u32>> {
    if let Some((pid, _)) = live().as_ref().and_then(|map| map.get(marker)) {
        return Ok(vec![*pid]);
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

/// Kills every stressor with that marker. None where there was none.
pub fn kill(armed: &Armed, marker: &str) -> io::Result<Vec<Dying>> {
    let _ = armed;
    let mut dying = Vec::new();
    for pid in find(marker)? {
        let Some(fd) = open(pid, marker)? else { continue };
        match pidfd_send_signal(&fd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => dying.push(Dying { pid, marker: marker.to_owned(), fd }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dying)
}

impl Dying {
    /// Waits until it is really gone, its memory included, and reaped if it is a child of this process.
    pub fn wait(&self) -> io::Result<()> {
        wait_gone(&self.fd, self.pid)?;
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
fn wait_gone(fd: &OwnedFd, pid: u32) -> io::Result<()> {
    let deadline = crate::cpu_time::monotonic() + GONE_WITHIN;
    loop {
        let left = deadline.saturating_sub(crate::cpu_time::monotonic());
        let timeout = left.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if left.is_zero() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("stressor {pid} was killed and is still there")));
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A child of ours is a zombie until its thread has reaped it.
fn wait_reaped(marker: &str) -> io::Result<()> {
    let there = |live: &mut Live| live.as_ref().is_some_and(|map| map.contains_key(marker));
    let (_live, waited) = ENDED.wait_timeout_while(live(), GONE_WITHIN, there).unwrap_or_else(PoisonError::into_inner);
    if waited.timed_out() { Err(io::Error::new(io::ErrorKind::TimedOut, format!("stressor {marker} is not reaped"))) } else { Ok(()) }
}
