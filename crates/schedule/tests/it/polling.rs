//! Schedules: each time is decided exactly once, however the looks are spaced.

use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use squall_schedule::{Because, Decided, Outcome, Schedule, State, Timetable, parse_schedule};

fn schedule(spec: &str) -> Schedule {
    let text = format!("apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: {{ name: nightly }}\nspec: {{ experiment: kill, {spec} }}\n");
    parse_schedule(&text).unwrap_or_else(|errors| panic!("{errors:?}")).0
}

fn timetable(spec: &str) -> Timetable {
    Timetable::new(&schedule(spec)).expect("good")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

/// `F` fired, `L` fired late, `R` fired in place of another, `S` skipped, `M` missed.
fn letters(decided: &Decided) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Fire { replace: true, .. } => 'R',
        Outcome::Fire { late: true, .. } => 'L',
        Outcome::Fire { .. } => 'F',
        Outcome::Skip { .. } => 'S',
        Outcome::Missed { .. } => 'M',
    };
    decided.decisions.iter().map(|decision| letter(&decision.outcome)).collect()
}

#[test]
fn a_time_is_fired_once_when_it_is_due_and_no_earlier() {
    let timetable = timetable("cron: 30 2 * * *, timeZone: Europe/Berlin");
    let state = State::new(at("2026-11-23T00:00:00Z"));
    let early = timetable.decide(state, at("2026-11-23T01:29:59Z"), false);
    assert_eq!((letters(&early), early.wake), (String::new(), Some(at("2026-11-23T01:30:00Z"))));
    let due = timetable.decide(early.state, at("2026-11-23T01:30:00Z"), false);
    assert_eq!((letters(&due), due.wake), ("F".into(), Some(at("2026-11-24T01:30:00Z"))));
    assert_eq!(due.decisions[0].occurrence.id, "nightly-20261123t013000z");
    assert_eq!(letters(&timetable.decide(due.state, at("2026-11-23T01:30:00Z"), false)), "");
    // A server that did not see the new state decides the same id, and finds it taken.
    assert_eq!(timetable.decide(early.state, at("2026-11-23T01:30:20Z"), false).decisions[0].occurrence, due.decisions[0].occurrence);
}

#[test]
fn a_clock_that_goes_back_fires_nothing_again() {
    let timetable = timetable("cron: 0 * * * *");
    let fired = timetable.decide(State::new(at("2026-11-23T00:30:00Z")), at("2026-11-23T01:00:10Z"), false);
    assert_eq!(letters(&fired), "F");
    let back = timetable.decide(fired.state, at("2026-11-22T23:00:00Z"), false);
    assert_eq!((letters(&back), back.clock_went_back, back.state), (String::new(), true, fired.state));
    let again = timetable.decide(back.state, at("2026-11-23T01:00:20Z"), false);
    assert_eq!((letters(&again), again.clock_went_back), (String::new(), false));
    assert_eq!(letters(&timetable.decide(again.state, at("2026-11-23T02:00:05Z"), false)), "F");
}

#[test]
fn missed_times_are_treated_as_the_policy_says() {
    let state = State::new(at("2026-11-23T00:30:00Z"));
    // Nobody looked from 0:30 to 5:30, or to 6:00:30 in time for the sixth.
    let look = |missed: &str, now: &str| {
        let timetable = timetable(&format!("cron: 0 * * * *, concurrency: allow, missed: {missed}"));
        letters(&timetable.decide(state, at(now), false))
    };
    assert_eq!(look("{ policy: skip }", "2026-11-23T05:30:00Z"), "MMMMM");
    assert_eq!(look("{ policy: skip }", "2026-11-23T06:00:30Z"), "MMMMMF");
    assert_eq!(look("{ policy: once, deadline: 6h }", "2026-11-23T05:30:00Z"), "MMMML");
    assert_eq!(look("{ policy: once, deadline: 20m }", "2026-11-23T05:30:00Z"), "MMMMM");
    assert_eq!(look("{ policy: once, deadline: 6h }", "2026-11-23T06:00:30Z"), "MMMMMF", "one in time makes up for them");
    assert_eq!(look("{ policy: all, deadline: 6h }", "2026-11-23T05:30:00Z"), "LLLLL");
    assert_eq!(look("{ policy: all, deadline: 3h }", "2026-11-23T05:30:00Z"), "MMLLL");
    assert_eq!(look("{ policy: all, deadline: 6h, upTo: 2 }", "2026-11-23T06:00:30Z"), "MMMLLF");
}

#[test]
fn a_run_that_is_still_going_on_is_treated_as_the_policy_says() {
    let state = State::new(at("2026-11-23T00:30:00Z"));
    let look = |concurrency: &str, running: bool| {
        let timetable = timetable(&format!("cron: '0,1 1 * * *', concurrency: {concurrency}, missed: {{ after: 2m }}"));
        letters(&timetable.decide(state, at("2026-11-23T01:01:30Z"), running))
    };
    assert_eq!([look("forbid", false), look("forbid", true)], ["FS", "SS"]);
    assert_eq!([look("allow", false), look("allow", true)], ["FF", "FF"]);
    assert_eq!([look("replace", false), look("replace", true)], ["FR", "RR"]);
}

#[test]
fn the_calendar_skips_and_says_why() {
    let spec = "cron: 0 */6 * * *, timeZone: Europe/Berlin, starts: 2026-12-24, ends: 2026-12-31,
      windows: [{ from: '06:00', to: '20:00' }], holidays: [{ from: 12-25, to: 12-26, name: Christmas }],
      freezes: [{ from: 2026-12-28, to: 2026-12-28, reason: stocktaking }], missed: { policy: all, deadline: 30d, upTo: 100 },
      concurrency: allow";
    let decided = timetable(spec).decide(State::new(at("2026-12-20T00:00:00Z")), at("2027-01-05T12:00:00Z"), false);
    // It is looked at on a day after the last, so each that is good is made up for.
    assert_eq!(letters(&decided), "SLLLSSSSSSSSSLLLSSSSSLLLSLLLSLLL");
    let why = |i: usize| match &decided.decisions[i].outcome {
        Outcome::Skip { because, detail } => (*because, detail.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(0), (Because::Calendar, "outside the windows in which experiments may run".into()));
    assert_eq!(why(5), (Because::Holiday, "a holiday: Christmas".into()));
    assert_eq!(why(17), (Because::Calendar, "experiments are frozen on 2026-12-28: stocktaking".into()));
    assert_eq!(decided.wake, None, "the schedule is over");
    // What is good itself is not made up for outside of the windows.
    let night = timetable(spec).decide(State::new(at("2026-12-24T16:00:00Z")), at("2026-12-24T19:30:00Z"), false);
    assert_eq!(letters(&night), "M", "{night:?}");
}

#[test]
fn while_paused_times_are_skipped_and_not_kept_for_later() {
    let paused = timetable("cron: 0 * * * *, paused: true, missed: { policy: once, deadline: 1d }");
    let decided = paused.decide(State::new(at("2026-11-23T00:30:00Z")), at("2026-11-23T03:30:00Z"), false);
    assert_eq!(letters(&decided), "SSS");
    let resumed = timetable("cron: 0 * * * *, missed: { policy: once, deadline: 1d }");
    assert_eq!(letters(&resumed.decide(decided.state, at("2026-11-23T03:40:00Z"), false)), "");
}

#[test]
fn years_of_absence_are_one_entry_and_quickly_decided() {
    let timetable = timetable("cron: '* * * * *', missed: { policy: once }");
    let decided = timetable.decide(State::new(at("2001-01-01T00:00:00Z")), at("2026-11-23T12:00:30Z"), false);
    assert_eq!(decided.decisions.len(), 1000);
    assert!(letters(&decided).ends_with("MF"));
    let lapsed = decided.lapsed.expect("the rest");
    assert_eq!(lapsed.first, at("2001-01-01T00:01:00Z"));
    let listed = decided.decisions[0].occurrence.nominal;
    assert_eq!(timetable.next(lapsed.until).expect("the next").nominal, listed, "nothing is between the two");
    assert_eq!(decided.state.decided, at("2026-11-23T12:00:00Z"));
}

#[test]
fn jitter_keeps_to_the_windows_and_to_the_order() {
    let spec = "cron: 55 9-16 * * *, jitter: 2h, windows: [{ from: '09:00', to: '17:00' }]";
    let jittered = timetable(spec);
    let (mut moved, mut last) = (0, Timestamp::MIN);
    for planned in jittered.between(at("2026-01-01T00:00:00Z"), at("2026-12-31T00:00:00Z"), 10_000) {
        let occurrence = planned.occurrence;
        assert_eq!(planned.skipped, None, "{occurrence:?}");
        let by = occurrence.due.duration_since(occurrence.nominal);
        assert!(!by.is_negative() && by < SignedDuration::from_hours(2));
        assert!(
            occurrence.due > last
                && (occurrence.nominal.to_zoned(jiff::tz::TimeZone::UTC).hour() == 16 || by < SignedDuration::from_hours(1))
        );
        last = occurrence.due;
        moved += i32::from(by > SignedDuration::ZERO);
    }
    assert!(moved > 2000, "{moved}");
    assert_eq!(jittered.next(at("2026-06-01T00:00:00Z")), timetable(spec).next(at("2026-06-01T00:00:00Z")), "the same on every server");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Over changes of the clock, with looks from a second to a day and a half apart, some of them with a clock that went back.
    #[test]
    fn nothing_is_decided_twice_and_nothing_is_left_out(
        start in prop::sample::select(vec!["2026-03-07T03:00:00Z", "2026-03-28T12:00:00Z", "2026-10-03T00:00:00Z", "2026-10-24T12:00:00Z", "2026-10-31T12:00:00Z"]),
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
        cron in prop::sample::select(vec!["*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "15 */2 * * 1-5", "@hourly"]),
        jitter in prop::sample::select(vec!["0s", "90s", "20m", "3h"]),
        missed in prop::sample::select(vec!["{ policy: all, deadline: 31d, upTo: 100 }", "{ policy: once, deadline: 2h }", "{ policy: skip }"]),
        looks in prop::collection::vec(prop_oneof![3 => 1_i64..120, 3 => 60_i64..4000, 1 => 4000_i64..130_000, 1 => -20_000_i64..0], 40..200),
    ) {
        let timetable = timetable(&format!("cron: '{cron}', timeZone: {zone}, jitter: {jitter}, concurrency: allow, missed: {missed}"));
        let start = at(start);
        let (mut now, mut latest, mut state) = (start, start, State::new(start));
        let (mut listed, mut lapsed) = (Vec::new(), Vec::new());
        for gap in looks {
            now += gap.seconds();
            latest = latest.max(now);
            let decided = timetable.decide(state, now, false);
            prop_assert!(decided.state.decided >= state.decided);
            for decision in &decided.decisions {
                let late = now.duration_since(decision.occurrence.due);
                prop_assert!(!late.is_negative(), "not before it is due");
                if let Outcome::Missed { .. } = decision.outcome {
                    prop_assert!(late > SignedDuration::from_secs(60), "one in time is not missed");
                }
            }
            lapsed.extend(decided.lapsed);
            listed.extend(decided.decisions.into_iter().map(|decision| decision.occurrence.nominal));
            state = decided.state;
        }
        // What there was to decide, all at once.
        let all = std::iter::successors(timetable.next(start), |last| timetable.next(last.nominal)).take_while(|o| o.due <= latest);
        let within = |nominal: Timestamp| lapsed.iter().any(|span| span.first <= nominal && nominal <= span.until);
        let expected: Vec<Timestamp> = all.map(|occurrence| occurrence.nominal).filter(|nominal| !within(*nominal)).collect();
        prop_assert_eq!(listed, expected);
    }
}
