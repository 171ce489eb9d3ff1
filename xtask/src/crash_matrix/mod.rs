//! `cargo xtask crash-matrix`: `squall run` is killed with SIGKILL at points spread over its whole life, and everything has
//! to be put back within two seconds.
//!
//! Each point has victims, a state directory and a run of its own. Half of the points kill the engine right after an event
//! of its journal (each in turn), the others at a random time. Each is done twice: with the watchdog alive, and with both
//! killed and `squall recover` run after. What is left over is looked for from outside; see [`residue`].

mod residue;
mod stage;
mod victim;
mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell;
use stage::{Killed, Stage};
pub use victim::live as live_as_victim;

#[derive(clap::Args)]
pub struct Args {
    /// Points in each mode
    #[arg(long, default_value_t = 300)]
    points: usize,
    /// Only with the watchdog alive, or only with both killed; else both
    #[arg(long)]
    only: Option<Mode>,
    /// Points at the same time
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Decides the random times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do this point alone, as a failure names it
    #[arg(long)]
    point: Option<usize>,
    /// The program to be killed, in place of a release build of this repository
    #[arg(long)]
    squall: Option<PathBuf>,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Mode {
    /// The engine; the watchdog puts everything back
    Watchdog,
    /// Engine and watchdog; `squall recover` puts everything back
    Both,
}

/// When the engine is killed.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// Right after so many events are in the journal: it kills itself then.
    Event(u64),
    /// So long after its start.
    Time(Duration),
}

/// One point of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    number: usize,
    mode: Mode,
    moment: Moment,
    /// With both killed: the watchdog may have begun to revert for so long. `None`: it is killed before it sees anything.
    head_start: Option<Duration>,
}

/// What came of a point.
struct Outcome {
    point: Point,
    /// From the kill (with both killed: from the start of `squall recover`) until nothing was left, in seconds.
    took: f64,
    /// The run had ended by itself before the moment came.
    over: bool,
    /// Entries that were open when the engine died.
    open: usize,
    /// What was left after two seconds.
    residue: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let squall = shell::release_squall(args.squall.as_deref())?;
    let squall = squall.canonicalize().context("the program to be killed")?;
    let whole = whole_run(&squall)?;
    shell::say(&format!("a whole run: {} events in {:.2} s", whole.events, whole.took));
    let points = points(args, &whole);
    let outcomes = all(&squall, &points, args.jobs.max(1))?;
    shell::say(&table(&outcomes));
    let left: Vec<_> = outcomes.iter().filter(|outcome| !outcome.residue.is_empty()).collect();
    for outcome in &left {
        shell::say(&format!("point {} {:?}, {:?}:", outcome.point.number, outcome.point.mode, outcome.point.moment));
        outcome.residue.iter().for_each(|one| shell::say(&format!("    {one}")));
    }
    if !left.is_empty() {
        bail!("residue at {} of {} points", left.len(), outcomes.len());
    }
    Ok(())
}

/// A run that nobody kills.
struct Whole {
    events: u64,
    took: f64,
}

/// Runs once to the end: what the points are spread over, and the proof that every fault works and leaves nothing by itself.
fn whole_run(squall: &Path) -> Result<Whole> {
    let stage = Stage::new(squall, 0)?;
    let begin = shell::now();
    let output = stage.run(None)?.wait_to_the_end()?;
    let took = shell::now() - begin;
    if !output.status.success() {
        bail!("a run that nobody killed ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let residue = residue::wait(&stage);
    if !residue.left.is_empty() {
        bail!("a run that nobody killed left behind: {}", residue.left.join("; "));
    }
    stage.check_that_every_fault_came()?;
    Ok(Whole { events: stage.events()?, took })
}

fn points(args: &Args, whole: &Whole) -> Vec<Point> {
    let modes = [Mode::Watchdog, Mode::Both].into_iter().filter(|mode| args.only.is_none_or(|only| only == *mode));
    let mut points = Vec::new();
    for mode in modes {
        let by_event = args.points.div_ceil(2);
        for i in 0..args.points {
            let mut chance = Chance(args.seed ^ (i as u64) << 8 ^ mode as u64);
            let moment = if i < by_event {
                // Every event in turn where there are enough points, and spread evenly where not.
                let event =
                    if whole.events > by_event as u64 { i as u64 * whole.events / by_event as u64 } else { i as u64 % whole.events };
                Moment::Event(1 + event)
            } else {
                Moment::Time(Duration::from_secs_f64(whole.took * chance.share()))
            };
            let head_start = (mode == Mode::Both && i % 2 == 1).then(|| Duration::from_secs_f64(0.03 * chance.share().powi(2)));
            points.push(Point { number: points.len() + 1, mode, moment, head_start });
        }
    }
    points.retain(|point| args.point.is_none_or(|only| only == point.number));
    points
}

/// Numbers by chance: `SplitMix64` (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Does all points, some at a time.
fn all(squall: &Path, points: &[Point], jobs: usize) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = once(squall, *point).with_context(|| format!("{point:?}"))?;
                let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                outcomes.push(outcome);
                if outcomes.len() % 25 == 0 {
                    let left = outcomes.iter().filter(|outcome: &&Outcome| !outcome.residue.is_empty()).count();
                    shell::say(&format!("{} of {} points, residue at {left}", outcomes.len(), points.len()));
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })?;
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| outcome.point.number);
    Ok(outcomes)
}

fn once(squall: &Path, point: Point) -> Result<Outcome> {
    let stage = Stage::new(squall, point.number)?;
    let halt = match point.moment {
        Moment::Event(count) => Some(count),
        Moment::Time(_) => None,
    };
    let mut engine = stage.run(halt)?;
    let Killed { over, open } = match point.mode {
        Mode::Watchdog => engine.kill(point.moment)?,
        Mode::Both => engine.kill_with_watchdog(point.moment, point.head_start)?,
    };
    let begin = shell::now();
    if point.mode == Mode::Both {
        stage.recover()?;
    }
    let residue = residue::wait_from(&stage, begin);
    Ok(Outcome { point, took: residue.after, over, open, residue: residue.left })
}

fn table(outcomes: &[Outcome]) -> String {
    let mut groups: BTreeMap<(Mode, &str), Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        let moment = match outcome.point.moment {
            Moment::Event(_) => "after an event",
            Moment::Time(_) => "at a random time",
        };
        groups.entry((outcome.point.mode, moment)).or_default().push(outcome);
    }
    let mut table = String::from(
        "| killed | moment | points | with faults in force | after the end | put back: p50 ms | p99 ms | max ms | residue |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for ((mode, moment), group) in groups {
        let mut times: Vec<f64> = group.iter().map(|outcome| outcome.took * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let count = |test: fn(&&&Outcome) -> bool| group.iter().filter(test).count();
        let killed = match mode {
            Mode::Watchdog => "engine",
            Mode::Both => "engine and watchdog",
        };
        let _ = writeln!(
            table,
            "| {killed} | {moment} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {} |",
            group.len(),
            count(|outcome| outcome.open > 0),
            count(|outcome| outcome.over),
            shell::quantile(&times, 0.5),
            shell::quantile(&times, 0.99),
            shell::quantile(&times, 1.0),
            count(|outcome| !outcome.residue.is_empty()),
        );
    }
    table
}
