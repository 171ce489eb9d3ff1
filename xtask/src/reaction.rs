//! `cargo xtask reaction`: how long from the answer of the probe that breaches a guard until the fault is gone.
//!
//! Each run pauses a process of its own; the experiment's guard watches a file, asked every 20 ms. The bench writes the
//! breaching value and takes the time from there to the moment at which the process runs again, both seen from outside (its
//! state in `/proc`, looked at every 200 µs). So each figure holds the wait for the probe's next beat, up to 20 ms, on top of
//! what the bar is about: it is an upper bound.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

#[derive(clap::Args)]
pub struct Args {
    /// Runs in each condition
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// A few runs, and no failure when a bar is missed: what CI does on a machine that is not quiet
    #[arg(long)]
    quick: bool,
    /// The program to measure; built here if left out
    #[arg(long)]
    squall: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let squall = shell::release_squall(args.squall.as_deref())?;
    let runs = if args.quick { 12 } else { args.runs };
    let idle = measure(&squall, runs)?;
    let busy = {
        let _load = Busy::start()?;
        measure(&squall, runs)?
    };
    let mut table = String::from("| condition | runs | p50 ms | p90 ms | p99 ms | max ms | bar ms |\n|---|---|---|---|---|---|---|\n");
    let mut met = true;
    for (name, times, bar) in [("idle", &idle, 100.0), ("both cores busy", &busy, 250.0)] {
        let q = |share| shell::quantile(times, share) * 1e3;
        met &= q(0.99) <= bar;
        writeln!(table, "| {name} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {bar} |", times.len(), q(0.5), q(0.9), q(0.99), q(1.0))?;
    }
    shell::say(&table);
    if !met && !args.quick {
        bail!("the bar is missed");
    }
    Ok(())
}

/// As many busy loops as there are cores, until dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        let spin = || shell::command("sh").args(["-c", "while :; do :; done"]).spawn();
        Ok(Self((0..cores).map(|_| spin()).collect::<Result<_, _>>()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process, killed when dropped.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(squall: &Path, runs: usize) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for i in 0..runs {
        let dir = tempfile::tempdir()?;
        times.push(once(squall, dir.path()).with_context(|| format!("run {i}"))?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn once(squall: &Path, dir: &Path) -> Result<f64> {
    let victim = Victim(shell::command("sleep").arg("600").spawn()?);
    let pid = victim.0.id();
    let signal = dir.join("signal");
    std::fs::write(&signal, "0")?;
    let manifest = dir.join("experiment.yaml");
    std::fs::write(&manifest, manifest_text(pid, &signal))?;
    let mut run = Victim(
        shell::command(squall)
            .arg("--state-dir")
            .arg(dir.join("state"))
            .args(["run", "--plain", "--quiet"])
            .arg(&manifest)
            .stdout(Stdio::null())
            .spawn()?,
    );
    wait(Duration::from_secs(10), "the pause", || stopped(pid))?;
    // Somewhere within the cadence of the probe, not always at the same place.
    std::thread::sleep(Duration::from_micros(1_000 + u64::from(pid) * 7_919 % 20_000));
    let part = dir.join("signal.part");
    std::fs::write(&part, "1")?;
    let breach = shell::now();
    std::fs::rename(&part, &signal)?;
    wait(Duration::from_secs(10), "the revert", || !stopped(pid))?;
    let gone = shell::now();
    std::fs::write(&part, "0")?;
    std::fs::rename(&part, &signal)?;
    let status = run.0.wait()?;
    // Aborted, by the guard and nothing else.
    ensure!(status.code() == Some(4), "the run ended with {status}");
    Ok(gone - breach)
}

fn manifest_text(pid: u32, signal: &Path) -> String {
    let signal = signal.display();
    format!(
        "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: {{ name: reaction }}\nspec:\n  hypothesis:\n    statement: The guard is quick.\n    \
         probes:\n      - name: signal\n        file: {{ path: {signal}, measure: number }}\n        expect: {{ lt: 2 }}\n        every: 20ms\n  \
         steady: {{ for: 0s }}\n  method:\n    - fault: process.pause\n      target: {{ process: {{ pid: {pid} }} }}\n      for: 30s\n  guards:\n    \
         - probe: signal\n      abort: {{ gt: 0 }}\n  recovery: {{ within: 5s, stable: 0s }}\n"
    )
}

fn stopped(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}

fn wait(limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let end = shell::now() + limit.as_secs_f64();
    while !done() {
        if shell::now() > end {
            bail!("{what} did not come within {limit:?}");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
