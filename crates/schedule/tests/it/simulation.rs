//! A monkey over thousands of weeks, looked at as a server does. Shared by a test and an example.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use squall_schedule::{Candidate, Day, Frequency, GroupRule, History, Holiday, Hours, Monkey, MonkeySpec, Planner};

/// What was asked.
pub struct Case {
    pub frequency: Frequency,
    pub zone: &'static str,
    /// Business hours.
    pub hours: (&'static str, &'static str),
    /// All seven days are work days, so that the Sundays on which clocks change are among them.
    pub every_day: bool,
}

impl Case {
    pub fn name(&self) -> String {
        let often = match (self.frequency.mean, self.frequency.probability) {
            (Some(mean), _) => format!("mean {mean} days"),
            (None, Some(chance)) => format!("{chance} a day"),
            (None, None) => String::new(),
        };
        format!("{often}, min {}", self.frequency.minimum)
    }
}

/// The means and minimums of the promise, and probabilities, over zones of both hemispheres.
pub fn cases() -> Vec<Case> {
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"];
    let mut cases = Vec::new();
    for mean in [2.0, 5.0, 10.0] {
        for minimum in [0, 1, 3] {
            if mean < f64::from(minimum) {
                continue;
            }
            let zone = zones[cases.len() % zones.len()];
            let frequency = Frequency { mean: Some(mean), probability: None, minimum };
            cases.push(Case { frequency, zone, hours: ("09:00", "15:00"), every_day: false });
        }
    }
    for (percent, minimum) in [(50.0, 1), (20.0, 0), (20.0, 3), (10.0, 1)] {
        let frequency = Frequency { mean: None, probability: Some(squall_model::Percent(percent)), minimum };
        cases.push(Case { frequency, zone: zones[cases.len() % zones.len()], hours: ("09:00", "15:00"), every_day: false });
    }
    // Business hours over the changes of the clock themselves.
    for (zone, hours) in
        [("Europe/Berlin", ("01:30", "04:00")), ("America/New_York", ("01:00", "02:30")), ("Australia/Lord_Howe", ("01:45", "02:15"))]
    {
        let frequency = Frequency { mean: Some(2.0), probability: None, minimum: 1 };
        cases.push(Case { frequency, zone, hours, every_day: true });
    }
    cases
}

/// What came of it.
pub struct Found {
    pub weeks: u32,
    pub kills: u64,
    /// Of all groups, in work days, from one kill to the next.
    pub mean: f64,
    /// Of that from what was asked, as a share.
    pub deviation: f64,
    /// The same of the one group that is farthest off.
    pub worst_group: f64,
    pub below_minimum: u64,
    pub outside_hours: u64,
    pub on_days_off: u64,
    /// Kills on days on which the clock changed.
    pub on_changes: u64,
    /// In each twelfth of the business hours.
    pub twelfths: [u64; 12],
}

fn monkey(case: &Case) -> Monkey {
    let holiday = |date: &str| Holiday { date: Some(date.into()), ..Holiday::default() };
    let christmas = Holiday { from: Some("12-24".into()), to: Some("01-01".into()), ..Holiday::default() };
    let mut spec = MonkeySpec {
        time_zone: Some(case.zone.into()),
        hours: Hours { from: case.hours.0.into(), to: case.hours.1.into() },
        holidays: vec![holiday("05-01"), holiday("10-03"), christmas],
        frequency: case.frequency,
        groups: vec![GroupRule { name: "services".into(), by: vec!["app".into()], ..GroupRule::default() }],
        seed: Some(4711),
        ..MonkeySpec::default()
    };
    let fault = serde_json::json!({ "fault": "process.kill", "target": { "process": { "name": "app" } }, "acceptIrreversible": true });
    spec.faults = vec![serde_json::from_value(fault).expect("a fault")];
    if case.every_day {
        use squall_model::Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
        spec.work_days = vec![Mon, Tue, Wed, Thu, Fri, Sat, Sun];
    }
    let metadata = squall_model::Metadata { name: "simulated".into(), ..squall_model::Metadata::default() };
    Monkey { api_version: "squall.dev/v1".into(), kind: "Monkey".into(), metadata, spec }
}

/// Whether a day is off, worked out without the crate under test.
fn is_off(case: &Case, date: Date) -> bool {
    let weekend = matches!(date.weekday(), jiff::civil::Weekday::Saturday | jiff::civil::Weekday::Sunday);
    let day = (date.month(), date.day());
    (weekend && !case.every_day) || day == (5, 1) || day == (10, 3) || day >= (12, 24) || day == (1, 1)
}

/// Looks at a monkey once after business hours begin and once before they end, on each day of so many weeks.
pub fn run(case: &Case, groups: usize, weeks: u32) -> Found {
    let planner = Planner::new(&monkey(case)).expect("good");
    let zone = jiff::tz::TimeZone::get(case.zone).expect("a zone");
    let host =
        |i: usize| Candidate { id: format!("host-{i}"), labels: BTreeMap::from([("app".to_owned(), format!("app-{}", i % groups))]) };
    let fleet: Vec<Candidate> = (0..groups * 2).map(host).collect();
    let mut history: BTreeMap<String, History> = BTreeMap::new();
    // For each group: the number of the work day of its last kill, how many gaps there were, and their sum.
    let mut gaps: BTreeMap<String, (Option<u64>, u64, u64)> = BTreeMap::new();
    let mut found = Found {
        weeks,
        kills: 0,
        mean: 0.0,
        deviation: 0.0,
        worst_group: 0.0,
        below_minimum: 0,
        outside_hours: 0,
        on_days_off: 0,
        on_changes: 0,
        twelfths: [0; 12],
    };
    let clock = |text: &str| squall_model::calendar::time_of_day("time", text).expect("a time");
    let (opens, closes) = (clock(case.hours.0), clock(case.hours.1));
    let (mut date, mut work_day) = (jiff::civil::date(2026, 1, 5), 0_u64);
    let minimum = u64::from(case.frequency.minimum.max(1));
    for _ in 0..u64::from(weeks) * 7 {
        if !is_off(case, date) && matches!(planner.day(date), Day::Work(..)) {
            work_day += 1;
        }
        // From the day's first second everything of the day is ahead; on days off that is asked as well.
        let midnight: Timestamp = date.to_zoned(zone.clone()).expect("in range").timestamp();
        let decided = planner.decide(midnight, &fleet, &history);
        for kill in decided.ahead.into_iter().chain(decided.kills) {
            let wall = kill.at.to_zoned(zone.clone());
            found.kills += 1;
            found.on_days_off += u64::from(is_off(case, wall.date()) || wall.date() != date);
            found.outside_hours += u64::from(wall.time() < opens || wall.time() >= closes);
            let tomorrow = date.tomorrow().expect("in range").to_zoned(zone.clone()).expect("in range").timestamp();
            found.on_changes += u64::from(tomorrow.duration_since(midnight).as_secs() != 86_400);
            if let Day::Work(from, to) = planner.day(date) {
                let part = kill.at.duration_since(from).as_secs() * 12 / to.duration_since(from).as_secs();
                found.twelfths[usize::try_from(part).expect("within")] += 1;
            }
            let entry = gaps.entry(kill.group.clone()).or_default();
            if let Some(last) = entry.0.replace(work_day) {
                entry.1 += 1;
                entry.2 += work_day - last;
                found.below_minimum += u64::from(work_day - last < minimum);
            }
            history.insert(kill.group, History { last_kill: Some(date), decided: Some(date) });
        }
        date = date.checked_add(1.day()).expect("in range");
    }
    let asked = case.frequency.expected_mean().expect("good");
    let off = |count: u64, sum: u64| (sum as f64 / count as f64) / asked - 1.0;
    let (count, sum) = gaps.values().fold((0, 0), |(count, sum), gap| (count + gap.1, sum + gap.2));
    found.mean = sum as f64 / count as f64;
    found.deviation = off(count, sum);
    found.worst_group = gaps.values().map(|gap| off(gap.1, gap.2)).max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(f64::NAN);
    found
}
