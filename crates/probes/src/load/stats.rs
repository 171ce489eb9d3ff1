//! What was seen: slices of 100 ms, requests under way, and all in all.
//!
//! **Which latencies count.** Those of answers of any status, and those of requests that timed out (with the time that they
//! waited: the least it would have been). A request that failed at once (refused, reset, no name) got no answer, so it has
//! no latency; it is in the error rate, and cannot make percentiles look better.
//!
//! **Requests under way** count when they are already older than the quantile of those that have ended, each with its age:
//! the least that it can become. So a server that stops answering shows in p99 while it stalls, not after.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};
use squall_model::{LatencySummary, Measure, Time, TrafficSummary};

/// How far back a reading can look.
pub const LONGEST_WINDOW: Time = Time::from_secs(60);

const SLICE: u64 = 100_000;
const SLICES_KEPT: usize = 600;
/// Slices keep two significant digits (a value is off by less than 0.8%), the sum of all keeps three.
const SLICE_DIGITS: u8 = 2;
const TOTAL_DIGITS: u8 = 3;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// No complete answer within the timeout.
    Timeout,
    /// No connection.
    Connect,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was complete.
    Closed,
    /// No TLS session.
    Tls,
    /// The name did not resolve.
    Dns,
    /// This generator was at its limit: requests under way, descriptors or local ports.
    Overload,
    /// The answer was not HTTP.
    Protocol,
    /// An answer with a status that does not count as success.
    Status(u16),
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Overload => "overload",
            Self::Protocol => "protocol",
            Self::Status(status) => return write!(f, "status {status}"),
        })
    }
}

#[derive(Debug)]
struct Slice {
    /// Number since the start of the traffic.
    index: u64,
    succeeded: u64,
    failed: u64,
    latency: Histogram<u32>,
}

/// What was seen of one traffic. Times are microseconds since the start of the traffic.
#[derive(Debug)]
pub(crate) struct Stats {
    slices: VecDeque<Slice>,
    /// Scheduled times of requests under way, by slot; `u64::MAX` where free.
    under_way: Vec<u64>,
    free: Vec<u32>,
    total: Histogram<u64>,
    /// How long after it was due each request was started.
    lateness: Histogram<u32>,
    due: u64,
    failed: u64,
    errors: BTreeMap<Class, u64>,
    /// When the generator was done with the last arrival.
    until: u64,
}

fn histogram<C: Counter>(digits: u8) -> Histogram<C> {
    let mut histogram = Histogram::new_with_bounds(1, 2_000, digits).unwrap_or_else(|_| unreachable!("constant bounds are good"));
    histogram.auto(true);
    histogram
}

/// Counts one latency; the histogram grows for it.
fn record<C: Counter>(histogram: &mut Histogram<C>, latency: u64) {
    // It can grow to any value, so this does not fail; `saturating_record` would not let it grow.
    let _ = histogram.record(latency);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            slices: VecDeque::new(),
            under_way: Vec::new(),
            free: Vec::new(),
            total: histogram(TOTAL_DIGITS),
            lateness: histogram(SLICE_DIGITS),
            due: 0,
            failed: 0,
            errors: BTreeMap::new(),
            until: 0,
        }
    }

    /// A request was due; gives its slot, or `None` when `limit` are under way: then it has failed.
    pub(crate) fn begin(&mut self, scheduled: Duration, now: Duration, limit: u32) -> Option<u32> {
        self.due += 1;
        self.until = self.until.max(micros(now));
        record(&mut self.lateness, micros(now.saturating_sub(scheduled)).max(1));
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else {
            let slot = u32::try_from(self.under_way.len()).unwrap_or(u32::MAX);
            if slot >= limit {
                self.fail(micros(now), Class::Overload);
                return None;
            }
            self.under_way.push(u64::MAX);
            slot
        };
        self.under_way[slot as usize] = micros(scheduled);
        Some(slot)
    }

    /// A request has ended.
    pub(crate) fn end(&mut self, slot: u32, now: Duration, failure: Option<Class>) {
        let now = micros(now);
        let scheduled = std::mem::replace(&mut self.under_way[slot as usize], u64::MAX);
        self.free.push(slot);
        let latency = now.saturating_sub(scheduled).max(1);
        if matches!(failure, None | Some(Class::Timeout | Class::Status(_))) {
            record(&mut self.total, latency);
            record(&mut self.slice(now).latency, latency);
        }
        match failure {
            Some(class) => self.fail(now, class),
            None => self.slice(now).succeeded += 1,
        }
    }

    pub(crate) fn has_under_way(&self) -> bool {
        self.free.len() < self.under_way.len()
    }

    fn fail(&mut self, now: u64, class: Class) {
        self.failed += 1;
        *self.errors.entry(class).or_default() += 1;
        self.slice(now).failed += 1;
    }

    fn slice(&mut self, now: u64) -> &mut Slice {
        let index = now / SLICE;
        if self.slices.back().is_none_or(|last| last.index < index) {
            // The oldest slice gives its memory to the newest.
            let latency = match self.slices.front() {
                Some(_) if self.slices.len() >= SLICES_KEPT => self.slices.pop_front().map_or_else(
                    || histogram(SLICE_DIGITS),
                    |mut old| {
                        old.latency.reset();
                        old.latency
                    },
                ),
                _ => histogram(SLICE_DIGITS),
            };
            self.slices.push_back(Slice { index, succeeded: 0, failed: 0, latency });
        }
        // There is always one now; times only go forward, so it is the one.
        let last = self.slices.len() - 1;
        &mut self.slices[last]
    }

    /// One measure over the last `window`, to the slice. An error says why it cannot be measured.
    pub(crate) fn read(&self, measure: Measure, window: Time, now: Duration) -> Result<f64, String> {
        let now = micros(now);
        let first = if micros(window.std()) >= now { 0 } else { (now - micros(window.std())).div_ceil(SLICE) };
        let mut merged = histogram::<u32>(SLICE_DIGITS);
        let (mut succeeded, mut failed) = (0, 0);
        for slice in self.slices.iter().rev().take_while(|slice| slice.index >= first) {
            succeeded += slice.succeeded;
            failed += slice.failed;
            if merged.add(&slice.latency).is_err() {
                return Err("latencies do not fit into the histogram".into());
            }
        }
        let ages = self.ages(now);
        if succeeded + failed == 0 && ages.is_empty() {
            return Err(format!("no request was due in the last {window}"));
        }
        let seconds = now.saturating_sub(first * SLICE).max(1) as f64 / 1e6;
        match measure {
            Measure::Throughput => Ok(succeeded as f64 / seconds),
            Measure::ErrorRate => share(failed, succeeded + failed, ages.len(), window),
            Measure::Availability => share(succeeded, succeeded + failed, ages.len(), window),
            _ => latency(measure, merged, &ages).ok_or_else(|| format!("none of the {failed} requests of the last {window} got an answer")),
        }
    }

    fn ages(&self, now: u64) -> Vec<u64> {
        self.under_way.iter().filter(|scheduled| **scheduled <= now).map(|scheduled| (now - scheduled).max(1)).collect()
    }

    /// All in all, up to `now`. Requests still under way count in `requests`, in `errors` as `unfinished` (not in `failed`:
    /// nothing is known of them but their age) and, with the rule for readings, in the latencies.
    pub(crate) fn summary(&self, name: &str, now: Duration) -> TrafficSummary {
        let ages = self.ages(micros(now));
        let mut errors: BTreeMap<String, u64> = self.errors.iter().map(|(class, count)| (class.to_string(), *count)).collect();
        if !ages.is_empty() {
            errors.insert("unfinished".into(), ages.len() as u64);
        }
        let at = |measure| latency(measure, self.total.clone(), &ages).unwrap_or(0.0);
        TrafficSummary {
            name: name.to_owned(),
            requests: self.due,
            failed: self.failed,
            errors,
            rate: if self.until == 0 { 0.0 } else { self.due as f64 / (self.until as f64 / 1e6) },
            latency: LatencySummary {
                p50: at(Measure::P50),
                p90: at(Measure::P90),
                p95: at(Measure::P95),
                p99: at(Measure::P99),
                p999: at(Measure::P999),
                mean: at(Measure::Mean),
                max: at(Measure::Max),
            },
        }
    }

    /// How many requests took longer than that, of those that have ended.
    pub(crate) fn slower_than(&self, latency: Duration) -> u64 {
        self.total.len() - self.total.count_between(0, micros(latency))
    }

    /// The 99th percentile of how long after it was due a request was started: the generator's own share of each latency.
    pub(crate) fn lateness(&self) -> Duration {
        if self.lateness.is_empty() { Duration::ZERO } else { Duration::from_micros(self.lateness.value_at_quantile(0.99)) }
    }

    /// The traffic ends here: what the rate is over.
    pub(crate) fn stopped(&mut self, now: Duration) {
        self.until = micros(now);
    }
}

fn share(part: u64, of: u64, under_way: usize, window: Time) -> Result<f64, String> {
    if of == 0 { Err(format!("no request ended in the last {window}, {under_way} are under way")) } else { Ok(part as f64 / of as f64) }
}

/// A measure of latency in seconds, over those that have ended and those under way that are already older. `None` where
/// there is neither.
fn latency<C: Counter>(measure: Measure, mut ended: Histogram<C>, ages: &[u64]) -> Option<f64> {
    let of = |histogram: &Histogram<C>| {
        let quantile = |q: f64| {
            let value = histogram.value_at_quantile(q);
            // The middle of the histogram's bucket, not its upper end: the error has no direction.
            histogram.median_equivalent(value).min(histogram.max()) as f64
        };
        match measure {
            Measure::P50 => quantile(0.5),
            Measure::P90 => quantile(0.9),
            Measure::P95 => quantile(0.95),
            Measure::P99 => quantile(0.99),
            Measure::P999 => quantile(0.999),
            Measure::Max => histogram.max() as f64,
            _ => histogram.mean(),
        }
    };
    let candidate = if ended.is_empty() { 0.0 } else { of(&ended) };
    for age in ages.iter().filter(|age| **age as f64 > candidate) {
        record(&mut ended, *age);
    }
    (!ended.is_empty()).then(|| of(&ended) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn close(value: f64, wanted: f64) -> bool {
        (value / wanted - 1.0).abs() < 0.01
    }

    /// 100 requests a second from 0 to 5 s, each of which takes `took`.
    fn steady(took: Duration) -> Stats {
        let mut stats = Stats::new();
        for k in 0..500 {
            let due = ms(k * 10);
            let slot = stats.begin(due, due, 10).expect("room");
            stats.end(slot, due + took, None);
        }
        stats
    }

    #[test]
    fn measures_are_over_the_window() {
        let stats = steady(ms(3));
        let read = |measure| stats.read(measure, Time::from_secs(2), 5 * SECOND).expect("measured");
        assert!(close(read(Measure::P50), 0.003) && close(read(Measure::Max), 0.003) && close(read(Measure::Mean), 0.003));
        assert!(close(read(Measure::Throughput), 100.0), "{}", read(Measure::Throughput));
        assert!(read(Measure::ErrorRate).abs() < 1e-9 && close(read(Measure::Availability), 1.0));
        let later = stats.read(Measure::P99, Time::from_secs(2), 10 * SECOND).expect_err("nothing was due");
        assert_eq!(later, "no request was due in the last 2s");
    }

    #[test]
    fn a_stall_shows_while_it_lasts() {
        let mut stats = steady(ms(3));
        for k in 500..600 {
            stats.begin(ms(k * 10), ms(k * 10), 1000).expect("room");
        }
        // 100 of 600 requests are under way, the oldest for a second: p90 is among them, p50 is not.
        let read = |measure| stats.read(measure, Time::from_secs(10), 6 * SECOND).expect("measured");
        assert!(close(read(Measure::P50), 0.003));
        assert!(close(read(Measure::P90), 0.4) && close(read(Measure::P99), 0.94), "{} {}", read(Measure::P90), read(Measure::P99));
        assert!(close(read(Measure::Max), 1.0));
        // Within the last half second nothing has ended at all: then what is under way is all there is.
        let total = stats.read(Measure::P50, Time::from_millis(500), 6 * SECOND).expect("measured");
        assert!(close(total, 0.5), "{total}");
        let undecided = stats.read(Measure::ErrorRate, Time::from_millis(500), 6 * SECOND).expect_err("nothing ended");
        assert_eq!(undecided, "no request ended in the last 500ms, 100 are under way");
    }

    #[test]
    fn failures_without_an_answer_do_not_make_latency_look_better() {
        let mut stats = steady(ms(100));
        for _ in 0..5000 {
            let slot = stats.begin(7 * SECOND, 7 * SECOND, 10).expect("room");
            stats.end(slot, 7 * SECOND, Some(Class::Connect));
        }
        let read = |measure| stats.read(measure, Time::from_secs(10), 8 * SECOND);
        assert!(close(read(Measure::P50).expect("measured"), 0.1));
        assert!(close(read(Measure::ErrorRate).expect("measured"), 5000.0 / 5500.0));
        let only = stats.read(Measure::P50, Time::from_secs(2), 8 * SECOND).expect_err("only refusals");
        assert!(only.starts_with("none of the 5000 requests"), "{only}");
        let summary = stats.summary("a", 8 * SECOND);
        assert_eq!((summary.requests, summary.failed, summary.errors["connect"]), (5500, 5000, 5000));
    }

    #[test]
    fn a_request_beyond_the_limit_fails_with_overload() {
        let mut stats = Stats::new();
        let slot = stats.begin(SECOND, SECOND, 1).expect("room");
        assert_eq!(stats.begin(SECOND, SECOND, 1), None);
        stats.end(slot, 2 * SECOND, Some(Class::Timeout));
        assert!(stats.begin(2 * SECOND, 2 * SECOND, 1).is_some());
        let summary = stats.summary("a", 3 * SECOND);
        assert_eq!((summary.requests, summary.errors["overload"], summary.errors["unfinished"]), (3, 1, 1));
        assert!(close(summary.latency.max, 1.0), "{}", summary.latency.max);
    }

    #[test]
    fn a_latency_of_any_size_is_kept() {
        let stats = steady(Duration::from_secs(40));
        assert!(close(stats.summary("a", 60 * SECOND).latency.p99, 40.0));
        assert_eq!(stats.slower_than(30 * SECOND), 500);
        assert_eq!(stats.slower_than(41 * SECOND), 0);
    }

    #[test]
    fn slices_are_kept_for_the_longest_window_and_no_longer() {
        let mut stats = Stats::new();
        for k in 0..2000 {
            let slot = stats.begin(ms(k * 100), ms(k * 100), 10).expect("room");
            stats.end(slot, ms(k * 100 + 1), None);
        }
        assert_eq!(stats.slices.len(), SLICES_KEPT);
        let rate = stats.read(Measure::Throughput, LONGEST_WINDOW, 200 * SECOND).expect("measured");
        assert!(close(rate, 10.0), "{rate}");
    }
}
