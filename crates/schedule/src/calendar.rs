//! What is ahead, as one list: times of schedules, hours of monkeys, holidays and freezes.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Day, Planner, Timetable};

/// One entry of a calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The same whenever the same thing is listed.
    pub uid: String,
    /// What it is.
    pub kind: EntryKind,
    /// Start.
    pub start: Timestamp,
    /// End, not included. None for what has no length that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// In a few words.
    pub title: String,
    /// In more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Why it will not take place, as far as that is known today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// What an entry of a calendar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EntryKind {
    /// A time of a schedule.
    Occurrence,
    /// Hours in which a monkey may strike. When it does is not told.
    MonkeyHours,
    /// A span in which a policy lets nothing run.
    Freeze,
    /// A game day.
    GameDay,
}

/// A list of entries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listing {
    /// In order of their start.
    pub entries: Vec<Entry>,
    /// The names of schedules with more times than are listed.
    pub cut: Vec<String>,
}

/// What is ahead within a span of time (its end not included). A schedule has at most `limit` entries. What others know of the
/// same time, such as a policy's freezes, is given as `more`.
pub fn calendar(timetables: &[Timetable], planners: &[Planner], more: Vec<Entry>, span: (Timestamp, Timestamp), limit: usize) -> Listing {
    let (from, to) = span;
    let mut listing = Listing::default();
    for timetable in timetables {
        let mut planned = timetable.between(from, to, limit.saturating_add(1));
        if planned.len() > limit {
            planned.truncate(limit);
            listing.cut.push(timetable.name().to_owned());
        }
        listing.entries.extend(planned.into_iter().map(|planned| Entry {
            uid: planned.occurrence.id,
            kind: EntryKind::Occurrence,
            start: planned.occurrence.due,
            end: None,
            title: format!("{} (schedule)", timetable.name()),
            detail: String::new(),
            skipped: planned.skipped,
        }));
    }
    for planner in planners {
        listing.entries.extend(hours(planner, from, to));
    }
    listing.entries.extend(more.into_iter().filter(|entry| entry.start < to && entry.end.unwrap_or(entry.start) >= from));
    listing.entries.sort_by(|a, b| (a.start, a.kind, &a.uid).cmp(&(b.start, b.kind, &b.uid)));
    listing
}

fn hours(planner: &Planner, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Entry> {
    let last = planner.date(to);
    let days =
        std::iter::successors(Some(planner.date(from)), |day: &Date| day.checked_add(1.day()).ok()).take_while(move |day| *day <= last);
    days.filter_map(move |date| {
        let Day::Work(start, end) = planner.day(date) else { return None };
        (start < to && from < end).then(|| Entry {
            uid: format!("{}-{}", planner.name(), date.strftime("%Y%m%d")),
            kind: EntryKind::MonkeyHours,
            start,
            end: Some(end),
            title: format!("{} (Chaos Monkey)", planner.name()),
            detail: if planner.leashed() { "on the leash: nothing is done".into() } else { "it may strike at any minute".into() },
            skipped: (!planner.enabled()).then(|| "the monkey is disabled".into()),
        })
    })
}
