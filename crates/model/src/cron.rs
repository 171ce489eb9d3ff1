//! Cron expressions in a time zone.
//!
//! An expression is about civil time. Where clocks change, the rule is that of Vixie's cron and its successors (`cron(8)`):
//!
//! - An expression for particular times (`30 2 * * *`) comes once for each of them. Those that a change skips come together,
//!   once, at the first moment after the gap; of a time that comes twice, only the first counts.
//! - An expression whose minute or hour starts with `*` (`*/15 * * * *`, `0 */2 * * *`) follows the clock as it goes: what is
//!   skipped does not come, what is repeated comes twice.
//!
//! `cronexpr` reads expressions and compares them with dates; it is asked in UTC, where each civil time is there once, and
//! changes of the clock are handled here.

use cronexpr::Crontab;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::calendar::CalendarError;

/// A cron expression of five fields and the time zone in which it is meant.
#[derive(Debug, Clone)]
pub struct Cron {
    zone: TimeZone,
    civil: Crontab,
    /// For the last week of December alone, in which `cronexpr` 1.7 does not find `L`: it takes the last day for the one after
    /// which the month's number is greater.
    last_week: Option<Crontab>,
    follows_clock: bool,
}

/// The nicknames of `crontab(5)` that stand for times.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// How far ahead an expression is looked for: the calendar of days and weekdays repeats after 28 years, after 40 where a year
/// such as 2100 has no leap day.
const YEARS: i16 = 44;

impl Cron {
    /// Reads an expression: minute, hour, day of the month, month, day of the week; or one of the nicknames such as `@daily`.
    pub fn new(expression: &str, zone: TimeZone) -> Result<Self, CalendarError> {
        let written = expression.trim();
        let text = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(written)).map_or(written, |(_, text)| text);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let message = format!("`{expression}` has {} fields, and needs 5", fields.len());
            return Err(CalendarError { field: "cron", message, hint: HINT.into() });
        };
        let civil = read(expression, &fields.join(" "))?;
        let last = |item: &str| item.ends_with(['L', 'l']);
        let has_last = day.split(',').chain(weekday.split(',')).any(last);
        let last_week = if has_last && has_december(expression, month)? {
            let replaced = |field: &str, by: &dyn Fn(&str) -> String| {
                field.split(',').map(|item| if last(item) { by(item) } else { item.to_owned() }).collect::<Vec<_>>().join(",")
            };
            let day = replaced(day, &|_| "31".to_owned());
            let weekday = replaced(weekday, &|item| item[..item.len() - 1].to_owned());
            Some(read(expression, &format!("{minute} {hour} {day} 12 {weekday}"))?)
        } else {
            None
        };
        Ok(Self { zone, civil, last_week, follows_clock: minute.starts_with('*') || hour.starts_with('*') })
    }

    /// The time zone in which it is meant.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first time after a moment; none where it never comes.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let (mut at, mut included) = (after, false);
        // Each turn is over a time between two changes of the clock, or jumps ahead to a match, so two turns a match do.
        for _ in 0..64 {
            let offset = self.zone.to_offset(at);
            let mut from = offset.to_datetime(at);
            if included {
                from = from.checked_sub(1.nanosecond()).ok()?;
            }
            if let Some(repeated) = self.repeated_until(at) {
                from = from.max(repeated.checked_sub(1.nanosecond()).ok()?);
            }
            let found = self.civil_after(from)?;
            let change = self.zone.following(at).find(|change| change.timestamp() > at);
            let Some(change) = change.map(|change| (change.timestamp(), change.offset())) else {
                return offset.to_timestamp(found).ok();
            };
            if found < offset.to_datetime(change.0) {
                return offset.to_timestamp(found).ok();
            }
            if !self.follows_clock && found < change.1.to_datetime(change.0) {
                // Skipped by the change.
                return Some(change.0);
            }
            let near = self.zone.to_timestamp(found.checked_sub(2.days()).ok()?).ok()?;
            (at, included) = (change.0.max(near), true);
        }
        None
    }

    /// For an expression of particular times: up to which civil time (not included) this part of the day is a repetition.
    fn repeated_until(&self, at: Timestamp) -> Option<DateTime> {
        if self.follows_clock {
            return None;
        }
        let just_after = at.checked_add(1.nanosecond()).ok()?;
        let change = self.zone.preceding(just_after).next()?.timestamp();
        let before = self.zone.to_offset(change.checked_sub(1.nanosecond()).ok()?);
        (before > self.zone.to_offset(change)).then(|| before.to_datetime(change))
    }

    /// The first civil time after one that the expression matches.
    fn civil_after(&self, after: DateTime) -> Option<DateTime> {
        let from = TimeZone::UTC.to_timestamp(after).ok()?;
        let usual = search(&self.civil, from);
        let last_week = self.last_week.as_ref().and_then(|crontab| {
            let mut from = from;
            loop {
                let found = search(crontab, from)?;
                if found.day() > 24 {
                    return Some(found);
                }
                let christmas = found.date().with().day(25).build().ok()?;
                from = TimeZone::UTC.to_timestamp(christmas.to_datetime(jiff::civil::Time::midnight())).ok()?;
                from = from.checked_sub(1.nanosecond()).ok()?;
            }
        });
        usual.into_iter().chain(last_week).min()
    }
}

const HINT: &str = "minute, hour, day of month, month, day of week, such as `0 10 * * 1-5` for 10:00 on weekdays";

fn read(written: &str, fields: &str) -> Result<Crontab, CalendarError> {
    cronexpr::parse_crontab(&format!("{fields} UTC")).map_err(|error| {
        let detail = error.to_string();
        let detail = detail.lines().last().unwrap_or_default().trim_start().trim_start_matches('^').trim();
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        CalendarError { field: "cron", message: format!("`{written}` is not a cron expression{detail}"), hint: HINT.into() }
    })
}

/// Whether a field of months has December.
fn has_december(written: &str, month: &str) -> Result<bool, CalendarError> {
    let crontab = read(written, &format!("0 0 1 {month} *"))?;
    let november = Timestamp::from_second(1_701_302_400).unwrap_or(Timestamp::UNIX_EPOCH); // 2023-11-30
    Ok(search(&crontab, november).is_some_and(|found| found.year() == 2023))
}

/// `cronexpr` gives up after four years; leap days on a given day of the week are rarer.
fn search(crontab: &Crontab, after: Timestamp) -> Option<DateTime> {
    let mut from = after;
    for _ in 0..YEARS / 4 {
        if let Ok(found) = crontab.find_next(from) {
            return Some(found.datetime());
        }
        from = from.checked_add((4 * 365 * 24).hours()).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(expression: &str, zone: &str) -> Cron {
        Cron::new(expression, TimeZone::get(zone).expect(zone)).expect(expression)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    fn times(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let cron = cron(expression, zone);
        let shown = |moment: Timestamp| moment.to_zoned(cron.zone().clone()).strftime("%Y-%m-%d %H:%M%:z").to_string();
        let first = at(from).checked_sub(1.nanosecond()).expect("in range");
        std::iter::successors(cron.next(first), |last| cron.next(*last)).take(count).map(shown).collect()
    }

    #[test]
    fn particular_times_come_once_where_clocks_go_forward() {
        // Berlin 2026-03-29 02:00 to 03:00, New York 2026-03-08 02:00 to 03:00, Lord Howe 2026-10-04 02:00 to 02:30.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z", 3),
            ["2026-03-28 02:30+01:00", "2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"]
        );
        assert_eq!(
            times("10,50 2 * * *", "America/New_York", "2026-03-08T00:00Z", 3),
            ["2026-03-08 03:00-04:00", "2026-03-09 02:10-04:00", "2026-03-09 02:50-04:00"]
        );
        assert_eq!(times("0 3 * * *", "Europe/Berlin", "2026-03-29T00:00Z", 2), ["2026-03-29 03:00+02:00", "2026-03-30 03:00+02:00"]);
        assert_eq!(
            times("15,45 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", 3),
            ["2026-10-04 02:30+11:00", "2026-10-04 02:45+11:00", "2026-10-05 02:15+11:00"]
        );
    }

    #[test]
    fn particular_times_come_once_where_clocks_go_back() {
        // Berlin 2026-10-25 03:00 to 02:00, New York 2026-11-01 02:00 to 01:00, Lord Howe 2026-04-05 02:00 to 01:30.
        assert_eq!(times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 2), ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"]);
        assert_eq!(
            times("15 1,2 * * *", "America/New_York", "2026-11-01T00:00Z", 3),
            ["2026-11-01 01:15-04:00", "2026-11-01 02:15-05:00", "2026-11-02 01:15-05:00"]
        );
        assert_eq!(
            times("0,45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00Z", 3),
            ["2026-04-05 01:00+11:00", "2026-04-05 01:45+11:00", "2026-04-06 01:00+10:30"]
        );
    }

    #[test]
    fn an_expression_that_follows_the_clock_goes_with_it() {
        assert_eq!(
            times("30 * * * *", "Europe/Berlin", "2026-03-29T00:00Z", 3),
            ["2026-03-29 01:30+01:00", "2026-03-29 03:30+02:00", "2026-03-29 04:30+02:00"]
        );
        assert_eq!(
            times("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:00Z", 5),
            [
                "2026-10-25 02:00+02:00",
                "2026-10-25 02:30+02:00",
                "2026-10-25 02:00+01:00",
                "2026-10-25 02:30+01:00",
                "2026-10-26 02:00+01:00"
            ]
        );
        assert_eq!(times("0 */2 * * *", "Europe/Berlin", "2026-03-29T00:00Z", 1), ["2026-03-29 04:00+02:00"]);
    }

    #[test]
    fn the_last_day_of_december_is_a_last_day_too() {
        assert_eq!(
            times("0 9 L * *", "UTC", "2026-11-01T00:00Z", 3),
            ["2026-11-30 09:00+00:00", "2026-12-31 09:00+00:00", "2027-01-31 09:00+00:00"]
        );
        assert_eq!(
            times("0 9 * * FRIL", "UTC", "2026-11-01T00:00Z", 3),
            ["2026-11-27 09:00+00:00", "2026-12-25 09:00+00:00", "2027-01-29 09:00+00:00"]
        );
        assert_eq!(
            times("0 9 15,L 6-12/6 *", "UTC", "2026-11-01T00:00Z", 3),
            ["2026-12-15 09:00+00:00", "2026-12-31 09:00+00:00", "2027-06-15 09:00+00:00"]
        );
        assert_eq!(times("0 9 L 1-11 *", "UTC", "2026-12-01T00:00Z", 1), ["2027-01-31 09:00+00:00"]);
    }

    #[test]
    fn days_near_and_counted_ones_are_found() {
        assert_eq!(times("0 9 15W 8 *", "UTC", "2026-01-01T00:00Z", 1), ["2026-08-14 09:00+00:00"], "the 15th is a Saturday");
        assert_eq!(times("0 9 * * TUE#2", "UTC", "2026-11-01T00:00Z", 1), ["2026-11-10 09:00+00:00"], "a patch day");
        assert_eq!(times("@weekly", "UTC", "2026-11-16T00:00Z", 1), ["2026-11-22 00:00+00:00"]);
    }

    #[test]
    fn rare_days_are_found_and_impossible_ones_are_not() {
        assert_eq!(times("0 0 29 2 *", "UTC", "2096-03-01T00:00Z", 1), ["2104-02-29 00:00+00:00"]);
        assert_eq!(times("0 0 29 2 */7", "Europe/Berlin", "2026-01-01T00:00Z", 1), ["2032-02-29 00:00+01:00"], "a Sunday");
        assert_eq!(times("0 0 31 4 *", "UTC", "2026-01-01T00:00Z", 1), Vec::<String>::new());
    }

    proptest! {
        /// Minute by minute, an expression that follows the clock is just what the clock on the wall shows.
        #[test]
        fn following_the_clock_is_what_the_wall_shows(
            start in 1_700_000_000_i64..1_900_000_000, minute in 0_u32..60, step in 1_u32..8,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"]),
        ) {
            // The days around the next change of the clock.
            let tz = TimeZone::get(zone).expect(zone);
            let start = Timestamp::from_second(start).expect("in range");
            let start = tz.following(start).next().map_or(start, |change| change.timestamp() - 26.hours());
            let start = Timestamp::from_second(start.as_second() / 60 * 60).expect("in range");
            let cron = cron(&format!("{minute} */{step} * * *"), zone);
            let mut expected = Vec::new();
            for minutes in 0..50 * 60 {
                let moment = start + (minutes * 60).seconds();
                let wall = moment.to_zoned(tz.clone());
                if u32::from(wall.minute().unsigned_abs()) == minute && u32::from(wall.hour().unsigned_abs()) % step == 0 {
                    expected.push(moment);
                }
            }
            let end = start + 50.hours();
            let first = cron.next(start - 1.nanosecond());
            let found: Vec<Timestamp> =
                std::iter::successors(first, |last| cron.next(*last)).take_while(|moment| *moment < end).collect();
            prop_assert_eq!(found, expected);
        }

        /// Day by day, a particular time comes exactly once: when the wall shows it first, or right after it was skipped.
        #[test]
        fn a_particular_time_comes_once_a_day(
            start in 1_700_000_000_i64..1_900_000_000, minute in 0_i8..60, hour in 0_i8..24,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana"]),
        ) {
            let tz = TimeZone::get(zone).expect(zone);
            let cron = cron(&format!("{minute} {hour} * * *"), zone);
            let mut after = Timestamp::from_second(start).expect("in range");
            let mut date = None;
            for _ in 0..400 {
                let found = cron.next(after).expect("each day");
                prop_assert!(found > after);
                let wall = found.to_zoned(tz.clone());
                if let Some(last) = date {
                    prop_assert_eq!(wall.date(), last, "no day is left out, and none comes twice");
                }
                let meant = wall.date().at(hour, minute, 0, 0);
                match tz.to_ambiguous_timestamp(meant).offset() {
                    jiff::tz::AmbiguousOffset::Unambiguous { offset } => prop_assert_eq!(found, offset.to_timestamp(meant).expect("good")),
                    jiff::tz::AmbiguousOffset::Fold { before, .. } => prop_assert_eq!(found, before.to_timestamp(meant).expect("good")),
                    jiff::tz::AmbiguousOffset::Gap { .. } => prop_assert!(tz.preceding(found + 1.nanosecond()).next().expect("a change").timestamp() == found),
                }
                date = wall.date().tomorrow().ok();
                after = found;
            }
        }
    }
}
