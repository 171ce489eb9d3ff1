//! The stressor: a child of Squall that carries a load on CPU or memory, so that the load cannot outlive it.
//!
//! It is the same binary, as the hidden subcommand `squall stressor`. It ends when killed by its marker (revert), when the
//! thread that started it ends (`PR_SET_PDEATHSIG`), when the pipe on its standard input closes, and at its deadline on
//! `CLOCK_BOOTTIME` even if nobody is left to end it. It offers itself to the OOM killer first, and lives in a session of its
//! own, so that a Ctrl-C at the terminal reaches Squall alone.
//!
//! It speaks one line: `ready` once the load is in force, or `error: …`. It begins when it reads `go`, so that its parent can
//! move it to the target's cgroups before it uses anything.

mod cpu;
mod launcher;
mod memory;
mod order;
mod pace;
mod pipe;
mod place;

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

pub use cpu::{CpuJob, Meaning};
pub use launcher::{Carried, Launcher};
pub(crate) use launcher::{blocking, deadline_of, killed, reverted};
pub use memory::{MemoryJob, Shape};
pub use order::{Job, Order};
pub(crate) use place::{TargetProcess, claim};

use crate::{dns, network};

use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};

/// Runs a stressor to its end: what `squall stressor` does. `args` are those after the word `stressor`.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Order::parse(args).and_then(|order| obey(&order)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells the parent. One that is gone needs no telling, and ends this process by other ways.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn obey(order: &Order) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| format!("PR_SET_PDEATHSIG: {e}"))?;
    // A parent that died before the line above sends no signal.
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent != order.parent {
        return Err(format!("its parent is {parent}, not {}", order.parent));
    }
    // Refused where this is already the leader of a group, which is as good.
    let _ = setsid();
    let _ = rustix::thread::set_name(c"squall-stressor");
    squall_sys::memory::offer_to_oom_killer().map_err(|e| format!("/proc/self/oom_score_adj cannot be written: {e}"))?;
    let Some(armed) = pipe::wait_for_go(order.deadline)? else { return Ok(()) };
    let alive = match &order.job {
        Job::Cpu(job) => cpu::start(job)?,
        Job::Memory(job) => memory::start(job.clone())?,
        Job::Dns(job) => dns::carrier::start(armed, &order.marker, job)?,
        Job::Network(job) => {
            let carrier = network::carrier::start(armed, &order.marker, job)?;
            pipe::wait_for_end(order.deadline, &[carrier.alive.as_fd(), carrier.asked.as_fd()])?;
            carrier.end();
            return Ok(());
        }
    };
    pipe::wait_for_end(order.deadline, &[alive.as_fd()])
}
