//! Holding memory: so much, what is missing to a total, growing at a rate, or in spikes.

use std::io::{PipeReader, PipeWriter};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_model::Bytes;
use squall_sys::cpu_time::{monotonic, sleep_until_monotonic};
use squall_sys::memory::{Hoard, HostMemory};

use super::say;

/// How much memory to hold, as a function of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Shape {
    /// So many bytes from the start.
    Hold {
        /// Bytes.
        size: u64,
    },
    /// What is missing until the host has so many bytes in use in all.
    Bring {
        /// Bytes in use (`MemTotal - MemAvailable`).
        used: u64,
    },
    /// More and more.
    Leak {
        /// Bytes a second.
        rate: u64,
        /// Bytes, where the growth ends.
        limit: Option<u64>,
    },
    /// Up, hold, and gone again.
    Spike {
        /// Bytes at the top.
        size: u64,
        /// Time to get there.
        rise: Duration,
        /// Time at the top; `None` until the end.
        hold: Option<Duration>,
        /// From the start of one to the start of the next; `None` for one alone.
        every: Option<Duration>,
    },
}

/// Memory to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryJob {
    /// How much and when.
    pub shape: Shape,
    /// Bytes of the host's `MemAvailable` that growth always leaves.
    pub leave_free: u64,
}

/// Between two looks at what should be held. At 100 MiB/s a step is 2 MiB.
const TICK: Duration = Duration::from_millis(20);
/// The most to add before looking again at what the host has left.
const STEP: u64 = 64 << 20;
/// How often unlocked pages are written, so that the kernel does not take them for idle ones.
const TOUCH: Duration = Duration::from_secs(5);
/// The host's use moves by this much all the time: not worth following.
const DEAD_BAND: u64 = 2 << 20;

impl Shape {
    /// What should be held after `at` since the start, given what is held and what the host has in use.
    fn wanted(&self, at: Duration, held: u64, host: HostMemory) -> u64 {
        match *self {
            Self::Hold { size } => size,
            Self::Bring { used } => {
                let wanted = (held + used).saturating_sub(host.used());
                if wanted.abs_diff(held) < DEAD_BAND { held } else { wanted }
            }
            Self::Leak { rate, limit } => part(rate, at.as_secs_f64()).min(limit.unwrap_or(u64::MAX)),
            Self::Spike { size, rise, hold, every } => {
                let at = every.map_or(at, |every| remainder(at, every));
                if at < rise {
                    part(size, at.as_secs_f64() / rise.as_secs_f64())
                } else if hold.is_none_or(|hold| at < rise + hold) {
                    size
                } else {
                    0
                }
            }
        }
    }

    /// The most that can ever be held.
    fn most(&self, host: HostMemory) -> u64 {
        match *self {
            Self::Hold { size } | Self::Spike { size, .. } => size,
            Self::Bring { used } => used,
            Self::Leak { limit, .. } => limit.unwrap_or(host.total),
        }
    }

    /// Whether the load is in force only once the first amount is held in full.
    const fn must_be_met(&self) -> bool {
        matches!(self, Self::Hold { .. } | Self::Bring { .. } | Self::Spike { rise: Duration::ZERO, .. })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an amount of memory; saturation is right")]
fn part(of: u64, factor: f64) -> u64 {
    (of as f64 * factor) as u64
}

fn remainder(at: Duration, every: Duration) -> Duration {
    Duration::from_secs_f64(at.as_secs_f64() % every.as_secs_f64().max(TICK.as_secs_f64()))
}

/// Starts the thread that holds the memory. What is returned is closed when it fails.
pub(super) fn start(job: MemoryJob) -> Result<PipeReader, String> {
    let (alive, ours) = std::io::pipe().map_err(|e| format!("pipe: {e}"))?;
    let host = HostMemory::read().map_err(|e| e.to_string())?;
    let most = job.shape.most(host);
    let hoard = Hoard::reserve(most).map_err(|e| format!("{} cannot be reserved: {e}", Bytes(most)))?;
    let work = move || {
        let _closed_at_the_end: PipeWriter = ours;
        if let Err(error) = hold(&job, hoard) {
            say(&format!("error: {error}"));
        }
    };
    std::thread::Builder::new().name("memory".into()).spawn(work).map_err(|e| format!("a thread: {e}"))?;
    Ok(alive)
}

/// Ends only with an error.
fn hold(job: &MemoryJob, mut hoard: Hoard) -> Result<(), String> {
    let start = monotonic();
    let (mut next, mut touched, mut ready) = (start, start, false);
    loop {
        let now = monotonic();
        let host = HostMemory::read().map_err(|e| e.to_string())?;
        let wanted = job.shape.wanted(now.saturating_sub(start), hoard.len(), host);
        let held = follow(&mut hoard, wanted, job.leave_free).map_err(|e| e.to_string())?;
        if !ready {
            if job.shape.must_be_met() && held + DEAD_BAND < wanted {
                let (held, wanted, left) = (Bytes(held), Bytes(wanted), Bytes(job.leave_free));
                return Err(format!("only {held} of {wanted} could be had while {left} stays free"));
            }
            say("ready");
            ready = true;
        }
        if !hoard.locked() && now >= touched + TOUCH {
            hoard.touch();
            touched = now;
        }
        next = (next + TICK).max(now);
        sleep_until_monotonic(next);
    }
}

/// Holds what is wanted, or as much of it as leaves the margin. Gives what is held.
fn follow(hoard: &mut Hoard, wanted: u64, leave_free: u64) -> std::io::Result<u64> {
    if wanted < hoard.len() {
        return hoard.resize(wanted);
    }
    while hoard.len() < wanted {
        let room = HostMemory::read()?.available.saturating_sub(leave_free);
        let step = (wanted - hoard.len()).min(STEP).min(room);
        let before = hoard.len();
        // A step of less than a page, or none: the rest comes with a later tick, or never.
        if step == 0 || hoard.resize(before + step)? == before {
            break;
        }
    }
    Ok(hoard.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const HOST: HostMemory = HostMemory { total: 1000 * MIB, available: 600 * MIB };

    fn wanted(shape: &Shape, millis: u64) -> u64 {
        shape.wanted(Duration::from_millis(millis), 0, HOST) / MIB
    }

    #[test]
    fn a_leak_grows_at_its_rate_up_to_its_limit() {
        let shape = Shape::Leak { rate: 10 * MIB, limit: Some(25 * MIB) };
        assert_eq!([0, 500, 2000, 9000].map(|at| wanted(&shape, at)), [0, 5, 20, 25]);
    }

    #[test]
    fn a_spike_rises_holds_falls_and_comes_again() {
        let seconds = Duration::from_secs;
        let shape = Shape::Spike { size: 100 * MIB, rise: seconds(2), hold: Some(seconds(1)), every: Some(seconds(10)) };
        assert_eq!([0, 1000, 2000, 2999, 3001, 9999, 11_000].map(|at| wanted(&shape, at)), [0, 50, 100, 100, 0, 0, 50]);
        let once = Shape::Spike { size: 100 * MIB, rise: Duration::ZERO, hold: None, every: None };
        assert_eq!([0, 100_000].map(|at| wanted(&once, at)), [100, 100]);
    }

    #[test]
    fn bringing_the_host_to_a_total_adds_what_is_missing_and_gives_way_to_others() {
        let shape = Shape::Bring { used: 500 * MIB };
        assert_eq!(wanted(&shape, 0), 100, "400 are in use");
        let of_which_ours =
            |available: u64, held: u64| shape.wanted(Duration::ZERO, held * MIB, HostMemory { available: available * MIB, ..HOST });
        assert_eq!(of_which_ours(450, 100) / MIB, 50, "others took 50 more");
        assert_eq!(of_which_ours(501, 100) / MIB, 100, "not worth following");
        assert_eq!(of_which_ours(100, 0), 0, "others alone are above it");
    }
}
