//! Burning CPU time at an exact share: one thread a core, pinned, each in a closed loop on its own CPU clock.

use std::io::{PipeReader, PipeWriter, Write};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_sys::cpu_time::{CoreUsage, monotonic, pin_this_thread, sleep_until_monotonic, this_thread};

use super::pace::{Pace, Period};
use super::say;

/// What a share is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Meaning {
    /// What the fault uses by itself, whatever others use.
    #[default]
    Own,
    /// What the whole host uses in the end: the fault adds only what the others leave missing.
    Host,
}

/// CPU time to burn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuJob {
    /// Of each core, 0 to 100.
    pub percent: f64,
    /// The cores, by number.
    pub cores: Vec<usize>,
    /// Of what.
    pub meaning: Meaning,
    /// Draws the lengths of periods.
    pub seed: u64,
}

/// How long to compute between two looks at the clock: 20 µs is 0.2% of a period.
const GRAIN: Duration = Duration::from_micros(20);

/// Starts the threads. What is returned becomes readable when one of them fails.
pub(super) fn start(job: &CpuJob) -> Result<PipeReader, String> {
    let (alive, ours) = std::io::pipe().map_err(|e| format!("pipe: {e}"))?;
    let ours = Arc::new(ours);
    let (told, pinned) = channel();
    for core in &job.cores {
        let (core, share, meaning, told) = (*core, job.percent / 100.0, job.meaning, told.clone());
        let seed = job.seed ^ (core as u64).wrapping_mul(0xa076_1d64_78bd_642f);
        let ours = Arc::clone(&ours);
        let work = move || {
            let ready = prepare(core, meaning);
            let usage = match ready {
                Ok(usage) => usage,
                Err(error) => return drop(told.send(Err(error))),
            };
            let _ = told.send(Ok(()));
            drop(told);
            burn_forever(&mut Pace::new(share, seed), core, usage, &ours);
        };
        std::thread::Builder::new().name(format!("core-{core}")).spawn(work).map_err(|e| format!("a thread for core {core}: {e}"))?;
    }
    drop(told);
    for _ in &job.cores {
        pinned.recv().map_err(|_| "a thread ended early".to_owned())??;
    }
    say("ready");
    Ok(alive)
}

fn prepare(core: usize, meaning: Meaning) -> Result<Option<CoreUsage>, String> {
    pin_this_thread(core).map_err(|e| format!("core {core} cannot be used: {e}"))?;
    // The default slack would add up to 50 µs to each sleep.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    match meaning {
        Meaning::Own => Ok(None),
        Meaning::Host => CoreUsage::open().map(Some).map_err(|e| format!("the host's use of CPU cannot be read: {e}")),
    }
}

/// Ends only if the use of the core can no longer be read.
fn burn_forever(pace: &mut Pace, core: usize, mut usage: Option<CoreUsage>, mut ours: &PipeWriter) {
    loop {
        // The thread's own clock first: asking for it makes the kernel charge this thread, also in the core's total.
        let own = this_thread();
        let counted = match &mut usage {
            None => own,
            Some(usage) => match usage.busy(core) {
                Ok(busy) => busy,
                Err(error) => {
                    say(&format!("error: {error}"));
                    // Wakes the main thread, which ends the process; one that is gone needs no waking.
                    return drop(ours.write_all(b"!"));
                }
            },
        };
        let Period { burn, end } = pace.next(monotonic().as_secs_f64(), counted.as_secs_f64());
        let end = Duration::from_secs_f64(end);
        if burn > 0.0 {
            burn_until(own + Duration::from_secs_f64(burn), end);
        }
        // In debt, the period has ended by now, and this returns at once.
        sleep_until_monotonic(end);
    }
}

/// Computes until the thread has used so much CPU time, or the time is over.
fn burn_until(used: Duration, end: Duration) {
    let mut number = 1_u64;
    while this_thread() < used {
        let start = monotonic();
        if start >= end {
            break;
        }
        while monotonic() < start + GRAIN {
            for _ in 0..64 {
                number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
    }
}
