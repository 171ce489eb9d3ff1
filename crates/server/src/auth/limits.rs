//! How often somebody may try: requests without a credential, and passwords.
//!
//! Both are kept in this server's memory: a table of another server would be one more thing that an attacker can make it write.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most entries of a table. Above, those that tell least are forgotten.
const MOST: usize = 50_000;

/// A bucket of requests for each address.
#[derive(Debug)]
pub(crate) struct Anonymous {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Duration,
}

impl Anonymous {
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)), burst: f64::from(burst.max(1)), buckets: Mutex::default() }
    }

    /// Takes one request; where there is none left, how long until there is.
    pub fn take(&self, address: &str, now: Duration) -> Result<(), Duration> {
        let mut buckets = lock(&self.buckets);
        if buckets.len() >= MOST && !buckets.contains_key(address) {
            let full = Duration::from_secs_f64(self.burst / self.per_second);
            buckets.retain(|_, bucket| now.saturating_sub(bucket.at) < full);
            if buckets.len() >= MOST {
                // More addresses at a time than can be told apart: let none of them in anew.
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(address.to_owned()).or_insert(Bucket { left: self.burst, at: now });
        bucket.left = (bucket.left + now.saturating_sub(bucket.at).as_secs_f64() * self.per_second).min(self.burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

/// Failed logins: by user and address, by address, and by user.
///
/// The first few are free; then each failure doubles the time until the next try, from one second to a limit. A name that no
/// user has is treated like any other, so that nothing can be learnt from it. The limit for a user over all addresses is short:
/// it slows guessing from many addresses without letting anybody lock a user out.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<String, Failed>>);

#[derive(Debug, Clone, Copy)]
struct Failed {
    count: u32,
    until: Duration,
    last: Duration,
}

struct Rule {
    key: String,
    free: u32,
    longest: Duration,
}

/// After so long without a failure nothing is remembered.
const FORGOTTEN: Duration = Duration::from_hours(1);

fn rules(user: &str, address: &str) -> [Rule; 3] {
    [
        Rule { key: format!("both {address} {user}"), free: 5, longest: Duration::from_mins(15) },
        Rule { key: format!("address {address}"), free: 20, longest: Duration::from_mins(15) },
        Rule { key: format!("user {user}"), free: 50, longest: Duration::from_mins(1) },
    ]
}

impl Failures {
    /// How long until the next try is allowed; zero: now.
    pub fn wait(&self, user: &str, address: &str, now: Duration) -> Duration {
        let table = lock(&self.0);
        let left = |rule: &Rule| table.get(&rule.key).map_or(Duration::ZERO, |failed| failed.until.saturating_sub(now));
        rules(user, address).iter().map(left).max().unwrap_or_default()
    }

    /// Counts a try as failed. Called before the password is looked at, so that tries at the same time count too, and taken
    /// back by [`succeeded`](Self::succeeded).
    pub fn failed(&self, user: &str, address: &str, now: Duration) {
        let mut table = lock(&self.0);
        if table.len() + 3 > MOST {
            table.retain(|_, failed| now.saturating_sub(failed.last) < FORGOTTEN);
            if table.len() + 3 > MOST {
                // Those with few failures are the ones that a flood of names made.
                table.retain(|_, failed| failed.count > 5);
            }
        }
        for rule in rules(user, address) {
            let failed = table.entry(rule.key).or_insert(Failed { count: 0, until: now, last: now });
            if now.saturating_sub(failed.last) >= FORGOTTEN {
                failed.count = 0;
            }
            failed.count = failed.count.saturating_add(1);
            failed.last = now;
            if failed.count >= rule.free {
                let doubled = Duration::from_secs(1 << (failed.count - rule.free).min(12));
                failed.until = now + doubled.min(rule.longest);
            }
        }
    }

    /// Forgets the user's failures from this address, and takes back the one that was counted for the others.
    pub fn succeeded(&self, user: &str, address: &str) {
        let mut table = lock(&self.0);
        let [both, by_address, by_user] = rules(user, address);
        table.remove(&both.key);
        for rule in [by_address, by_user] {
            if let Some(failed) = table.get_mut(&rule.key) {
                failed.count = failed.count.saturating_sub(1);
                failed.until = failed.last;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_is_empty_after_its_burst_and_fills_with_time() {
        let anonymous = Anonymous::new(2, 3);
        let taken = |now| anonymous.take("a", now);
        assert!((0..3).all(|_| taken(SECOND).is_ok()));
        assert_eq!(taken(SECOND), Err(Duration::from_millis(500)));
        assert_eq!(anonymous.take("b", SECOND), Ok(()), "another address has its own");
        assert_eq!(taken(SECOND + Duration::from_millis(500)), Ok(()));
        assert!(taken(SECOND + Duration::from_millis(500)).is_err());
    }

    #[test]
    fn waits_double_with_each_failure_up_to_a_limit_and_end_with_success() {
        let failures = Failures::default();
        let mut now = SECOND;
        let mut waits = Vec::new();
        for _ in 0..17 {
            failures.failed("ada", "192.0.2.1", now);
            let wait = failures.wait("ada", "192.0.2.1", now);
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        failures.failed("ada", "192.0.2.1", now);
        assert_eq!(failures.wait("ada", "192.0.2.2", now), Duration::ZERO, "from elsewhere she is not locked out");
        failures.succeeded("ada", "192.0.2.1");
        assert_eq!(failures.wait("ada", "192.0.2.1", now), Duration::ZERO);
    }

    #[test]
    fn one_address_that_tries_many_users_and_many_addresses_that_try_one_are_slowed_too() {
        let failures = Failures::default();
        (0..40).for_each(|n| failures.failed(&format!("user{n}"), "192.0.2.1", SECOND));
        assert!(failures.wait("fresh", "192.0.2.1", SECOND) >= Duration::from_mins(10));
        (0..200).for_each(|n| failures.failed("ada", &format!("198.51.100.{n}"), SECOND));
        assert_eq!(
            failures.wait("ada", "203.0.113.1", SECOND),
            Duration::from_mins(1),
            "no longer than a minute, or anybody could lock her out"
        );
    }

    #[test]
    fn the_tables_do_not_grow_without_end() {
        let (failures, anonymous) = (Failures::default(), Anonymous::new(1, 5));
        (0..60_000).for_each(|n| {
            failures.failed(&format!("user{n}"), &format!("address{n}"), SECOND);
            let _ = anonymous.take(&format!("address{n}"), SECOND);
        });
        assert!(lock(&failures.0).len() <= MOST);
        assert!(lock(&anonymous.buckets).len() <= MOST);
    }
}
