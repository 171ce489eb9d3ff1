//! Time that nobody can set.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since boot, suspended time included: `CLOCK_BOOTTIME` (`clock_gettime(2)`).
pub(crate) fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The same in whole nanoseconds, which last 584 years.
pub(crate) fn nanos() -> u64 {
    u64::try_from(boottime().as_nanos()).unwrap_or(u64::MAX)
}
