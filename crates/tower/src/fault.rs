//! What a fault says, and what it does to one request.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::pattern::Pattern;

/// A fault as it is written to its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Setting {
    /// The format: [`Setting::VERSION`]. Another one is not obeyed.
    pub version: u32,
    /// Its name: letters, digits and `-`. Unique on the host.
    pub id: String,
    /// Services that it is for, `*` for all: a name in which `*` is anything.
    pub service: String,
    /// Paths of requests, such as `/cart` or `/api/*`; any, where there is none.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Methods of requests, such as `GET`; any, where there is none.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Points in the code ([`Faults::point`](crate::Faults::point)), such as `charge-card`. Where there are any, the fault is for
    /// these alone, and for no request.
    #[serde(default)]
    pub points: Vec<String>,
    /// How much longer it takes.
    #[serde(default)]
    pub latency: Option<Latency>,
    /// How often it fails. With a latency too, it fails after that time.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Decides by chance, the same way each time: the same seed fails the same requests, counted from the first.
    pub seed: u64,
    /// When it is over: nanoseconds of `CLOCK_BOOTTIME`.
    pub deadline: u64,
}

/// A delay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Latency {
    /// In microseconds.
    pub micros: u64,
    /// So much more or less, in microseconds: evenly spread over both sides.
    #[serde(default)]
    pub jitter_micros: u64,
}

/// A failure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failure {
    /// The share that fails, from 0 to 1.
    pub rate: f64,
    /// The status of the response.
    pub status: u16,
}

impl Setting {
    /// The format that this crate writes and obeys.
    pub const VERSION: u32 = 1;

    /// What cannot be obeyed, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let letters = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match self {
            Self { version, .. } if *version != Self::VERSION => Err(format!("is of format {version}, and {} is known", Self::VERSION)),
            Self { id, .. } if !letters(id) => Err(format!("has the name `{id}`; letters, digits and `-` were expected")),
            Self { failure: Some(failure), .. } if !(0.0..=1.0).contains(&failure.rate) => {
                Err(format!("has a failure rate of {}; 0 to 1 was expected", failure.rate))
            }
            Self { failure: Some(failure), .. } if http::StatusCode::from_u16(failure.status).is_err() => {
                Err(format!("has the status {}; 100 to 999 was expected", failure.status))
            }
            Self { failure: None, latency: None, .. } => Err("has neither a latency nor a failure".into()),
            _ => Ok(()),
        }
    }
}

/// A fault that is obeyed.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) setting: Setting,
    paths: Vec<Pattern>,
    points: Vec<Pattern>,
    /// Decisions so far: each gets a number of its own.
    decided: AtomicU64,
    over: AtomicBool,
}

/// What something is that may be broken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A request.
    Request { method: &'a http::Method, path: &'a str },
    /// A point in the code.
    Point(&'a str),
}

impl Active {
    pub(crate) fn new(setting: Setting) -> Self {
        let all = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let (paths, points) = (all(&setting.paths), all(&setting.points));
        Self { setting, paths, points, decided: AtomicU64::new(0), over: AtomicBool::new(false) }
    }

    /// Nobody is held back by it any more.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.setting.deadline <= clock::nanos()
    }

    pub(crate) fn is_for(&self, subject: Subject<'_>) -> bool {
        let any = |patterns: &[Pattern], text: &str| patterns.iter().any(|pattern| pattern.covers(text));
        match subject {
            Subject::Request { method, path } => {
                let methods = &self.setting.methods;
                self.points.is_empty()
                    && (self.paths.is_empty() || any(&self.paths, path))
                    && (methods.is_empty() || methods.iter().any(|m| m.eq_ignore_ascii_case(method.as_str())))
            }
            Subject::Point(name) => any(&self.points, name),
        }
    }

    /// What becomes of the next one: how long it waits, and the status that it fails with.
    pub(crate) fn decide(&self) -> (Duration, Option<u16>) {
        let number = self.decided.fetch_add(1, Ordering::Relaxed);
        let delay = self.setting.latency.map_or(Duration::ZERO, |latency| {
            let spread = latency.jitter_micros as f64 * chance(self.setting.seed, number, 1).mul_add(2.0, -1.0);
            Duration::from_secs_f64((latency.micros as f64 + spread).max(0.0) / 1e6)
        });
        let failure = self.setting.failure.filter(|failure| chance(self.setting.seed, number, 2) < failure.rate);
        (delay, failure.map(|failure| failure.status))
    }
}

/// A number in `0..1`, by `SplitMix64` (Steele, Lea, Flood 2014).
fn chance(seed: u64, number: u64, stream: u64) -> f64 {
    let mix = |x: u64| {
        let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (mix(mix(mix(seed) ^ number) ^ stream) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> Setting {
        Setting {
            version: 1,
            id: "squall-r1-1".into(),
            service: "checkout".into(),
            paths: Vec::new(),
            methods: Vec::new(),
            points: Vec::new(),
            latency: None,
            failure: Some(Failure { rate: 0.1, status: 503 }),
            seed: 7,
            deadline: u64::MAX,
        }
    }

    #[test]
    fn the_share_that_fails_is_within_its_99_percent_interval_for_many_seeds() {
        let n = 5_000;
        let mut outside = 0;
        for seed in 0..200 {
            let active = Active::new(Setting { seed, ..setting() });
            let failed = (0..n).filter(|_| active.decide().1 == Some(503)).count() as f64;
            let half = 2.576 * (f64::from(n) * 0.1 * 0.9).sqrt();
            outside += u32::from((failed - f64::from(n) * 0.1).abs() > half);
        }
        // 2 of 200 are to be expected; 7 or more are once in 200.
        assert!(outside <= 7, "{outside} of 200 seeds are outside");
    }

    #[test]
    fn the_same_seed_fails_the_same_requests() {
        let draw = |seed| {
            let active = Active::new(Setting { seed, ..setting() });
            (0..200).map(|_| active.decide().1.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn jitter_is_spread_evenly_over_both_sides_and_never_below_nothing() {
        let delays = |micros, jitter_micros| {
            let active = Active::new(Setting { latency: Some(Latency { micros, jitter_micros }), failure: None, ..setting() });
            (0..10_000).map(|_| active.decide().0.as_micros()).collect::<Vec<_>>()
        };
        let spread = delays(10_000, 5_000);
        assert!(spread.iter().all(|d| (5_000..=15_000).contains(d)));
        let below = spread.iter().filter(|d| **d < 7_500).count();
        assert!((2_300..2_700).contains(&below), "a quarter is in each quarter: {below}");
        assert!(delays(1_000, 5_000).iter().all(|d| *d <= 6_000));
        assert!(delays(10_000, 0).iter().all(|d| *d == 10_000));
    }

    #[test]
    fn paths_and_methods_choose_requests_and_points_choose_points() {
        let get = http::Method::GET;
        let request = |path| Subject::Request { method: &get, path };
        let by_path = Active::new(Setting { paths: vec!["/cart".into(), "/api/*".into()], methods: vec!["get".into()], ..setting() });
        assert!(by_path.is_for(request("/cart")) && by_path.is_for(request("/api/x/y")));
        assert!(!by_path.is_for(request("/carts")) && !by_path.is_for(Subject::Point("/cart")));
        assert!(!by_path.is_for(Subject::Request { method: &http::Method::POST, path: "/cart" }));
        let by_point = Active::new(Setting { points: vec!["db.*".into()], ..setting() });
        assert!(by_point.is_for(Subject::Point("db.read")));
        assert!(!by_point.is_for(Subject::Point("cache")) && !by_point.is_for(request("db.read")));
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_in_words() {
        let bad = |change: fn(&mut Setting)| {
            let mut setting = setting();
            change(&mut setting);
            setting.check().expect_err("refused")
        };
        assert_eq!(bad(|s| s.version = 2), "is of format 2, and 1 is known");
        assert_eq!(bad(|s| s.id = "../x".into()), "has the name `../x`; letters, digits and `-` were expected");
        assert_eq!(bad(|s| s.failure = Some(Failure { rate: 1.5, status: 500 })), "has a failure rate of 1.5; 0 to 1 was expected");
        assert_eq!(bad(|s| s.failure = Some(Failure { rate: 0.5, status: 99 })), "has the status 99; 100 to 999 was expected");
        assert_eq!(bad(|s| s.failure = None), "has neither a latency nor a failure");
        assert_eq!(setting().check(), Ok(()));
    }
}
