//! The calendar and its feed.

use jiff::Timestamp;
use squall_schedule::{Entry, EntryKind, Planner, Timetable, calendar, feed, parse_monkey, parse_schedule};

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn entries() -> squall_schedule::Listing {
    let schedule = "apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: { name: nightly }\nspec: { experiment: kill, cron: 30 2 * * *, timeZone: Europe/Berlin, holidays: [{ date: 10-26, name: 'Nationalfeiertag; Österreich' }] }\n";
    let often = "apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: { name: often }\nspec: { experiment: kill, cron: '* * * * *' }\n";
    let monkey =
        "apiVersion: squall.dev/v1\nkind: Monkey\nmetadata: { name: prod }\nspec: { timeZone: Europe/Berlin, groups: [{ name: all }] }\n";
    let timetables = [schedule, often].map(|text| Timetable::new(&parse_schedule(text).expect("good").0).expect("good"));
    let planners = [Planner::new(&parse_monkey(monkey).expect("good").0).expect("good")];
    let freeze = Entry {
        uid: "freeze-1".into(),
        kind: EntryKind::Freeze,
        start: at("2026-10-20T00:00:00Z"),
        end: Some(at("2026-10-25T00:00:00Z")),
        title: "Frozen".into(),
        detail:
            "stocktaking\nin Graz, Linz; and \\ wherever — it is a long text that does not go on one line of 75 octets, öäü öäü öäü öäü"
                .into(),
        skipped: None,
    };
    let past = Entry { uid: "freeze-0".into(), end: Some(at("2026-10-20T01:00:00Z")), ..freeze.clone() };
    calendar(&timetables, &planners, vec![past, freeze], (at("2026-10-24T12:00:00Z"), at("2026-10-27T12:00:00Z")), 5)
}

#[test]
fn a_calendar_lists_everything_in_order_and_says_what_it_cut() {
    let listing = entries();
    assert_eq!(listing.cut, ["often"]);
    let shown: Vec<String> = listing
        .entries
        .iter()
        .filter(|e| !e.uid.starts_with("often"))
        .map(|e| format!("{} {} {}", e.start, e.uid, e.skipped.is_some()))
        .collect();
    assert_eq!(
        shown,
        [
            "2026-10-20T00:00:00Z freeze-1 false",
            "2026-10-25T00:30:00Z nightly-20261025t003000z false",
            "2026-10-26T01:30:00Z nightly-20261026t013000z true",
            "2026-10-26T08:00:00Z prod-20261026 false",
            "2026-10-27T01:30:00Z nightly-20261027t013000z false",
            "2026-10-27T08:00:00Z prod-20261027 false",
        ]
    );
    assert_eq!(listing.entries.iter().filter(|e| e.uid.starts_with("often")).count(), 5);
}

#[test]
fn the_feed_is_read_back_as_it_was_meant() {
    let listing = entries();
    let text = feed("Squall, prod", &listing.entries, at("2026-10-24T12:00:00Z"));
    assert_eq!(text, feed("Squall, prod", &entries().entries, at("2026-10-24T12:00:00Z")), "the same list is the same text");
    for line in text.split("\r\n") {
        assert!(line.len() <= 75, "{} octets: {line}", line.len());
        assert!(!line.contains('\n') && !line.contains('\r'));
    }
    let unfolded = icalendar::parser::unfold(&text);
    let read = icalendar::parser::read_calendar(&unfolded).expect("a good calendar");
    assert_eq!(read.components.len(), listing.entries.len());
    for (entry, component) in listing.entries.iter().zip(&read.components) {
        assert_eq!(component.name.as_str(), "VEVENT");
        let property = |name: &str| component.find_prop(name).map(|found| found.val.to_string());
        let moment = |at: Timestamp| Some(at.strftime("%Y%m%dT%H%M%SZ").to_string());
        assert_eq!(property("UID"), Some(format!("{}@squall", entry.uid)));
        assert_eq!(property("DTSTART"), moment(entry.start));
        assert_eq!(property("DTEND"), moment(entry.end.unwrap_or(entry.start + jiff::SignedDuration::from_mins(15))));
        assert_eq!(property("STATUS").as_deref(), Some(if entry.skipped.is_some() { "CANCELLED" } else { "CONFIRMED" }));
        let told = entry.skipped.as_ref().map_or_else(|| entry.detail.clone(), |why| format!("Will not take place: {why}"));
        // The way back of section 3.3.11.
        let plain = |text: String| text.replace("\\n", "\n").replace("\\,", ",").replace("\\;", ";").replace("\\\\", "\\");
        assert_eq!(property("DESCRIPTION").map(plain).unwrap_or_default(), told);
    }
}
