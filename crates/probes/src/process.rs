//! `process`: how many processes match, and what they use.

mod selector;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use procfs::process::{Process as ProcProcess, Stat};
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Clock, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Value};

use selector::Matcher;

/// The kind of probe.
#[derive(Debug)]
pub struct Process;

/// How many processes match, and what they use. All of the conditions that are written must be met.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// Its process id.
    #[serde(default)]
    pub pid: Option<i32>,
    /// Its name: what `ps -o comm` shows, or the file name of its program.
    #[serde(default)]
    pub name: Option<String>,
    /// A regular expression found in its command line (arguments with a space between).
    #[serde(default)]
    pub command_line: Option<String>,
    /// The user that it runs as: a name or a number.
    #[serde(default)]
    pub user: Option<String>,
    /// Its parent's process id.
    #[serde(default)]
    pub parent: Option<i32>,
    /// A TCP port that it listens on.
    #[serde(default)]
    pub port: Option<u16>,
    /// The systemd unit that it belongs to: `nginx.service`.
    #[serde(default)]
    pub unit: Option<String>,
    /// The cgroup that it is in, or in one below: `/system.slice/nginx.service`.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// What is measured; `count` by default.
    #[serde(default)]
    pub measure: ProcessMeasure,
}

/// What a `process` probe measures. All but `count` are not measured when nothing matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProcessMeasure {
    /// How many match.
    #[default]
    Count,
    /// Processor time of all matches since the last sample, as a share of one core: 100% is one core, 200% is two.
    Cpu,
    /// Resident memory of all matches together.
    Memory,
    /// Threads of all matches together.
    Threads,
    /// Open descriptors of all matches together.
    Fds,
    /// How long ago the youngest match started: it drops when one is restarted.
    Uptime,
}

impl Probe for Process {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "process",
        summary: "How many processes match, their processor, memory, threads, descriptors or age",
        from_anywhere: false,
        example: "\
name: payments runs
process: { name: payments }
expect: { ge: 1 }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        selector::check(args)
    }

    fn dimension(&self, args: &Args) -> Dimension {
        match args.measure {
            ProcessMeasure::Count | ProcessMeasure::Threads | ProcessMeasure::Fds => Dimension::Number,
            ProcessMeasure::Cpu => Dimension::Ratio,
            ProcessMeasure::Memory => Dimension::Bytes,
            ProcessMeasure::Uptime => Dimension::Time,
        }
    }

    fn describe(&self, args: &Args) -> String {
        let what = match args.measure {
            ProcessMeasure::Count => "number",
            ProcessMeasure::Cpu => "processor use",
            ProcessMeasure::Memory => "memory",
            ProcessMeasure::Threads => "threads",
            ProcessMeasure::Fds => "open descriptors",
            ProcessMeasure::Uptime => "age",
        };
        format!("{what} of processes with {}", selector::describe(args))
    }

    fn open(&self, args: Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let matcher = Matcher::new(&args)?;
        let mut scan = Scan { matcher, measure: args.measure, label: selector::describe(&args), clock: cx.clock.clone(), last: None };
        if args.measure == ProcessMeasure::Cpu {
            // The first sample is over the time since now.
            scan.last = Some(scan.baseline()?);
        }
        Ok(Box::new(Open(Arc::new(Mutex::new(scan)))))
    }
}

struct Open(Arc<Mutex<Scan>>);

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        let scan = self.0.clone();
        // Reading thousands of processes takes milliseconds, which must not hold up anybody else.
        let looking = tokio::task::spawn_blocking(move || scan.lock().unwrap_or_else(PoisonError::into_inner).look());
        Box::pin(async move { looking.await.map_err(|e| e.to_string())?.map(Value::Number) })
    }
}

/// Processor time by process: its id and start, in ticks.
type Ticks = HashMap<(i32, u64), u64>;

struct Scan {
    matcher: Matcher,
    measure: ProcessMeasure,
    label: String,
    clock: Arc<dyn Clock>,
    last: Option<(Duration, Ticks)>,
}

impl Scan {
    fn look(&mut self) -> Result<f64, String> {
        let found = self.matcher.find()?;
        if self.measure == ProcessMeasure::Count {
            return Ok(found.len() as f64);
        }
        if self.measure == ProcessMeasure::Cpu {
            return self.cpu(&found);
        }
        if found.is_empty() {
            return Err(format!("no process with {}", self.label));
        }
        match self.measure {
            ProcessMeasure::Memory => Ok(found.iter().map(|(_, stat)| (stat.rss * procfs::page_size()) as f64).sum()),
            ProcessMeasure::Threads => Ok(found.iter().map(|(_, stat)| stat.num_threads as f64).sum()),
            ProcessMeasure::Fds => fds(&found),
            _ => {
                let youngest = found.iter().map(|(_, stat)| stat.starttime).max().unwrap_or(0);
                let boot = clock_gettime(ClockId::Boottime);
                let now = boot.tv_sec as f64 + boot.tv_nsec as f64 / 1e9;
                Ok((now - youngest as f64 / procfs::ticks_per_second() as f64).max(0.0))
            }
        }
    }

    fn baseline(&self) -> Result<(Duration, Ticks), String> {
        Ok((self.clock.now(), ticks(&self.matcher.find()?)))
    }

    fn cpu(&mut self, found: &[(ProcProcess, Stat)]) -> Result<f64, String> {
        let (now, ticks) = (self.clock.now(), ticks(found));
        let last = self.last.replace((now, ticks.clone()));
        if ticks.is_empty() {
            return Err(format!("no process with {}", self.label));
        }
        let Some((then, before)) = last else { return Err("processor use needs two samples".into()) };
        let elapsed = now.saturating_sub(then).as_secs_f64();
        if elapsed <= 0.0 {
            return Err("no time has passed since the last sample".into());
        }
        // One that started meanwhile has used all of its time since.
        let used: u64 = ticks.iter().map(|(process, now)| now.saturating_sub(before.get(process).copied().unwrap_or(0))).sum();
        Ok(used as f64 / procfs::ticks_per_second() as f64 / elapsed)
    }
}

fn ticks(found: &[(ProcProcess, Stat)]) -> Ticks {
    found.iter().map(|(process, stat)| ((process.pid, stat.starttime), stat.utime + stat.stime)).collect()
}

fn fds(found: &[(ProcProcess, Stat)]) -> Result<f64, String> {
    let mut sum = 0;
    for (process, _) in found {
        match process.fd_count() {
            Ok(count) => sum += count,
            // Ended since it was found.
            Err(procfs::ProcError::NotFound(_)) => {}
            Err(procfs::ProcError::PermissionDenied(_)) => {
                return Err(format!("the descriptors of process {} are not ours to see; run as its user or as root", process.pid));
            }
            Err(error) => return Err(format!("descriptors of process {}: {error}", process.pid)),
        }
    }
    Ok(sum as f64)
}
