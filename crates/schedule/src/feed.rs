//! A calendar as iCalendar text (RFC 5545), which calendar programs subscribe to.

use jiff::{SignedDuration, Timestamp};

use crate::{Entry, EntryKind};

/// A feed of entries under a name. All times are in UTC, which every program shows in its own zone, so no time zone has to be
/// spelled out. `stamp` is when the list was made.
pub fn feed(name: &str, entries: &[Entry], stamp: Timestamp) -> String {
    let mut feed = Lines::default();
    feed.line("BEGIN", "VCALENDAR");
    feed.line("VERSION", "2.0");
    feed.line("PRODID", "-//Squall//Calendar//EN");
    feed.line("CALSCALE", "GREGORIAN");
    feed.line("METHOD", "PUBLISH");
    feed.line("X-WR-CALNAME", &escaped(name));
    // RFC 7986, section 5.7, and what older programs read instead.
    feed.line("REFRESH-INTERVAL;VALUE=DURATION", "PT1H");
    feed.line("X-PUBLISHED-TTL", "PT1H");
    for entry in entries {
        event(&mut feed, entry, stamp);
    }
    feed.line("END", "VCALENDAR");
    feed.0
}

fn event(feed: &mut Lines, entry: &Entry, stamp: Timestamp) {
    feed.line("BEGIN", "VEVENT");
    feed.line("UID", &escaped(&format!("{}@squall", entry.uid)));
    feed.line("DTSTAMP", &utc(stamp));
    feed.line("DTSTART", &utc(entry.start));
    // Programs do not show what has no length.
    let end = entry.end.or_else(|| entry.start.checked_add(SignedDuration::from_mins(15)).ok());
    if let Some(end) = end {
        feed.line("DTEND", &utc(end));
    }
    feed.line("SUMMARY", &escaped(&entry.title));
    let because = entry.skipped.as_ref().map(|why| format!("Will not take place: {why}"));
    let detail: Vec<&str> =
        [because.as_deref(), Some(entry.detail.as_str())].into_iter().flatten().filter(|text| !text.is_empty()).collect();
    if !detail.is_empty() {
        feed.line("DESCRIPTION", &escaped(&detail.join("\n")));
    }
    feed.line("STATUS", if entry.skipped.is_some() { "CANCELLED" } else { "CONFIRMED" });
    feed.line("CATEGORIES", category(entry.kind));
    // Nobody is busy because a monkey may come by.
    feed.line("TRANSP", "TRANSPARENT");
    feed.line("END", "VEVENT");
}

fn category(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Occurrence => "SCHEDULE",
        EntryKind::MonkeyHours => "CHAOS-MONKEY",
        EntryKind::Freeze => "FREEZE",
        EntryKind::GameDay => "GAME-DAY",
    }
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// TEXT of section 3.3.11. Characters that it has no place for are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push(c),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// Content lines, folded as section 3.1 has it: at most 75 octets, and no character in two.
#[derive(Default)]
struct Lines(String);

const OCTETS: usize = 75;

impl Lines {
    fn line(&mut self, name: &str, value: &str) {
        let mut length = 0;
        for c in name.chars().chain([':']).chain(value.chars()) {
            if length + c.len_utf8() > OCTETS {
                self.0.push_str("\r\n ");
                length = 1;
            }
            self.0.push(c);
            length += c.len_utf8();
        }
        self.0.push_str("\r\n");
    }
}
