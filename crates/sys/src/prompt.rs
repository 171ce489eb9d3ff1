//! Being woken at once: for threads whose lateness is what others measure.

use std::io;
use std::num::NonZeroU64;

use rustix::process::{Pid, setpriority_process};
use rustix::thread::{gettid, set_current_timer_slack};

/// What a thread was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promptness {
    /// `SCHED_FIFO` at priority 1: before every ordinary thread, after every other real-time one.
    RealTime,
    /// A nice value of -20: more than its share, but it waits for the end of others' slices.
    Nice,
    /// As any other thread.
    Ordinary,
}

/// Makes the calling thread as prompt as this host allows, with timers exact to the nanosecond (`PR_SET_TIMERSLACK`).
///
/// `SCHED_FIFO`, because a thread that wakes a thousand times a second for some microseconds each needs the core at once and not
/// more of it: under load an ordinary thread, however nice, waits for up to a slice (3 to 10 ms) of whoever runs. Refused
/// without `CAP_SYS_NICE`, and in a control group whose `cpu.rt_runtime_us` is zero. The kernel leaves the others 5% of the
/// time in any case (`sched_rt_runtime_us`, or the fair server). Children of the thread are ordinary again.
pub fn be_prompt() -> Promptness {
    // A kernel that has no timer slack to set has none to get rid of.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    if real_time().is_ok() {
        return Promptness::RealTime;
    }
    let thread = Pid::from_raw(gettid().as_raw_nonzero().get());
    if setpriority_process(thread, -20).is_ok() { Promptness::Nice } else { Promptness::Ordinary }
}

fn real_time() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` is a whole `struct sched_param` that the call reads; 0 is the calling thread. rustix has no call for it.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const priority) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_becomes_as_prompt_as_it_may() {
        let got = std::thread::spawn(|| (be_prompt(), rustix::thread::current_timer_slack().expect("slack"))).join().expect("thread");
        // SAFETY: no arguments but numbers; asks about this thread, which was not touched.
        assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_OTHER);
        if rustix::process::geteuid().is_root() {
            assert_ne!(got.0, Promptness::Ordinary);
        }
        // A real-time thread has no slack at all, and is told zero.
        assert!(got.1 <= 1, "{got:?}");
    }
}
