//! Where measurements are made: a network and a process namespace of their own, so that nothing else is on the loopback,
//! the congestion control is the one asked for, and everything ends with the bench, however that ends.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{shell, vm};

/// Set for the process inside; the programs that were found outside are handed on beside it.
const INSIDE: &str = "BENCH_PROXY_INSIDE";

/// Whether this is the process that the user started.
pub fn outside() -> bool {
    std::env::var_os(INSIDE).is_none()
}

/// A program that was found outside.
pub fn given(name: &str) -> Option<PathBuf> {
    std::env::var_os(format!("{INSIDE}_{name}")).map(PathBuf::from)
}

/// Runs this program again in a virtual machine, where a process may have as many descriptors as it needs.
pub fn enter_vm(squall: &Path) -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--vm").collect();
    vm::Machine {
        programs: &[
            (std::env::current_exe()?, "xtask"),
            (squall.to_owned(), "squall"),
            (shell::which("setpriv").context("`setpriv` is missing")?, "setpriv"),
            (shell::which("prlimit").context("`prlimit` is missing")?, "prlimit"),
        ],
        files: &[],
        modules: &[],
        line: &format!("{INSIDE}=1 {INSIDE}_SQUALL=/bin/squall {INSIDE}_EMULATED=1 xtask {}", words.join(" ")),
        descriptors: 200_000,
        cores: 2,
        memory_mib: 4096,
        time: vm::Time::Real,
    }
    .run()
}

/// Whether the processor is emulated: what takes time there says nothing.
pub fn emulated() -> bool {
    given("EMULATED").is_some()
}

/// Becomes `unshare`, which runs this program again inside. Returns where that cannot be had.
pub fn enter(squall: Option<&Path>, envoy: Option<&Path>) -> Result<()> {
    let mut unshare = shell::command("unshare");
    // With its namespace's first process, the kernel kills all others; that one is killed when `unshare` ends.
    unshare.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let mut trial = shell::command("unshare");
    trial.args(unshare.get_args()).arg("true");
    if !trial.output().is_ok_and(|output| output.status.success()) {
        shell::say("warning: no namespaces of its own without root here: other traffic and the congestion control are as they are");
        return Ok(());
    }
    unshare.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    for (name, path) in [("SQUALL", squall), ("ENVOY", envoy)] {
        if let Some(path) = path {
            unshare.env(format!("{INSIDE}_{name}"), path);
        }
    }
    Err(unshare.exec()).context("unshare")
}

/// Sets up the namespace from inside.
pub fn settle() -> Result<()> {
    shell::run_quietly(shell::command("ip").args(["link", "set", "lo", "up"]))?;
    for (name, value) in [
        // BBR, where it is the default, shapes even the loopback.
        ("net/ipv4/tcp_congestion_control", "reno"),
        ("net/ipv4/ip_local_port_range", "1024 65535"),
        ("net/core/somaxconn", "65535"),
    ] {
        std::fs::write(format!("/proc/sys/{name}"), value).with_context(|| format!("{name} cannot be set to {value}"))?;
    }
    Ok(())
}

/// As many descriptors as may be had; says how many.
pub fn raise_descriptors() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(1 << 20);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?;
    Ok(wanted)
}

/// Waits until the machine has nothing else to do; whether it came to that.
pub fn wait_for_quiet(patience: Duration) -> bool {
    let end = shell::now() + patience.as_secs_f64();
    loop {
        let before = busy();
        std::thread::sleep(Duration::from_millis(200));
        let after = busy();
        let share = (after.0 - before.0) / (after.1 - before.1).max(1.0);
        if share < 0.05 {
            return true;
        }
        if shell::now() >= end {
            return false;
        }
    }
}

/// Ticks in which cores were busy, and all ticks. Processes in other namespaces count.
fn busy() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    let all: f64 = ticks.iter().take(8).sum();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    (all - idle, all)
}
