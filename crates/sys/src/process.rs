//! Processes: what is known of them, and signals that never reach another process that has got the same number.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use procfs::process::{FDTarget, Process, StatFlags, all_processes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use squall_undo::Armed;

/// A process, exactly: its number, and when it started in clock ticks after boot (`/proc/PID/stat`, field 22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessId {
    /// The number.
    pub pid: u32,
    /// The start.
    pub start_ticks: u64,
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessFacts {
    /// Which.
    pub id: ProcessId,
    /// The kernel's name of it (`comm`, up to 15 bytes).
    pub name: String,
    /// Its program, where that may be read.
    pub program: Option<PathBuf>,
    /// Its arguments, the program's name first. Empty for kernel threads.
    pub arguments: Vec<String>,
    /// Effective user.
    pub uid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its control groups, a path for each hierarchy.
    pub cgroups: Vec<String>,
    /// The TCP ports that it listens on, in order, where somebody has looked ([`listening`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

impl ProcessFacts {
    /// Of one process; none if it is gone, a kernel thread, or not to be looked at.
    pub fn of(pid: u32) -> Option<Self> {
        Self::read(&Process::new(i32::try_from(pid).ok()?).ok()?)
    }

    /// Of every process but kernel threads and zombies.
    pub fn all() -> io::Result<Vec<Self>> {
        let processes = all_processes().map_err(|e| io::Error::other(e.to_string()))?;
        let mut all: Vec<Self> = processes.filter_map(|p| Self::read(&p.ok()?)).collect();
        all.sort_by_key(|p| p.id.pid);
        Ok(all)
    }

    fn read(process: &Process) -> Option<Self> {
        let stat = process.stat().ok()?;
        if ended(&stat) || stat.flags().is_ok_and(|flags| flags.contains(StatFlags::PF_KTHREAD)) {
            return None;
        }
        let cgroups = process.cgroups().map(|groups| groups.into_iter().map(|g| g.pathname).collect()).unwrap_or_default();
        Some(Self {
            id: ProcessId { pid: u32::try_from(stat.pid).ok()?, start_ticks: stat.starttime },
            name: stat.comm,
            program: process.exe().ok(),
            arguments: process.cmdline().unwrap_or_default(),
            uid: process.uid().ok()?,
            parent: u32::try_from(stat.ppid).unwrap_or_default(),
            cgroups,
            ports: Vec::new(),
        })
    }

    /// The file name of its program.
    pub fn program_name(&self) -> Option<&str> {
        self.program.as_ref()?.file_name()?.to_str()
    }

    /// Its systemd unit: the last part of a control group's path that is named like one.
    pub fn unit(&self) -> Option<&str> {
        let units = [".service", ".scope", ".socket", ".slice"];
        let parts = self.cgroups.iter().flat_map(|path| path.rsplit('/'));
        parts.into_iter().find(|part| units.iter().any(|suffix| part.ends_with(suffix)))
    }

    /// For people.
    pub fn label(&self) -> String {
        format!("{} (pid {})", self.name, self.id.pid)
    }
}

/// A zombie, or one that is on its way to be one.
fn ended(stat: &procfs::process::Stat) -> bool {
    matches!(stat.state, 'Z' | 'X') || stat.flags().is_ok_and(|flags| flags.contains(StatFlags::PF_EXITING))
}

/// What a process does about signals: one bit a signal, 1 is the lowest (`/proc/PID/status`, `SigCgt` and `SigIgn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispositions {
    caught: u64,
    ignored: u64,
}

impl Dispositions {
    /// It has a handler for it.
    pub fn catches(self, signal: Signal) -> bool {
        self.caught & bit(signal) != 0
    }

    /// It ignores it.
    pub fn ignores(self, signal: Signal) -> bool {
        self.ignored & bit(signal) != 0
    }
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// The signals that have no name but a number: `SIGRTMIN` to `SIGRTMAX` as programs see them (signal(7)). The two below are
/// the C library's own.
pub const REALTIME: std::ops::RangeInclusive<i32> = 34..=64;

/// A real-time signal by its number; none if it is not one of [`REALTIME`].
pub fn realtime_signal(number: i32) -> Option<Signal> {
    // SAFETY: the number is that of a signal which the kernel has and the C library does not keep for itself.
    // Safe code cannot do it: rustix has safe constructors for named signals alone.
    REALTIME.contains(&number).then(|| unsafe { Signal::from_raw_unchecked(number) })
}

impl ProcessId {
    /// The process that has this number now; none if there is none, or it has ended.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
        (!ended(&stat)).then_some(Self { pid, start_ticks: stat.starttime })
    }

    /// The letter of its state in `/proc` (`R`, `S`, `T`…); none when it has ended.
    pub fn state(self) -> Option<char> {
        let stat = Process::new(i32::try_from(self.pid).ok()?).ok()?.stat().ok()?;
        (stat.starttime == self.start_ticks && !ended(&stat)).then_some(stat.state)
    }

    /// Whether this signal is on its way to it, or a SIGKILL, which the kernel makes of most fatal signals.
    pub fn awaits(self, signal: Signal) -> bool {
        let status = i32::try_from(self.pid).ok().and_then(|pid| Process::new(pid).ok()?.status().ok());
        status.is_some_and(|s| (s.shdpnd | s.sigpnd) & (bit(Signal::KILL) | bit(signal)) != 0)
    }

    /// What it does about signals; none when it has ended.
    pub fn dispositions(self) -> Option<Dispositions> {
        let status = Process::new(i32::try_from(self.pid).ok()?).ok()?.status().ok()?;
        self.state().is_some().then_some(Dispositions { caught: status.sigcgt, ignored: status.sigign })
    }

    /// The letters of the states of all its threads.
    pub fn thread_states(self) -> Vec<char> {
        let Ok(process) = i32::try_from(self.pid).map_err(drop).and_then(|pid| Process::new(pid).map_err(drop)) else { return Vec::new() };
        let states = process.tasks().into_iter().flatten().flatten().filter_map(|task| task.stat().ok()).map(|stat| stat.state);
        states.filter(|state| !matches!(state, 'Z' | 'X')).collect()
    }

    /// A descriptor of that very process, also while it is ending; none if it is gone. The start is compared after the
    /// descriptor is open, so what it refers to cannot change any more.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => {
                let stat = Process::new(pid.as_raw_nonzero().get()).and_then(|process| process.stat()).ok();
                Ok(stat.is_some_and(|s| s.starttime == self.start_ticks && !matches!(s.state, 'Z' | 'X')).then_some(fd))
            }
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal to that very process. False if it is gone.
    pub fn signal(self, armed: &Armed, signal: Signal) -> io::Result<bool> {
        let _ = armed;
        let Some(fd) = self.open()? else { return Ok(false) };
        match pidfd_send_signal(&fd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end, at most so long. Blocks; true if it has ended.
    pub fn wait_gone(self, within: Duration) -> io::Result<bool> {
        let Some(fd) = self.open()? else { return Ok(true) };
        let timeout = Timespec { tv_sec: i64::try_from(within.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(within.subsec_nanos()) };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))? > 0)
    }
}

/// The processes that have a variable of this value in their environment, as far as it may be read.
pub fn with_variable(name: &str, value: &str) -> io::Result<Vec<ProcessId>> {
    let wanted = format!("{name}={value}");
    let processes = all_processes().map_err(|e| io::Error::other(e.to_string()))?;
    let pids = processes.filter_map(|process| u32::try_from(process.ok()?.pid).ok());
    let has = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    Ok(pids.filter(has).filter_map(ProcessId::of).collect())
}

/// The processes that must never be touched: process 1, this one, its ancestors, and the watchdogs and stressors of any run.
/// Other children of this process may be (the demo's services are).
pub fn own_line(all: &[ProcessFacts]) -> HashSet<u32> {
    let parents: HashMap<u32, u32> = all.iter().map(|p| (p.id.pid, p.parent)).collect();
    let mut line = HashSet::from([1]);
    let mut at = std::process::id();
    // A parent of 0 is the kernel; one that was seen already cannot be, but a race with an exit could show it.
    while at != 0 && line.insert(at) {
        at = parents.get(&at).copied().unwrap_or_default();
    }
    let helpers = all.iter().filter(|p| {
        let word = |index: usize| p.arguments.get(index).map_or("", String::as_str);
        matches!((word(1), word(2)), ("watchdog", "--run-dir") | ("stressor", "--marker"))
    });
    line.extend(helpers.map(|p| p.id.pid));
    line
}

/// Every descendant of a process, children before their children.
pub fn descendants(all: &[ProcessFacts], root: u32) -> Vec<ProcessId> {
    let (mut found, mut at): (Vec<ProcessId>, usize) = (Vec::new(), 0);
    let mut parents = vec![root];
    while let Some(&parent) = parents.get(at) {
        at += 1;
        for child in all.iter().filter(|p| p.parent == parent && p.id.pid != root) {
            if !found.contains(&child.id) {
                found.push(child.id);
                parents.push(child.id.pid);
            }
        }
    }
    found
}

/// The TCP ports that each of these processes listens on, in order. One that may not be looked at listens on none.
pub fn listening(pids: impl IntoIterator<Item = u32>) -> HashMap<u32, Vec<u16>> {
    // Processes of one network namespace see the same table, which may be long.
    let mut tables: HashMap<OsString, HashMap<u64, u16>> = HashMap::new();
    let mut found = HashMap::new();
    for pid in pids {
        let Some(process) = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok()) else { continue };
        let (Ok(namespace), Ok(descriptors)) = (std::fs::read_link(format!("/proc/{pid}/ns/net")), process.fd()) else { continue };
        let table = tables.entry(namespace.into_os_string()).or_insert_with(|| {
            let entries = process.tcp().unwrap_or_default().into_iter().chain(process.tcp6().unwrap_or_default());
            entries.filter(|e| e.state == procfs::net::TcpState::Listen).map(|e| (e.inode, e.local_address.port())).collect()
        });
        let inodes = descriptors.flatten().filter_map(|fd| if let FDTarget::Socket(inode) = fd.target { Some(inode) } else { None });
        let ports: BTreeSet<u16> = inodes.filter_map(|inode| table.get(&inode).copied()).collect();
        found.insert(pid, ports.into_iter().collect());
    }
    found
}

/// The numbers of the processes that listen on a TCP port, or have a UDP socket bound to it, over IPv4 or IPv6.
pub fn listening_on(port: u16) -> io::Result<HashSet<u32>> {
    let failed = |e: procfs::ProcError| io::Error::other(e.to_string());
    let mut inodes = HashSet::new();
    for entry in procfs::net::tcp().map_err(failed)?.into_iter().chain(procfs::net::tcp6().unwrap_or_default()) {
        if entry.state == procfs::net::TcpState::Listen && entry.local_address.port() == port {
            inodes.insert(entry.inode);
        }
    }
    for entry in procfs::net::udp().map_err(failed)?.into_iter().chain(procfs::net::udp6().unwrap_or_default()) {
        if entry.local_address.port() == port {
            inodes.insert(entry.inode);
        }
    }
    let mut pids = HashSet::new();
    for process in all_processes().map_err(failed)?.flatten() {
        let Ok(descriptors) = process.fd() else { continue };
        let holds = descriptors.flatten().any(|fd| matches!(fd.target, FDTarget::Socket(inode) if inodes.contains(&inode)));
        if holds {
            pids.extend(u32::try_from(process.pid));
        }
    }
    Ok(pids)
}

/// The number of a user by name (`/etc/passwd`), or of a number.
pub fn uid_of(user: &str) -> Option<u32> {
    user.parse().ok().or_else(|| {
        let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
        let line = passwd.lines().find(|line| line.split(':').next() == Some(user))?;
        line.split(':').nth(2)?.parse().ok()
    })
}
