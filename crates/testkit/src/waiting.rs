//! Waiting for real things: for a condition, with an end.

use std::time::Duration;

use squall_undo::boottime;

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds.
/// Fails if that takes longer than 20 seconds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_ok(what, || if condition() { Ok(()) } else { Err("not so".to_owned()) });
}

/// Waits until the check passes.
/// Fails with what it said last if that takes longer than 20 seconds.
pub fn eventually_ok(what: &str, mut check: impl FnMut() -> Result<(), String>) {
    let end = boottime() + PATIENCE;
    while let Err(why) = check() {
        assert!(boottime() < end, "{what}: {why} after {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the check passes, while other tasks of the same thread go on. Fails with what it said last if that takes longer
/// than 20 seconds.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks at a real thing, with a deadline on CLOCK_BOOTTIME")]
pub async fn in_time(what: &str, check: impl Fn() -> Result<(), String>) {
    let end = boottime() + PATIENCE;
    while let Err(why) = check() {
        assert!(boottime() < end, "{what}: {why} after {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
