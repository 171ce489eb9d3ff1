//! Time that no fault can skew.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The clock that all deadlines and cadences use: `CLOCK_BOOTTIME` in production, a fake one in tests.
pub trait Clock: Send + Sync + 'static {
    /// Time since an arbitrary start (boot, in production). Never goes back.
    fn now(&self) -> Duration;

    /// Returns when `now() >= deadline`.
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()>;

    /// The wall clock for people, RFC 3339 in UTC. Never used to time anything.
    fn wall(&self) -> String;
}
