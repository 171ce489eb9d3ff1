//! Which process is which, across reuse of process ids and restarts of the host.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A process, named so that another one that later gets its number is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessIdentity {
    /// Process id, in its own namespace of process ids.
    pub pid: i32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc(5)).
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`: a new one at each start of the host.
    pub boot: String,
    /// The namespace that the process id is of: what `/proc/self/ns/pid` points to.
    pub namespace: String,
}

impl ProcessIdentity {
    /// This process.
    pub fn own() -> io::Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let start_ticks = stat(pid)?.map(|stat| stat.start_ticks).ok_or_else(|| io::Error::other("/proc is not mounted"))?;
        Ok(Self { pid, start_ticks, boot: boot_id()?, namespace: pid_namespace()? })
    }

    /// Whether the process still runs: `None` where that cannot be seen from here, because it counts its process ids in
    /// another namespace. A zombie does not run.
    pub fn alive(&self) -> io::Result<Option<bool>> {
        if boot_id()? != self.boot {
            return Ok(Some(false));
        }
        if pid_namespace()? != self.namespace {
            return Ok(None);
        }
        Ok(Some(stat(self.pid)?.is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.dead)))
    }

    /// Sends it a signal, and no other process that has got its number since. False if it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(false),
            opened => opened?,
        };
        // Compared after opening: what was compared is what gets the signal.
        match self.alive()? {
            Some(true) => {}
            Some(false) => return Ok(false),
            None => return Err(io::Error::other("it runs in another namespace of process ids (a container): stop it there")),
        }
        match pidfd_send_signal(&descriptor, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What is needed of `/proc/<pid>/stat`.
struct Stat {
    start_ticks: u64,
    dead: bool,
}

/// `None` if there is no such process.
fn stat(pid: i32) -> io::Result<Option<Stat>> {
    let text = match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        // ESRCH: the process ended between opening and reading.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    // The second field is the name in parentheses, and may hold spaces and parentheses itself: count from its end.
    let fields: Vec<&str> = text.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect()).unwrap_or_default();
    let start_ticks = fields.get(19).and_then(|field| field.parse().ok());
    let start_ticks =
        start_ticks.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not as in proc(5)")))?;
    Ok(Some(Stat { start_ticks, dead: matches!(fields.first(), Some(&("Z" | "X" | "x"))) }))
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn pid_namespace() -> io::Result<String> {
    Ok(std::fs::read_link(Path::new("/proc/self/ns/pid"))?.to_string_lossy().into_owned())
}

/// Time since boot, suspended time included (`CLOCK_BOOTTIME`): what deadlines are on.
pub fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_others_under_its_number_are_not() {
        let own = ProcessIdentity::own().expect("own");
        assert_eq!(own.alive().expect("alive"), Some(true));
        let later = ProcessIdentity { start_ticks: own.start_ticks + 1, ..own.clone() };
        assert_eq!(later.alive().expect("later"), Some(false));
        let older_boot = ProcessIdentity { boot: "11111111-2222-3333-4444-555555555555".into(), ..own.clone() };
        assert_eq!(older_boot.alive().expect("older boot"), Some(false));
        let elsewhere = ProcessIdentity { namespace: "pid:[1]".into(), ..own };
        assert_eq!(elsewhere.alive().expect("elsewhere"), None);
    }
}
