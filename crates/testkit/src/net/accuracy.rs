//! How exactly a network fault does what it was told, whatever carries it: cases, and what is measured in each.
//!
//! ```no_run
//! # fn inject(fault: &str, args: &serde_json::Value) {}
//! use squall_testkit::net::{Family, Lab, accuracy};
//!
//! let lab = Lab::new();
//! let (a, b) = (lab.host("a"), lab.host("b"));
//! for case in accuracy::cases(accuracy::Size::Small) {
//!     let in_force = inject(case.fault, &case.args("nfqueue"));
//!     let checks = case.judge(&accuracy::Route { from: &a, to: &b, family: Family::V6 });
//!     accuracy::assert_met(&checks);
//!     drop(in_force);
//! }
//! ```

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::probe::{Flood, Journey, Train};
use super::statistics::{
    binomial_interval, empirical_cdf, ks, ks_critical, mean, normal_quantile, pareto_normal_quantile, pareto_quantile, quantile, sorted,
    standard, uniform_cdf,
};
use super::{Family, Host};

/// The rate at which delays are measured, in packets a second.
const PACE: f64 = 1000.0;
/// That for shares, where only numbers count.
const FAST: f64 = 4000.0;

/// From where to where packets go.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The sender, on which the fault is.
    pub from: &'a Host,
    /// The receiver.
    pub to: &'a Host,
    /// Over which protocol.
    pub family: Family,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A second or so each.
    Small,
    /// What the claims are about: 10,000 packets and more.
    Full,
}

/// A measurement beside what it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was measured.
    pub what: String,
    /// The result.
    pub measured: String,
    /// What it has to be.
    pub bar: String,
    /// Whether it is.
    pub met: bool,
}

/// Fails with everything that is not as it has to be.
pub fn assert_met(checks: &[Check]) {
    let missed: Vec<&Check> = checks.iter().filter(|check| !check.met).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// One fault with its arguments, and what has to be seen then.
#[derive(Debug, Clone)]
pub struct Case {
    /// The fault's name.
    pub fault: &'static str,
    /// The case's own.
    pub name: String,
    size: Size,
    args: Json,
    expected: Expected,
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Delay(Duration),
    Jitter { base: Duration, jitter: Duration, distribution: Distribution },
    Loss(f64),
    Bursts { length: f64, share: f64 },
    Rate(f64),
    Copies(f64),
    Damage(f64),
    Order { share: f64, delay: Duration },
}

/// A distribution of the jitter. All but the first have mean 0 and standard deviation 1, and are cut off at ±4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Between −1 and 1.
    Uniform,
    /// Gauss.
    Normal,
    /// With shape 3.
    Pareto,
    /// See [`pareto_normal_quantile`].
    ParetoNormal,
}

impl Distribution {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Uniform, "uniform"), (Self::Normal, "normal"), (Self::Pareto, "pareto"), (Self::ParetoNormal, "paretoNormal")];

    /// Values of equal probability, in order; of the uniform distribution none: it needs none.
    pub fn values(self) -> Option<Vec<f64>> {
        match self {
            Self::Uniform => None,
            Self::Normal => Some(standard(normal_quantile)),
            Self::Pareto => Some(standard(pareto_quantile)),
            Self::ParetoNormal => Some(standard(pareto_normal_quantile)),
        }
    }

    fn cdf(self) -> Box<dyn Fn(f64) -> f64> {
        match self.values() {
            None => Box::new(uniform_cdf),
            Some(values) => Box::new(empirical_cdf(values)),
        }
    }
}

/// All that a network fault promises in numbers.
pub fn cases(size: Size) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |fault, name: String, args, expected| cases.push(Case { fault, name, size, args, expected });
    for delay in [10, 100, 500] {
        let expected = Expected::Delay(Duration::from_millis(delay));
        case("network.latency", format!("{delay} ms"), json!({ "delay": format!("{delay}ms") }), expected);
    }
    for (distribution, name) in Distribution::ALL {
        let (base, jitter) = (Duration::from_millis(200), Duration::from_millis(50));
        let args = json!({ "delay": "200ms", "jitter": "50ms", "distribution": name });
        case("network.latency", format!("200 ms ± 50 ms {name}"), args, Expected::Jitter { base, jitter, distribution });
    }
    for percent in [1.0, 10.0, 50.0] {
        let args = json!({ "percent": format!("{percent}%") });
        case("network.loss", format!("{percent}%"), args, Expected::Loss(percent / 100.0));
    }
    // Bursts of 1 / 25% = 4 packets, in 5 / (5 + 25) of the time.
    let args = json!({ "bursts": { "enter": "5%", "leave": "25%" } });
    case("network.loss", "bursts of 4".into(), args, Expected::Bursts { length: 4.0, share: 0.05 / 0.3 });
    for megabits in [1.0, 50.0] {
        let args = json!({ "rate": format!("{megabits}Mbit/s") });
        case("network.bandwidth", format!("{megabits} Mbit/s"), args, Expected::Rate(megabits * 1e6 / 8.0));
    }
    case("network.duplicate", "10%".into(), json!({ "percent": "10%" }), Expected::Copies(0.1));
    case("network.corrupt", "10%".into(), json!({ "percent": "10%" }), Expected::Damage(0.1));
    let expected = Expected::Order { share: 0.25, delay: Duration::from_millis(50) };
    case("network.reorder", "25% past 50 ms".into(), json!({ "percent": "25%", "delay": "50ms" }), expected);
    cases
}

impl Case {
    /// Of the jitter, if there is any.
    pub fn distribution(&self) -> Option<Distribution> {
        match self.expected {
            Expected::Jitter { distribution, .. } => Some(distribution),
            _ => None,
        }
    }

    /// What is written under `with`.
    pub fn args(&self, mechanism: &str) -> Json {
        let mut args = self.args.clone();
        args["mechanism"] = mechanism.into();
        args
    }

    /// Measures while the fault is in force; once more if something is not as it has to be. In one of a hundred measurements
    /// chance alone takes a share out of its 99% interval, in one of ten thousand twice in a row.
    pub fn judge(&self, route: &Route<'_>) -> Vec<Check> {
        let checks = self.measure(route);
        if checks.iter().all(|check| check.met) { checks } else { self.measure(route) }
    }

    /// Measures once.
    pub fn measure(&self, route: &Route<'_>) -> Vec<Check> {
        let mut checks = match self.expected {
            Expected::Delay(delay) => self.delay(route, delay),
            Expected::Jitter { base, jitter, distribution } => self.jitter(route, base, jitter, distribution),
            Expected::Loss(share) => self.loss(route, share),
            Expected::Bursts { length, share } => self.bursts(route, length, share),
            Expected::Rate(rate) => self.rate(route, rate),
            Expected::Copies(share) => self.copies(route, share),
            Expected::Damage(share) => self.damage(route, share),
            Expected::Order { share, delay } => self.order(route, share, delay),
        };
        for check in &mut checks {
            check.what = format!("{} {} over {:?}: {}", self.fault, self.name, route.family, check.what);
        }
        checks
    }

    fn packets(&self, small: u32, full: u32) -> u32 {
        if self.size == Size::Small { small } else { full }
    }

    fn delay(&self, route: &Route<'_>, delay: Duration) -> Vec<Check> {
        let asked = milliseconds(delay);
        let journey = Train::new(self.packets(1000, 10_000), PACE).grace(delay + Duration::from_millis(500)).run_on(route);
        let errors = sorted(journey.delays().iter().map(|delay| (delay - asked).abs()).collect());
        vec![
            whole(&journey),
            at_most("median error", quantile(&errors, 0.5), 1.0, "ms"),
            at_most("p99 error", quantile(&errors, 0.99), 5.0, "ms"),
        ]
    }

    fn jitter(&self, route: &Route<'_>, base: Duration, jitter: Duration, distribution: Distribution) -> Vec<Check> {
        let journey = Train::new(self.packets(1000, 5000), PACE).grace(base + 5 * jitter).run_on(route);
        let (base, jitter) = (milliseconds(base), milliseconds(jitter));
        // A draw below zero is a packet that is not delayed.
        let (cdf, least) = (distribution.cdf(), -base / jitter);
        let draws: Vec<f64> = journey.delays().iter().map(|delay| (delay - base) / jitter).collect();
        let distance = ks(&draws, |x| if x < least { 0.0 } else { cdf(x) });
        vec![whole(&journey), at_most("distance of Kolmogorov and Smirnov", distance, ks_critical(draws.len()), "")]
    }

    fn loss(&self, route: &Route<'_>, share: f64) -> Vec<Check> {
        let journey = Train::new(self.packets(2000, 10_000), FAST).grace(SHORT).run_on(route);
        vec![silent(&journey), within_chance("lost", journey.lost().len(), journey.sent, share)]
    }

    fn bursts(&self, route: &Route<'_>, length: f64, share: f64) -> Vec<Check> {
        let journey = Train::new(self.packets(10_000, 40_000), FAST).grace(SHORT).run_on(route);
        let bursts: Vec<f64> = journey.bursts().into_iter().map(f64::from).collect();
        let lost = journey.lost().len() as f64 / f64::from(journey.sent);
        // Bursts come together: the number of losses varies more than a binomial variable does.
        vec![
            silent(&journey),
            near("mean length of a burst", mean(&bursts), length, 0.1, "packets"),
            near("share that is lost", lost, share, 0.15, ""),
        ]
    }

    fn rate(&self, route: &Route<'_>, rate: f64) -> Vec<Check> {
        let lasting = Duration::from_millis(if self.size == Size::Small { 2000 } else { 6000 });
        let flood = Flood { bytes_per_second: 1.5 * rate, lasting, warm_up: Duration::from_millis(300) };
        let measured = flood.run(route.from, route.to, route.family);
        vec![near("bytes of packets a second", measured, rate, 0.03, "B/s")]
    }

    fn copies(&self, route: &Route<'_>, share: f64) -> Vec<Check> {
        let journey = Train::new(self.packets(2000, 10_000), FAST).grace(SHORT).run_on(route);
        vec![whole(&journey), within_chance("came twice", journey.duplicates(), journey.sent, share)]
    }

    fn damage(&self, route: &Route<'_>, share: f64) -> Vec<Check> {
        // Long packets: netem flips bits of headers too, and a changed address of a sender changes nothing.
        let journey = Train::new(self.packets(2000, 10_000), FAST / 2.0).size(1400).grace(SHORT).run_on(route);
        let damaged = journey.lost().len();
        let seen = journey.damaged as f64 / damaged.max(1) as f64;
        vec![
            silent(&journey),
            within_chance("did not come whole", damaged, journey.sent, share),
            check("of those, seen by checksums", format!("{seen:.3}"), "≥ 0.9".into(), (0.9..1.01).contains(&seen)),
        ]
    }

    fn order(&self, route: &Route<'_>, share: f64, delay: Duration) -> Vec<Check> {
        let journey = Train::new(self.packets(2000, 10_000), PACE).grace(delay + SHORT).run_on(route);
        let (sooner, later): (Vec<f64>, Vec<f64>) = journey.delays().iter().partition(|passed| **passed < milliseconds(delay) / 2.0);
        let overtook = milliseconds(delay) - 1.0;
        vec![
            whole(&journey),
            within_chance("were sent at once", sooner.len(), journey.sent, share),
            at_most("error of the others' delay, median", (quantile(&later, 0.5) - milliseconds(delay)).abs(), 1.0, "ms"),
            // Each held one is overtaken by some of the fifty that follow in the time of its delay.
            check("came out of order", journey.overtakers().to_string(), format!("> {overtook}"), journey.overtakers() as f64 > overtook),
        ]
    }
}

/// How long a packet that is not delayed may take.
const SHORT: Duration = Duration::from_millis(300);

impl Train {
    fn run_on(&self, route: &Route<'_>) -> Journey {
        self.run(route.from, route.to, route.family)
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn check(what: &str, measured: String, bar: String, met: bool) -> Check {
    Check { what: what.to_owned(), measured, bar, met }
}

fn at_most(what: &str, measured: f64, bar: f64, unit: &str) -> Check {
    let show = |value: f64| format!("{value:.4} {unit}").trim_end().to_owned();
    // Nothing measured is nothing met.
    check(what, show(measured), format!("≤ {}", show(bar)), measured <= bar)
}

fn near(what: &str, measured: f64, asked: f64, tolerance: f64, unit: &str) -> Check {
    let show = |value: f64| format!("{value:.4} {unit}").trim_end().to_owned();
    check(what, show(measured), format!("{} ± {}%", show(asked), tolerance * 100.0), (measured / asked - 1.0).abs() <= tolerance)
}

/// In the 99% interval of as many draws.
fn within_chance(what: &str, measured: usize, of: u32, share: f64) -> Check {
    let (low, high) = binomial_interval(of, share);
    let met = u32::try_from(measured).is_ok_and(|measured| (low..=high).contains(&measured));
    check(what, format!("{measured} of {of}"), format!("{low} to {high}"), met)
}

/// Nothing else happened to them.
fn whole(journey: &Journey) -> Check {
    let (lost, damaged) = (journey.lost().len(), journey.damaged);
    let measured = format!("{lost} lost, {damaged} damaged, refused: {:?}", journey.refused);
    check("came whole", measured, "all of them".into(), lost == 0 && damaged == 0 && journey.refused.is_none())
}

/// Their sender was not told.
fn silent(journey: &Journey) -> Check {
    check("sends that failed", format!("{:?}", journey.refused), "none".into(), journey.refused.is_none())
}
