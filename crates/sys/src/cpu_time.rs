//! How much CPU time threads, processes and cores have used, as exactly as this kernel tells.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

fn read_clock(id: ClockId) -> Duration {
    // No kernel clock is negative or has a nanosecond part out of range.
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}

/// `CLOCK_BOOTTIME`: since boot, suspended time included. What deadlines are set on.
pub fn boottime() -> Duration {
    read_clock(ClockId::Boottime)
}

/// `CLOCK_MONOTONIC`, from the vDSO: cheap enough to spin on.
pub fn monotonic() -> Duration {
    read_clock(ClockId::Monotonic)
}

/// CPU time of the calling thread (`CLOCK_THREAD_CPUTIME_ID`), exact to the nanosecond. A system call: the kernel charges
/// what the thread has used up to now, here and in all of its accounting, before it answers.
pub fn this_thread() -> Duration {
    read_clock(ClockId::ThreadCPUTime)
}

/// Sleeps until a time on `CLOCK_MONOTONIC`. Comes back early only if that clock is not there.
pub fn sleep_until_monotonic(deadline: Duration) {
    let Ok(request) = deadline.try_into() else { return };
    while let Err(rustix::io::Errno::INTR) = rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &request) {}
}

/// CPU time of another process, all of its threads and those that have ended (`clock_getcpuclockid(3)`), up to now.
pub fn of_process(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place for the answer. rustix has no call for another process's clock.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer, and an id that is not a clock is an error, not undefined.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// The cores that a process may run on (`None`: this thread), by their numbers, rising.
pub fn allowed_cores(pid: Option<u32>) -> io::Result<Vec<usize>> {
    let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    let set = sched_getaffinity(pid)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Pins the calling thread to one core.
pub fn pin_this_thread(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// How long every core has been busy, from the best source that this host has.
///
/// 1. `cpuacct.usage_percpu` of the root group of cgroup v1's `cpuacct`: nanoseconds, charged as tasks run.
/// 2. `/proc/schedstat` (field 7 of a `cpuN` line: time that tasks ran, in nanoseconds, charged when a task leaves the core).
/// 3. `/proc/stat`: what is not idle and not waiting for I/O, in ticks of 10 ms. Idle time is kept exactly by a tickless
///    kernel; the busy fields are sampled, and so not used.
///
/// cgroup v2's root `cpu.stat` is made from the same samples as `/proc/stat`, for all cores together: no better.
#[derive(Debug)]
pub struct CoreUsage {
    source: Source,
    file: File,
    text: Vec<u8>,
}

/// Where [`CoreUsage`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// cgroup v1.
    Cpuacct,
    /// The scheduler's own table.
    Schedstat,
    /// Ticks.
    Stat,
}

impl Source {
    /// The step in which it counts.
    pub const fn resolution(self) -> Duration {
        match self {
            Self::Cpuacct | Self::Schedstat => Duration::from_nanos(1),
            Self::Stat => Duration::from_millis(10),
        }
    }
}

impl CoreUsage {
    /// Opens the best source.
    pub fn open() -> io::Result<Self> {
        let cpuacct = crate::cgroup::Hierarchy::v1_of("cpuacct").map(|h| h.mount_point.join("cpuacct.usage_percpu"));
        let candidates = cpuacct.map(|path| (Source::Cpuacct, path)).into_iter();
        let candidates =
            candidates.chain([(Source::Schedstat, "/proc/schedstat".into()), (Source::Stat, std::path::PathBuf::from("/proc/stat"))]);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for (source, path) in candidates {
            match File::open(path) {
                Ok(file) => return Ok(Self { source, file, text: Vec::new() }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Which source was found.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Busy time of a core since boot, all tasks together.
    pub fn busy(&mut self, core: usize) -> io::Result<Duration> {
        self.read()?;
        let text = String::from_utf8_lossy(&self.text);
        let busy = match self.source {
            Source::Cpuacct => parse_cpuacct(&text, core),
            Source::Schedstat => parse_schedstat(&text, core),
            Source::Stat => parse_stat(&text, core, monotonic()),
        };
        busy.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("core {core} is not in {:?}", self.source)))
    }

    fn read(&mut self) -> io::Result<()> {
        let mut length = 0;
        loop {
            if self.text.len() < length + 4096 {
                self.text.resize(length + 4096, 0);
            }
            match self.file.read_at(&mut self.text[length..], length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        self.text.truncate(length);
        Ok(())
    }
}

fn parse_cpuacct(text: &str, core: usize) -> Option<Duration> {
    text.split_whitespace().nth(core)?.parse().ok().map(Duration::from_nanos)
}

fn core_line(text: &str, core: usize) -> Option<impl Iterator<Item = u64> + '_> {
    let name = format!("cpu{core}");
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
    Some(line.split_whitespace().skip(1).map_while(|field| field.parse().ok()))
}

fn parse_schedstat(text: &str, core: usize) -> Option<Duration> {
    core_line(text, core)?.nth(6).map(Duration::from_nanos)
}

/// Busy is the time since some start, less idle (field 4) and waiting for I/O (field 5).
fn parse_stat(text: &str, core: usize, now: Duration) -> Option<Duration> {
    let fields: Vec<u64> = core_line(text, core)?.collect();
    let idle = Duration::from_millis((fields.get(3)? + fields.get(4)?) * 10);
    // Idle time can be ahead by a step of rounding on a core that was never busy; a year's head start keeps this positive.
    Some((now + Duration::from_hours(24 * 365)).saturating_sub(idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_is_parsed_as_the_kernel_writes_it() {
        assert_eq!(parse_cpuacct("291657985571 297426254730 \n", 1), Some(Duration::from_nanos(297_426_254_730)));
        assert_eq!(parse_cpuacct("1 2 \n", 2), None);
        let schedstat = "version 16\ntimestamp 4295\ncpu0 0 0 0 0 0 0 1500 20 7\ndomain0 3 0 0\ncpu1 0 0 0 0 0 0 2500 30 8\n";
        assert_eq!(parse_schedstat(schedstat, 1), Some(Duration::from_nanos(2500)));
        let stat = "cpu  1 2 3 4 5\ncpu0 10 0 5 100 20 0 0 0 0 0\ncpu10 1 1 1 7 7\n";
        let later = "cpu  1 2 3 4 5\ncpu0 90 0 5 130 20 0 0 0 0 0\n";
        let busy = |text, now| parse_stat(text, 0, Duration::from_secs(now)).expect("a line for core 0");
        assert_eq!(busy(later, 101).saturating_sub(busy(stat, 100)), Duration::from_millis(700), "one second less 30 ticks of idle");
    }

    #[test]
    fn a_spinning_process_shows_in_its_own_clock_and_in_its_core() {
        let core = allowed_cores(None).expect("affinity")[0];
        std::thread::spawn(move || {
            pin_this_thread(core).expect("pin");
            let mut usage = CoreUsage::open().expect("a source");
            let (process, all) = (of_process(std::process::id()).expect("clock"), usage.busy(core).expect("busy"));
            // The last one: what is used between two looks would be missing in the others.
            let own = this_thread();
            while this_thread() < own + Duration::from_millis(60) {
                std::hint::spin_loop();
            }
            assert!(of_process(std::process::id()).expect("clock") >= process + Duration::from_millis(60));
            let grown = usage.busy(core).expect("busy").saturating_sub(all);
            assert!(grown + usage.source().resolution() * 2 >= Duration::from_millis(60), "{grown:?} of {:?}", usage.source());
        })
        .join()
        .expect("no panic");
    }
}
