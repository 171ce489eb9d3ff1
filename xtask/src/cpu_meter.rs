//! CPU time read from outside of what is measured: the kernel's files about processes and cores.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC`.
pub fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// `CLOCK_BOOTTIME`, on which a stressor's deadline is.
pub fn boottime() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Seconds of CPU time of a process's threads (`/proc/<pid>/task/*/schedstat`, nanoseconds, updated at least each tick).
pub fn process(pid: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let of_task = |entry: fs::DirEntry| -> Option<f64> {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    tasks.filter_map(|task| of_task(task.ok()?)).sum::<f64>() / 1e9
}

/// Seconds of CPU time of every process in a process group: for programs that fork their workers.
pub fn group(leader: u32) -> f64 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0.0 };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| group_of(*pid) == Some(leader)).map(process).sum()
}

/// Field 5 of `/proc/<pid>/stat`, counted from the end of the name.
fn group_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// Seconds that these cores were busy: cgroup v1's `cpuacct` in nanoseconds, otherwise what `/proc/stat` does not count as
/// idle, in steps of 10 ms.
pub fn cores(cores: &[usize]) -> Result<f64> {
    if let Ok(text) = fs::read_to_string("/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu") {
        let each: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        return cores.iter().map(|core| each.get(*core).copied().context("a core in cpuacct")).sum::<Result<f64>>().map(|ns| ns / 1e9);
    }
    let text = fs::read_to_string("/proc/stat")?;
    let busy = |core: &usize| -> Option<f64> {
        let name = format!("cpu{core} ");
        let fields: Vec<f64> =
            text.lines().find_map(|line| line.strip_prefix(&name))?.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        Some(now().as_secs_f64() - (fields.get(3)? + fields.get(4)?) / 100.0)
    };
    cores.iter().map(|core| busy(core).context("a core in /proc/stat")).sum()
}

/// The cores that this process may run on.
pub fn allowed() -> Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Another program: keeps a share of each of these cores busy by the wall clock, until it is killed. Open loop and unlike the fault.
///
/// It is one process in a session of its own, as the fault is one: a scheduler that shares between sessions first (autogroup,
/// sched(7)) then gives each the same.
pub fn spin(cores: &[usize], percent: u32) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::process::setsid()?;
    let threads: Vec<_> =
        cores.iter().map(|core| (*core, percent)).map(|(core, percent)| std::thread::spawn(move || spin_on(core, percent))).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a busy thread panicked"))??;
    }
    Ok(())
}

fn spin_on(core: usize, percent: u32) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set)?;
    let (busy, period) = (Duration::from_micros(u64::from(percent) * 70), Duration::from_millis(7));
    loop {
        let start = now();
        while now() < start + busy {
            std::hint::spin_loop();
        }
        std::thread::sleep((start + period).saturating_sub(now()));
    }
}
