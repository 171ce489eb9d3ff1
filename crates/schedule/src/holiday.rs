//! Days on which nothing is done.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::calendar::{self, CalendarError};

/// A day, or days, off: `date`, or `from` and `to`. A date without a year comes every year.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holiday {
    /// One day: `2026-04-03`, or `12-25` for every year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The first of several days: `2026-12-24`, or `12-24` for every year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last of them, included; of a yearly span it may be in the next year: `01-02`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// For people: `Good Friday`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Holidays, read once and asked often.
#[derive(Debug, Clone, Default)]
pub struct Holidays(Vec<(Days, String)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Days {
    Once(Date, Date),
    /// Month and day.
    Yearly((i8, i8), (i8, i8)),
}

impl Holidays {
    /// Reads them; an error says which.
    pub fn new(holidays: &[Holiday]) -> Result<Self, (usize, CalendarError)> {
        let read = |(i, holiday): (usize, &Holiday)| holiday.read().map_err(|error| (i, error));
        holidays.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// The name of the holiday that a day is; none for other days.
    pub fn on(&self, date: Date) -> Option<&str> {
        self.0.iter().find(|(days, _)| days.contains(date)).map(|(_, name)| name.as_str())
    }
}

impl Days {
    fn contains(self, date: Date) -> bool {
        match self {
            Self::Once(from, to) => from <= date && date <= to,
            Self::Yearly(from, to) => {
                let day = (date.month(), date.day());
                if from <= to { from <= day && day <= to } else { from <= day || day <= to }
            }
        }
    }
}

impl Holiday {
    fn read(&self) -> Result<(Days, String), CalendarError> {
        let wrong = |field, message: String, hint: &str| Err(CalendarError { field, message, hint: hint.into() });
        let (from, to) = match (&self.date, &self.from, &self.to) {
            (Some(date), None, None) => (("date", date), ("date", date)),
            (None, Some(from), Some(to)) => (("from", from), ("to", to)),
            (None, None, None) => return wrong("date", "the holiday has no date".into(), "write `date: 12-25`, or `from` and `to`"),
            _ => return wrong("date", "the holiday has a date and a part of a span".into(), "write `date`, or `from` and `to`"),
        };
        let shown = if from.1 == to.1 { from.1.clone() } else { format!("{} to {}", from.1, to.1) };
        let name = self.name.clone().filter(|name| !name.trim().is_empty()).unwrap_or(shown);
        match (from.1.len() > 5, to.1.len() > 5) {
            (true, true) => {
                let (first, last) = (calendar::date(from.0, from.1)?, calendar::date(to.0, to.1)?);
                if last < first {
                    return wrong("to", format!("the holiday ends on {last}, before it starts on {first}"), "swap the two");
                }
                Ok((Days::Once(first, last), name))
            }
            (false, false) => Ok((Days::Yearly(yearly(from.0, from.1)?, yearly(to.0, to.1)?), name)),
            _ => wrong("to", "one end of the holiday has a year and the other has none".into(), "write both with a year, or both without"),
        }
    }
}

/// `12-25`. The 29th of February is one: it comes in leap years.
fn yearly(field: &'static str, text: &str) -> Result<(i8, i8), CalendarError> {
    let date = calendar::date(field, &format!("2024-{text}")).map_err(|error| CalendarError {
        message: format!("`{text}` is not a day of the year"),
        hint: "write it as `12-25`, or with its year as `2026-12-25`".into(),
        ..error
    })?;
    Ok((date.month(), date.day()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(date: &str) -> Holiday {
        Holiday { date: Some(date.into()), ..Holiday::default() }
    }

    fn span(from: &str, to: &str) -> Holiday {
        Holiday { from: Some(from.into()), to: Some(to.into()), name: Some("days off".into()), ..Holiday::default() }
    }

    #[test]
    fn a_yearly_span_may_go_over_the_end_of_the_year() {
        let holidays =
            Holidays::new(&[day("2026-04-03"), day("05-01"), span("12-24", "01-02"), span("2026-08-03", "2026-08-07")]).expect("good");
        let on = |date: &str| holidays.on(date.parse().expect(date));
        assert_eq!(on("2026-04-03"), Some("2026-04-03"));
        assert_eq!(on("2027-04-03"), None, "once");
        assert_eq!(on("2031-05-01"), Some("05-01"));
        for date in ["2026-12-24", "2026-12-31", "2027-01-01", "2027-01-02", "2026-08-03", "2026-08-07"] {
            assert_eq!(on(date), Some("days off"), "{date}");
        }
        for date in ["2026-12-23", "2027-01-03", "2026-08-08", "2027-08-03"] {
            assert_eq!(on(date), None, "{date}");
        }
    }

    #[test]
    fn a_holiday_that_cannot_be_is_refused() {
        let error = |holiday: Holiday| Holidays::new(&[day("05-01"), holiday]).map(drop).map_err(|(i, error)| format!("{i} {error}"));
        assert_eq!(error(day("13-01")), Err("1 `date`: `13-01` is not a day of the year".into()));
        assert_eq!(error(Holiday::default()), Err("1 `date`: the holiday has no date".into()));
        assert_eq!(error(span("2026-12-24", "12-26")), Err("1 `to`: one end of the holiday has a year and the other has none".into()));
        assert_eq!(
            error(span("2026-12-24", "2026-12-20")),
            Err("1 `to`: the holiday ends on 2026-12-20, before it starts on 2026-12-24".into())
        );
        assert_eq!(error(day("2026-02-29")), Err("1 `date`: `2026-02-29` is not a date".into()));
        assert_eq!(error(day("02-29")), Ok(()), "in leap years");
    }
}
