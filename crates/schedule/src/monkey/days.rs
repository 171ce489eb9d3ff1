//! Work days and business hours.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use squall_model::calendar::{self, Calendar};
use squall_model::{Freeze, Path, Problem, Weekday};

use super::MonkeySpec;
use crate::Holidays;
use crate::document::{at_field, problem};

/// What a day is to a monkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Day {
    /// A work day, with its business hours: start, and end (not included).
    Work(Timestamp, Timestamp),
    /// No work day, and why.
    Off(String),
}

/// The work days of a monkey, read.
#[derive(Debug, Clone)]
pub(super) struct Days {
    pub(super) zone: TimeZone,
    work: Vec<Weekday>,
    holidays: Holidays,
    /// Start and end of each, and its reason.
    freezes: Vec<(Timestamp, Timestamp, String)>,
    from: Time,
    to: Time,
}

impl Days {
    pub(super) fn new(spec: &MonkeySpec) -> Result<Self, Problem> {
        let path = Path::default().key("spec");
        let zone = calendar::zone(spec.time_zone.as_deref()).map_err(|error| at_field(&path, error))?;
        let hours = path.key("hours");
        let time = |field, text: &str| calendar::time_of_day(field, text).map_err(|error| at_field(&hours, error));
        let (from, to) = (time("from", &spec.hours.from)?, time("to", &spec.hours.to)?);
        if to <= from {
            let message = format!("business hours end at {}, before they start", spec.hours.to);
            return Err(problem(&hours.key("to"), message, "a work day is within one day: write a later `to`"));
        }
        if spec.work_days.is_empty() {
            return Err(problem(&path.key("workDays"), "there are no work days", "leave it out for Monday to Friday"));
        }
        let holidays = Holidays::new(&spec.holidays).map_err(|(i, error)| at_field(&path.key("holidays").index(i), error))?;
        let mut freezes = Vec::with_capacity(spec.freezes.len());
        for (i, freeze) in spec.freezes.iter().enumerate() {
            let freeze = Freeze { time_zone: freeze.time_zone.clone().or_else(|| spec.time_zone.clone()), ..freeze.clone() };
            let read = Calendar::new(&[], std::slice::from_ref(&freeze)).map_err(|error| at_field(&path.key("freezes").index(i), error))?;
            freezes.extend(read.freezes().map(|(from, to)| (from, to, freeze.reason.clone())));
        }
        Ok(Self { zone, work: spec.work_days.clone(), holidays, freezes, from, to })
    }

    pub(super) fn date(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone.clone()).date()
    }

    /// What a day is.
    pub(super) fn day(&self, date: Date) -> Day {
        if !self.work.contains(&calendar::weekday(date)) {
            return Day::Off("no work day".into());
        }
        if let Some(name) = self.holidays.on(date) {
            return Day::Off(format!("a holiday: {name}"));
        }
        let (Some(from), Some(to)) = (self.start(date.to_datetime(self.from)), self.end(date.to_datetime(self.to))) else {
            return Day::Off("out of range".into());
        };
        if let Some((.., reason)) = self.freezes.iter().find(|(start, end, _)| *start < to && from < *end) {
            return Day::Off(format!("frozen: {reason}"));
        }
        if from < to { Day::Work(from, to) } else { Day::Off("its business hours are skipped by a change of the clock".into()) }
    }

    /// Counts the work days after `earlier`, up to and with `date`, but not beyond `enough`.
    pub(super) fn work_days_since(&self, earlier: Date, date: Date, enough: u32) -> u32 {
        let mut count = 0;
        let mut day = date;
        while count < enough && day > earlier {
            if matches!(self.day(day), Day::Work(..)) {
                count += 1;
            }
            let Ok(before) = day.yesterday() else { break };
            day = before;
        }
        count
    }

    /// The first moment from which on the clock on the wall shows this time or a later one, and nothing earlier again.
    fn start(&self, time: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { after, .. } => after.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { before, .. } => self.change_before(before.to_timestamp(time).ok()?),
        }
    }

    /// The first moment at which the clock on the wall shows this time or a later one.
    fn end(&self, time: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { before, .. } => self.change_before(before.to_timestamp(time).ok()?),
        }
    }

    fn change_before(&self, at: Timestamp) -> Option<Timestamp> {
        let just_after = at.checked_add(1.nanosecond()).ok()?;
        self.zone.preceding(just_after).next().map(|change| change.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hours;
    use super::*;

    fn days(zone: &str, from: &str, to: &str) -> Days {
        let all = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];
        let spec = MonkeySpec {
            time_zone: Some(zone.into()),
            hours: Hours { from: from.into(), to: to.into() },
            work_days: all.to_vec(),
            ..MonkeySpec::default()
        };
        Days::new(&spec).expect("good")
    }

    fn shown(days: &Days, date: &str) -> String {
        match days.day(date.parse().expect(date)) {
            Day::Work(from, to) => format!("{from} {to}"),
            Day::Off(why) => why,
        }
    }

    #[test]
    fn hours_are_those_of_the_wall_where_clocks_change() {
        // Berlin: 2026-03-29 02:00 to 03:00, 2026-10-25 03:00 to 02:00.
        assert_eq!(shown(&days("Europe/Berlin", "09:00", "15:00"), "2026-03-28"), "2026-03-28T08:00:00Z 2026-03-28T14:00:00Z");
        assert_eq!(shown(&days("Europe/Berlin", "09:00", "15:00"), "2026-03-29"), "2026-03-29T07:00:00Z 2026-03-29T13:00:00Z");
        assert_eq!(shown(&days("Europe/Berlin", "01:00", "02:30"), "2026-03-29"), "2026-03-29T00:00:00Z 2026-03-29T01:00:00Z");
        assert_eq!(shown(&days("Europe/Berlin", "02:30", "04:00"), "2026-03-29"), "2026-03-29T01:00:00Z 2026-03-29T02:00:00Z");
        assert_eq!(
            shown(&days("Europe/Berlin", "02:10", "02:50"), "2026-03-29"),
            "its business hours are skipped by a change of the clock"
        );
        assert_eq!(
            shown(&days("Europe/Berlin", "01:00", "04:00"), "2026-10-25"),
            "2026-10-24T23:00:00Z 2026-10-25T03:00:00Z",
            "four hours"
        );
        assert_eq!(shown(&days("Europe/Berlin", "02:30", "04:00"), "2026-10-25"), "2026-10-25T01:30:00Z 2026-10-25T03:00:00Z");
        assert_eq!(shown(&days("Europe/Berlin", "01:00", "02:30"), "2026-10-25"), "2026-10-24T23:00:00Z 2026-10-25T00:30:00Z");
    }
}
