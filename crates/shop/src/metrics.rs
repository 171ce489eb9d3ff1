//! `/metrics` in the Prometheus text format: requests by status, and how long they took.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What a service counts.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_status: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
    in_flight: u64,
}

impl Metrics {
    /// A request has come.
    pub fn begin(&self) {
        self.lock().in_flight += 1;
    }

    /// A request is answered, or (without a status) its caller went away.
    pub fn end(&self, status: Option<u16>, took: Duration) {
        let mut counts = self.lock();
        counts.in_flight = counts.in_flight.saturating_sub(1);
        let Some(status) = status else { return };
        *counts.by_status.entry(status).or_default() += 1;
        let seconds = took.as_secs_f64();
        for (bound, bucket) in BUCKETS.iter().zip(&mut counts.buckets) {
            *bucket += u64::from(seconds <= *bound);
        }
        counts.sum += seconds;
        counts.count += 1;
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        let counts = self.lock();
        let mut out = String::from("# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n");
        for (status, count) in &counts.by_status {
            let _ = writeln!(out, "http_requests_total{{status=\"{status}\"}} {count}");
        }
        out.push_str("# HELP http_requests_in_flight Requests under way.\n# TYPE http_requests_in_flight gauge\n");
        let _ = writeln!(out, "http_requests_in_flight {}", counts.in_flight);
        out.push_str("# HELP http_request_duration_seconds Time to answer.\n# TYPE http_request_duration_seconds histogram\n");
        for (bound, bucket) in BUCKETS.iter().zip(&counts.buckets) {
            let _ = writeln!(out, "http_request_duration_seconds_bucket{{le=\"{bound}\"}} {bucket}");
        }
        let _ = writeln!(out, "http_request_duration_seconds_bucket{{le=\"+Inf\"}} {}", counts.count);
        let _ = writeln!(out, "http_request_duration_seconds_sum {}", counts.sum);
        let _ = writeln!(out, "http_request_duration_seconds_count {}", counts.count);
        out
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_counts_by_status_and_fills_cumulative_buckets() {
        let metrics = Metrics::default();
        for (status, millis) in [(200, 2), (200, 30), (503, 2000)] {
            metrics.begin();
            metrics.end(Some(status), Duration::from_millis(millis));
        }
        metrics.begin();
        metrics.end(None, Duration::ZERO);
        let text = metrics.text();
        for line in [
            "http_requests_total{status=\"200\"} 2",
            "http_requests_total{status=\"503\"} 1",
            "http_requests_in_flight 0",
            "http_request_duration_seconds_bucket{le=\"0.0025\"} 1",
            "http_request_duration_seconds_bucket{le=\"0.05\"} 2",
            "http_request_duration_seconds_bucket{le=\"5\"} 3",
            "http_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "http_request_duration_seconds_count 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
