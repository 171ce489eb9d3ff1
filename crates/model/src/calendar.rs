//! When experiments may run (a policy's windows and freezes), and when one is meant to (its schedule).
//!
//! Days and times of day are civil ones of a time zone. Where clocks go forward over the start of a window, it starts with
//! the first moment after the gap; where they go back, the earlier of the two moments counts (RFC 5545, section 3.3.5).

use jiff::civil::{Date, Time as TimeOfDay};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use crate::{Cron, Freeze, PolicySpec, Schedule, Weekday, Window};

/// A policy's calendar, or a schedule, that cannot be used: the field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct CalendarError {
    /// Name of the field.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub hint: String,
}

/// Nothing may run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule says so.
    pub reason: String,
    /// The first moment at which experiments may run again; none within the next ten years.
    pub next: Option<Zoned>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.next {
            Some(next) => write!(f, "{}; the next allowed time is {}", self.reason, next.strftime("%a %Y-%m-%d %H:%M %Z")),
            None => write!(f, "{}; there is no allowed time in the next ten years", self.reason),
        }
    }
}

impl std::error::Error for Refusal {}

/// Whether experiments may run at this moment by the windows and freezes of a policy. A calendar that cannot be read
/// allows nothing.
pub fn allowed(policy: &PolicySpec, now: Timestamp) -> Result<(), Refusal> {
    let refuse = |error: CalendarError| Refusal { reason: error.to_string(), next: None };
    let calendar = Calendar::new(&policy.windows, &policy.freezes).map_err(refuse)?;
    let Some(reason) = calendar.refusal(now) else { return Ok(()) };
    Err(Refusal { reason, next: calendar.next_allowed(now).map(|next| next.to_zoned(calendar.zone())) })
}

/// Windows and freezes, read once and asked often.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    windows: Vec<OpenWindow>,
    freezes: Vec<Frozen>,
}

impl Calendar {
    /// Reads them.
    pub fn new(windows: &[Window], freezes: &[Freeze]) -> Result<Self, CalendarError> {
        let windows = windows.iter().map(OpenWindow::new).collect::<Result<Vec<_>, _>>()?;
        let freezes = freezes.iter().map(Frozen::new).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { windows, freezes })
    }

    /// Why nothing may run at a moment; none if something may.
    pub fn refusal(&self, now: Timestamp) -> Option<String> {
        if let Some(freeze) = self.freezes.iter().find(|freeze| freeze.contains(now)) {
            return Some(format!("experiments are frozen on {}: {}", freeze.days, freeze.reason));
        }
        let open = self.windows.is_empty() || self.windows.iter().any(|window| window.contains(now));
        (!open).then(|| "outside the windows in which experiments may run".to_owned())
    }

    /// The first moment from this one on at which something may run; none within the next ten years.
    pub fn next_allowed(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = now.checked_add((10 * 366 * 24).hours()).ok()?;
        let mut at = now;
        while at <= limit {
            if let Some(freeze) = self.freezes.iter().find(|freeze| freeze.contains(at)) {
                at = freeze.to;
            } else if self.windows.is_empty() || self.windows.iter().any(|window| window.contains(at)) {
                return Some(at);
            } else {
                at = self.windows.iter().filter_map(|window| window.next_start(at)).min()?;
            }
        }
        None
    }

    /// The start and end (not included) of each freeze, in the order given.
    pub fn freezes(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.freezes.iter().map(|freeze| (freeze.from, freeze.to))
    }

    /// In which people are told of it: the first window's, or the first freeze's.
    fn zone(&self) -> TimeZone {
        self.windows.first().map(|w| w.zone.clone()).or(self.freezes.first().map(|f| f.zone.clone())).unwrap_or(TimeZone::UTC)
    }
}

/// The next times of a schedule after a moment, at most `count`; fewer where it has no more.
pub fn next(schedule: &Schedule, after: Timestamp, count: usize) -> Result<Vec<Zoned>, CalendarError> {
    let cron = Cron::new(&schedule.cron, zone(schedule.time_zone.as_deref())?)?;
    let times = std::iter::successors(cron.next(after), |last| cron.next(*last));
    Ok(times.take(count).map(|time| time.to_zoned(cron.zone().clone())).collect())
}

/// Checks a schedule: its expression, its time zone, and that its day ever comes.
pub(crate) fn check_schedule(schedule: &Schedule) -> Result<(), CalendarError> {
    // Any moment does; leap days come within eight years.
    let start = Timestamp::from_second(1_700_000_000).unwrap_or(Timestamp::UNIX_EPOCH);
    if next(schedule, start, 1)?.is_empty() {
        let message = format!("`{}` never comes", schedule.cron);
        return Err(CalendarError { field: "cron", message, hint: "check the day of the month against the month".into() });
    }
    Ok(())
}

/// Checks a window.
pub(crate) fn check_window(window: &Window) -> Result<(), CalendarError> {
    OpenWindow::new(window).map(drop)
}

/// Checks a freeze.
pub(crate) fn check_freeze(freeze: &Freeze) -> Result<(), CalendarError> {
    Frozen::new(freeze).map(drop)
}

/// A time zone by its IANA name; UTC where there is none.
pub fn zone(name: Option<&str>) -> Result<TimeZone, CalendarError> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_| CalendarError {
        field: "timeZone",
        message: format!("`{name}` is not a time zone"),
        hint: "write a name of the IANA list, such as `Europe/Berlin` or `UTC`".into(),
    })
}

/// A time of day, written `09:30`. `field` is what the error names.
pub fn time_of_day(field: &'static str, text: &str) -> Result<TimeOfDay, CalendarError> {
    let wrong = || CalendarError { field, message: format!("`{text}` is not a time of day"), hint: "write it as `\"09:30\"`".into() };
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let number = |part: &str| {
        let good = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        good.then(|| part.parse::<i8>().ok()).flatten().ok_or_else(wrong)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    TimeOfDay::new(hours, minutes, 0, 0).map_err(|_| wrong())
}

/// A date, written `2026-12-24`. `field` is what the error names.
pub fn date(field: &'static str, text: &str) -> Result<Date, CalendarError> {
    let wrong = || CalendarError { field, message: format!("`{text}` is not a date"), hint: "write it as `2026-12-24`".into() };
    if text.len() != 10 {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

/// The day of the week of a date.
pub fn weekday(date: Date) -> Weekday {
    match date.weekday() {
        jiff::civil::Weekday::Monday => Weekday::Mon,
        jiff::civil::Weekday::Tuesday => Weekday::Tue,
        jiff::civil::Weekday::Wednesday => Weekday::Wed,
        jiff::civil::Weekday::Thursday => Weekday::Thu,
        jiff::civil::Weekday::Friday => Weekday::Fri,
        jiff::civil::Weekday::Saturday => Weekday::Sat,
        jiff::civil::Weekday::Sunday => Weekday::Sun,
    }
}

/// A window, read.
#[derive(Debug, Clone)]
struct OpenWindow {
    days: Vec<Weekday>,
    from: TimeOfDay,
    to: TimeOfDay,
    zone: TimeZone,
}

impl OpenWindow {
    fn new(window: &Window) -> Result<Self, CalendarError> {
        let (from, to) = (time_of_day("from", &window.from)?, time_of_day("to", &window.to)?);
        if from == to {
            let message = format!("the window starts and ends at {}", window.from);
            let hint = "for whole days write `from: \"00:00\"` and `to: \"23:59\"`, or leave out the window".into();
            return Err(CalendarError { field: "to", message, hint });
        }
        Ok(Self { days: window.days.clone(), from, to, zone: zone(window.time_zone.as_deref())? })
    }

    /// The window that starts on this day, if one does.
    fn on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.is_empty() && !self.days.contains(&weekday(date)) {
            return None;
        }
        let end = if self.to > self.from { date } else { date.tomorrow().ok()? };
        let moment = |date: Date, time| date.to_datetime(time).to_zoned(self.zone.clone()).ok().map(|zoned| zoned.timestamp());
        Some((moment(date, self.from)?, moment(end, self.to)?))
    }

    fn contains(&self, now: Timestamp) -> bool {
        let today = now.to_zoned(self.zone.clone()).date();
        let starts = [today.yesterday().ok(), Some(today)];
        starts.into_iter().flatten().filter_map(|date| self.on(date)).any(|(from, to)| from <= now && now < to)
    }

    fn next_start(&self, after: Timestamp) -> Option<Timestamp> {
        let today = after.to_zoned(self.zone.clone()).date();
        // Each day of the week comes within the next eight days.
        (0..=8)
            .filter_map(|days| today.checked_add(days.days()).ok())
            .filter_map(|date| self.on(date))
            .map(|(from, _)| from)
            .find(|from| *from > after)
    }
}

/// A freeze, read.
#[derive(Debug, Clone)]
struct Frozen {
    from: Timestamp,
    /// Not included.
    to: Timestamp,
    zone: TimeZone,
    days: String,
    reason: String,
}

impl Frozen {
    fn new(freeze: &Freeze) -> Result<Self, CalendarError> {
        let (from, to) = (date("from", &freeze.from)?, date("to", &freeze.to)?);
        if to < from {
            let message = format!("the freeze ends on {to}, before it starts on {from}");
            return Err(CalendarError { field: "to", message, hint: "swap the two".into() });
        }
        let zone = zone(freeze.time_zone.as_deref())?;
        let start = |field, date: Date| {
            let far = |_| CalendarError { field, message: format!("{date} is out of range"), hint: "write a nearer date".into() };
            date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(far)
        };
        let after = to.tomorrow().unwrap_or(to);
        let days = if from == to { from.to_string() } else { format!("{from} to {to}") };
        Ok(Self { from: start("from", from)?, to: start("to", after)?, days, reason: freeze.reason.clone(), zone })
    }

    fn contains(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.to
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(days: &[Weekday], from: &str, to: &str, zone: &str) -> Window {
        Window { days: days.to_vec(), from: from.into(), to: to.into(), time_zone: Some(zone.into()) }
    }

    fn freeze(from: &str, to: &str, zone: &str) -> Freeze {
        Freeze { from: from.into(), to: to.into(), time_zone: Some(zone.into()), reason: "holidays".into() }
    }

    fn policy(windows: Vec<Window>, freezes: Vec<Freeze>) -> PolicySpec {
        PolicySpec { windows, freezes, ..PolicySpec::default() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse::<Zoned>().expect(text).timestamp()
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_starts_on() {
        let policy = policy(vec![window(&[Weekday::Fri], "22:00", "02:00", "Europe/Berlin")], vec![]);
        assert!(allowed(&policy, at("2026-11-20T23:00[Europe/Berlin]")).is_ok(), "Friday night");
        assert!(allowed(&policy, at("2026-11-21T01:59[Europe/Berlin]")).is_ok(), "early on Saturday");
        let refusal = allowed(&policy, at("2026-11-21T02:00[Europe/Berlin]")).expect_err("the end is not included");
        assert_eq!(
            refusal.to_string(),
            "outside the windows in which experiments may run; the next allowed time is Fri 2026-11-27 22:00 CET"
        );
        assert!(allowed(&policy, at("2026-11-20T01:00[Europe/Berlin]")).is_err(), "early on Friday belongs to Thursday");
    }

    #[test]
    fn a_freeze_says_why_and_until_when() {
        let policy =
            policy(vec![window(&[Weekday::Mon, Weekday::Tue], "09:00", "17:00", "UTC")], vec![freeze("2026-12-21", "2027-01-03", "UTC")]);
        let refusal = allowed(&policy, at("2026-12-22T10:00[UTC]")).expect_err("frozen");
        assert_eq!(
            refusal.to_string(),
            "experiments are frozen on 2026-12-21 to 2027-01-03: holidays; the next allowed time is Mon 2027-01-04 09:00 UTC"
        );
        assert!(allowed(&policy, at("2027-01-04T09:00[UTC]")).is_ok());
        assert!(allowed(&PolicySpec::default(), at("2027-01-04T09:00[UTC]")).is_ok(), "no calendar allows everything");
    }

    #[test]
    fn windows_follow_the_clock_when_it_changes() {
        // Clocks go from 02:00 to 03:00 on 2026-03-29 and back on 2026-10-25.
        let spring = policy(vec![window(&[], "02:30", "04:00", "Europe/Berlin")], vec![]);
        assert!(allowed(&spring, at("2026-03-29T01:59[Europe/Berlin]")).is_err());
        assert!(allowed(&spring, at("2026-03-29T03:30[Europe/Berlin]")).is_ok());
        assert!(allowed(&spring, at("2026-03-29T04:00[Europe/Berlin]")).is_err());
        let autumn = policy(vec![window(&[], "01:00", "04:00", "Europe/Berlin")], vec![]);
        let first = "2026-10-25T02:30+02:00[Europe/Berlin]";
        let second = "2026-10-25T02:30+01:00[Europe/Berlin]";
        assert!(allowed(&autumn, at(first)).is_ok() && allowed(&autumn, at(second)).is_ok());
    }

    #[test]
    fn a_calendar_that_is_never_open_says_so() {
        let policy = policy(vec![window(&[], "09:00", "17:00", "UTC")], vec![freeze("2020-01-01", "2099-12-31", "UTC")]);
        assert_eq!(allowed(&policy, at("2026-12-22T10:00[UTC]")).expect_err("frozen").next, None);
    }

    #[test]
    fn a_schedule_keeps_to_its_time_zone() {
        let schedule = Schedule { cron: "30 9 * * 1-5".into(), time_zone: Some("Europe/Berlin".into()) };
        let times = next(&schedule, at("2026-10-23T12:00[UTC]"), 2).expect("good");
        let shown: Vec<String> = times.iter().map(|t| t.timestamp().to_string()).collect();
        assert_eq!(shown, ["2026-10-26T08:30:00Z", "2026-10-27T08:30:00Z"]);
    }

    #[test]
    fn a_schedule_that_cannot_be_is_refused() {
        let error = |cron: &str, zone: Option<&str>| {
            let schedule = Schedule { cron: cron.into(), time_zone: zone.map(str::to_owned) };
            check_schedule(&schedule).expect_err(cron).to_string()
        };
        assert_eq!(error("* * * *", None), "`cron`: `* * * *` has 4 fields, and needs 5");
        assert_eq!(error("0 10 * * *", Some("Mars/Base")), "`timeZone`: `Mars/Base` is not a time zone");
        assert_eq!(error("0 0 30 2 *", None), "`cron`: `0 0 30 2 *` never comes");
        assert!(error("61 * * * *", None).starts_with("`cron`: `61 * * * *` is not a cron expression: "));
        let leap = Schedule { cron: "0 0 29 2 *".into(), time_zone: None };
        assert!(check_schedule(&leap).is_ok());
    }

    proptest! {
        #[test]
        fn the_next_allowed_time_is_allowed_and_nothing_before_it_is(
            seconds in 1_700_000_000_i64..1_900_000_000,
            from in 0_u32..48, length in 1_u32..47,
            days in prop::collection::vec(0_usize..7, 0..4),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            frozen in 0_i64..40,
        ) {
            let all = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];
            let days: Vec<Weekday> = days.into_iter().map(|day| all[day]).collect();
            let clock = |half: u32| format!("{:02}:{:02}", (half % 48) / 2, (half % 2) * 30);
            let now = Timestamp::from_second(seconds).expect("in range");
            let today = now.to_zoned(TimeZone::UTC).date();
            let end = today.checked_add(frozen.days()).expect("in range");
            let policy = policy(
                vec![window(&days, &clock(from), &clock(from + length), zone)],
                vec![freeze(&today.to_string(), &end.to_string(), zone)],
            );
            if let Err(refusal) = allowed(&policy, now) {
                let next = refusal.next.expect("a window comes each week").timestamp();
                prop_assert!(next > now);
                prop_assert!(allowed(&policy, next).is_ok());
                for part in 0..50 {
                    let between = now.as_second() + (next.as_second() - now.as_second() - 1) * part / 50;
                    prop_assert!(allowed(&policy, Timestamp::from_second(between).expect("in range")).is_err());
                }
            }
        }
    }
}
