//! The shop's own time: how long its services pretend to work, and how long requests took.

use std::time::Duration;

/// Time since boot, for durations.
pub fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Imitates work: takes `base` and up to half of it more, spread by the number of the request.
#[expect(clippy::disallowed_methods, reason = "the services imitate work that takes time; no test and no deadline hangs on it")]
pub async fn work(base: Duration, number: u64) {
    // Knuth's multiplicative hash: near requests get different times, and the same ones in every run.
    let spread = (number.wrapping_mul(2_654_435_761) >> 16) % 100;
    tokio::time::sleep(base + base * u32::try_from(spread).unwrap_or(0) / 200).await;
}
