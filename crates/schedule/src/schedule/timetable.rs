//! A schedule, read: its times one after another.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::calendar::{self, Calendar, CalendarError};
use squall_model::{Cron, Path, Problem, Window};

use super::{Because, Concurrency, Missed, Schedule};
use crate::document::at_field;
use crate::{Holidays, chance};

/// One time of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Occurrence {
    /// The schedule's name and the nominal time, as in `nightly-20261123t013000z`: the same on every server, and never used
    /// again. Whoever first creates a record of this id has decided the occurrence.
    pub id: String,
    /// The time that the cron expression says.
    pub nominal: Timestamp,
    /// The time at which it starts: the nominal one with its jitter.
    pub due: Timestamp,
}

/// An occurrence that is ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Planned {
    /// Which.
    pub occurrence: Occurrence,
    /// Why it will be skipped, as far as that is known today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// A schedule, read once and asked often.
#[derive(Debug, Clone)]
pub struct Timetable {
    name: String,
    cron: Cron,
    calendar: Calendar,
    holidays: Holidays,
    /// First and last day, and the moments that they stand for: included, and not included.
    from: Timestamp,
    to: Timestamp,
    jitter: SignedDuration,
    pub(super) paused: bool,
    pub(super) concurrency: Concurrency,
    pub(super) missed: Missed,
}

impl Timetable {
    /// Reads a schedule. The error says which field cannot be read, and why.
    pub fn new(schedule: &Schedule) -> Result<Self, Problem> {
        let spec = &schedule.spec;
        let path = Path::default().key("spec");
        let at = |error| at_field(&path, error);
        let zone = calendar::zone(spec.time_zone.as_deref()).map_err(at)?;
        let cron = Cron::new(&spec.cron, zone.clone()).map_err(at)?;
        let own_zone = |given: &Option<String>| given.clone().or_else(|| spec.time_zone.clone());
        let mut rules = Calendar::default();
        let mut windows = Vec::with_capacity(spec.windows.len());
        for (i, window) in spec.windows.iter().enumerate() {
            let window = Window { time_zone: own_zone(&window.time_zone), ..window.clone() };
            Calendar::new(std::slice::from_ref(&window), &[]).map_err(|error| at_field(&path.key("windows").index(i), error))?;
            windows.push(window);
        }
        let mut freezes = Vec::with_capacity(spec.freezes.len());
        for (i, freeze) in spec.freezes.iter().enumerate() {
            let mut freeze = freeze.clone();
            freeze.time_zone = own_zone(&freeze.time_zone);
            Calendar::new(&[], std::slice::from_ref(&freeze)).map_err(|error| at_field(&path.key("freezes").index(i), error))?;
            freezes.push(freeze);
        }
        if !(windows.is_empty() && freezes.is_empty()) {
            rules = Calendar::new(&windows, &freezes).map_err(at)?;
        }
        let holidays = Holidays::new(&spec.holidays).map_err(|(i, error)| at_field(&path.key("holidays").index(i), error))?;
        let from = bound("starts", spec.starts.as_deref(), &zone, Timestamp::MIN, false).map_err(at)?;
        let to = bound("ends", spec.ends.as_deref(), &zone, Timestamp::MAX, true).map_err(at)?;
        if to <= from {
            let message = "the schedule ends before it starts".to_owned();
            return Err(at(CalendarError { field: "ends", message, hint: "swap the two".into() }));
        }
        let jitter = SignedDuration::try_from(spec.jitter.unwrap_or_default().std()).unwrap_or_default();
        Ok(Self {
            name: schedule.metadata.name.clone(),
            cron,
            calendar: rules,
            holidays,
            from,
            to,
            jitter,
            paused: spec.paused,
            concurrency: spec.concurrency,
            missed: spec.missed.clone(),
        })
    }

    /// The name of the schedule.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time zone that it is meant in.
    pub fn zone(&self) -> &TimeZone {
        self.cron.zone()
    }

    /// The first occurrence whose nominal time is after a moment.
    pub fn next(&self, after: Timestamp) -> Option<Occurrence> {
        let nominal = self.nominal_after(after)?;
        let id = format!("{}-{}", self.name, nominal.strftime("%Y%m%dt%H%M%Sz"));
        let due = self.with_jitter(&id, nominal);
        Some(Occurrence { id, nominal, due })
    }

    /// The occurrences that start within a span of time (its end not included), at most `limit`.
    pub fn between(&self, from: Timestamp, to: Timestamp, limit: usize) -> Vec<Planned> {
        // Those that jitter moves into the span count; it never moves one past the next.
        let first = from.checked_sub(self.jitter).unwrap_or(Timestamp::MIN);
        let first = first.checked_sub(1.nanosecond()).unwrap_or(first);
        std::iter::successors(self.next(first), |last| self.next(last.nominal))
            .take_while(|occurrence| occurrence.nominal < to)
            .filter(|occurrence| (from..to).contains(&occurrence.due))
            .take(limit)
            .map(|occurrence| {
                let skipped =
                    if self.paused { Some("the schedule is paused".to_owned()) } else { self.refusal(occurrence.due).map(|(_, why)| why) };
                Planned { occurrence, skipped }
            })
            .collect()
    }

    /// The longest time by which a start is moved.
    pub(super) fn jitter(&self) -> SignedDuration {
        self.jitter
    }

    /// Why the calendar allows no start at a moment; none where it does.
    pub(super) fn refusal(&self, at: Timestamp) -> Option<(Because, String)> {
        if let Some(name) = self.holidays.on(self.date(at)) {
            return Some((Because::Holiday, format!("a holiday: {name}")));
        }
        self.calendar.refusal(at).map(|why| (Because::Calendar, why))
    }

    fn date(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone().clone()).date()
    }

    fn nominal_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = if after < self.from { self.from.checked_sub(1.nanosecond()).unwrap_or(after) } else { after };
        self.cron.next(after).filter(|nominal| *nominal < self.to)
    }

    /// In whole seconds, less than to the next time, so that the order of starts is that of the nominal times.
    fn with_jitter(&self, id: &str, nominal: Timestamp) -> Timestamp {
        if self.jitter < SignedDuration::from_secs(1) {
            return nominal;
        }
        let gap = self.cron.next(nominal).map_or(self.jitter, |next| next.duration_since(nominal));
        let most = u64::try_from(self.jitter.min(gap).as_secs()).unwrap_or_default();
        let seconds = i64::try_from(chance::below(0, &["jitter", id], most)).unwrap_or_default();
        let due = nominal.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(nominal);
        if self.refusal(due).is_some() && self.refusal(nominal).is_none() { nominal } else { due }
    }
}

/// A day as a moment: its start, or its end.
fn bound(field: &'static str, text: Option<&str>, zone: &TimeZone, none: Timestamp, end: bool) -> Result<Timestamp, CalendarError> {
    let Some(text) = text else { return Ok(none) };
    let date = calendar::date(field, text)?;
    let far = |_| CalendarError { field, message: format!("{date} is out of range"), hint: "write a nearer date".into() };
    let date = if end { date.tomorrow().map_err(far)? } else { date };
    date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(far)
}
