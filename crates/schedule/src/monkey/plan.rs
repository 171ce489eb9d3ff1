//! Whether, when, to whom and what: a pure function of the seed, the day, the fleet, and when each group was last hit.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Problem;

use super::days::Days;
use super::{Candidate, Day, Group, Monkey, MonkeySpec, group};
use crate::chance;

/// A kill: what is done to which host, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kill {
    /// The monkey, the day and the group, the last as a hash: the same on every server. Whoever first creates a record of this
    /// id does the kill.
    pub id: String,
    /// The key of the group.
    pub group: String,
    /// The work day.
    pub date: Date,
    /// When, within business hours, to the second.
    pub at: Timestamp,
    /// Which host.
    pub target: String,
    /// Which fault: the index in the group's list, or in the monkey's where the group has none.
    pub fault: usize,
    /// Nothing is done; it is only recorded.
    pub leashed: bool,
}

/// Why nothing is done to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Passed {
    /// The key of the group.
    pub group: String,
    /// By which rule.
    pub because: PassedBecause,
    /// In words.
    pub detail: String,
}

/// The rule by which nothing is done to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PassedBecause {
    /// The last kill is too short a time ago.
    Minimum,
    /// The coin said no.
    Chance,
    /// It was decided today already.
    Done,
    /// The time of the kill came, and nobody was there.
    Missed,
    /// There is no fault to inject.
    NoFault,
}

/// What is remembered of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// The day of the last kill. One on the leash does not count for a monkey that is off it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_kill: Option<Date>,
    /// The last day whose kill was done or missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Date>,
}

/// What came of looking at a monkey.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonkeyDecided {
    /// What to do now.
    pub kills: Vec<Kill>,
    /// What was due too long ago: to be recorded as missed.
    pub missed: Vec<Kill>,
    /// What will be due later today, with the target as of now.
    pub ahead: Vec<Kill>,
    /// The other groups.
    pub passed: Vec<Passed>,
    /// Why today nothing is done at all.
    pub off: Option<String>,
}

/// A monkey, read once and asked often.
#[derive(Debug, Clone)]
pub struct Planner {
    name: String,
    spec: MonkeySpec,
    days: Days,
    seed: u64,
    /// For each rule: the chance on a day on which the minimum allows a kill, and the minimum in work days.
    odds: Vec<(f64, u32)>,
}

impl Planner {
    /// Reads a monkey. The error is the first of what [`Monkey::check`] finds.
    pub fn new(monkey: &Monkey) -> Result<Self, Problem> {
        if let Some(problem) = monkey.check().into_iter().next() {
            return Err(problem);
        }
        let spec = monkey.spec.clone();
        let odds = |rule: &super::GroupRule| {
            let frequency = rule.frequency.unwrap_or(spec.frequency);
            frequency.chance().map_or((0.0, 1), |chance| (chance, frequency.minimum_days()))
        };
        let odds = spec.groups.iter().map(odds).collect();
        let days = Days::new(&spec)?;
        let seed = spec.seed.unwrap_or_else(|| chance::number(0, &["monkey", &monkey.metadata.name]));
        Ok(Self { name: monkey.metadata.name.clone(), spec, days, seed, odds })
    }

    /// The monkey's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it does anything at all.
    pub fn enabled(&self) -> bool {
        self.spec.enabled
    }

    /// Whether it only says what it would do.
    pub fn leashed(&self) -> bool {
        self.spec.leashed
    }

    /// What a day is to this monkey.
    pub fn day(&self, date: Date) -> Day {
        self.days.day(date)
    }

    /// The day that a moment belongs to.
    pub fn date(&self, at: Timestamp) -> Date {
        self.days.date(at)
    }

    /// The groups of a fleet, without the hosts that are to be left alone.
    pub fn groups<'a>(&self, fleet: &'a [Candidate]) -> Vec<Group<'a>> {
        group::groups(&self.spec, fleet)
    }

    /// Looks at each group: what is due, what is ahead today, and what is not and why.
    pub fn decide(&self, now: Timestamp, fleet: &[Candidate], history: &BTreeMap<String, History>) -> MonkeyDecided {
        let mut decided = MonkeyDecided::default();
        if !self.spec.enabled {
            decided.off = Some("the monkey is disabled".into());
            return decided;
        }
        let date = self.date(now);
        let (from, to) = match self.day(date) {
            Day::Work(from, to) => (from, to),
            Day::Off(why) => {
                decided.off = Some(why);
                return decided;
            }
        };
        let late = SignedDuration::try_from(self.spec.late.std()).unwrap_or(SignedDuration::MAX);
        for group in self.groups(fleet) {
            let known = history.get(&group.key).copied().unwrap_or_default();
            match self.kill(&group, date, (from, to), known) {
                Err(passed) => decided.passed.push(passed),
                Ok(kill) if now < kill.at => decided.ahead.push(kill),
                Ok(kill) if now < to && now.duration_since(kill.at) <= late => decided.kills.push(kill),
                Ok(kill) => decided.missed.push(kill),
            }
        }
        decided
    }

    /// What the day has for a group, given its business hours.
    fn kill(&self, group: &Group<'_>, date: Date, (from, to): (Timestamp, Timestamp), known: History) -> Result<Kill, Passed> {
        let passed = |because, detail: String| Err(Passed { group: group.key.clone(), because, detail });
        if known.decided.is_some_and(|decided| decided >= date) {
            return passed(PassedBecause::Done, "decided already".into());
        }
        let (chance, minimum) = self.odds[group.rule];
        if let Some(last) = known.last_kill {
            let since = self.days.work_days_since(last, date, minimum);
            if since < minimum {
                return passed(PassedBecause::Minimum, format!("the last was on {last}, and the minimum is {minimum} work days"));
            }
        }
        let day = date.to_string();
        if chance::share(self.seed, &["coin", &group.key, &day]) >= chance {
            return passed(PassedBecause::Chance, "the coin said no".into());
        }
        let faults = self.faults(group.rule);
        let weights: u64 = faults.iter().map(|fault| u64::from(fault.weight)).sum();
        let mut drawn = chance::below(self.seed, &["fault", &group.key, &day], weights);
        let chosen = faults.iter().position(|fault| {
            let weight = u64::from(fault.weight);
            let here = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            here
        });
        let (Some(fault), Some(target)) = (chosen, self.target(group, &day)) else {
            return passed(PassedBecause::NoFault, "no fault is enabled for it".into());
        };
        let hours = u64::try_from(to.duration_since(from).as_secs()).unwrap_or_default();
        let seconds = i64::try_from(chance::below(self.seed, &["time", &group.key, &day], hours)).unwrap_or_default();
        let at = from.checked_add(seconds.seconds()).unwrap_or(from);
        let hash = chance::number(0, &["group", &group.key]);
        let id = format!("{}-{}-{hash:016x}", self.name, date.strftime("%Y%m%d"));
        Ok(Kill { id, group: group.key.clone(), date, at, target: target.id.clone(), fault, leashed: self.spec.leashed })
    }

    pub(super) fn faults(&self, rule: usize) -> &[super::MonkeyFault] {
        let own = &self.spec.groups[rule].faults;
        if own.is_empty() { &self.spec.faults } else { own }
    }

    /// Each host draws a number, and the highest is it (rendezvous hashing): hosts that come and go do not change the choice
    /// among the others.
    fn target<'a>(&self, group: &Group<'a>, day: &str) -> Option<&'a Candidate> {
        let draw = |candidate: &&&Candidate| (chance::number(self.seed, &["target", &group.key, day, &candidate.id]), candidate.id.clone());
        group.members.iter().max_by_key(draw).copied()
    }
}
