//! When things happen by themselves: schedules, and the Chaos Monkey. Nothing here reads a clock, sleeps, or does I/O: the
//! time of day comes in as an argument, and what is decided goes out as a value.
//!
//! - A [`Schedule`] is a document: a cron expression with its time zone, windows, holidays, freezes, jitter, and what to do
//!   when a run is still going on or a time was missed. Read as a [`Timetable`], it [decides](Timetable::decide) each of its
//!   times exactly once, however often and by however many servers it is asked: each [`Occurrence`] has an id, and whoever
//!   creates the record of that id first has fired it.
//! - A [`Monkey`] is a document too: groups of hosts, how often something is done to one host of each, in which hours of
//!   which days. Read as a [`Planner`], it is a pure function of its seed, the day, the fleet and when each group was last hit.
//! - [`import`] reads what was written for Netflix's Chaos Monkey.
//! - [`calendar`] lists what is ahead, and [`feed`] gives that list to calendar programs (RFC 5545).
//!
//! ```
//! use squall_schedule::{State, Timetable, parse_schedule};
//!
//! let (schedule, _) = parse_schedule("\
//! apiVersion: squall.dev/v1
//! kind: Schedule
//! metadata: { name: payments-nightly }
//! spec:
//!   experiment: kill-payments
//!   cron: 30 2 * * 1-5
//!   timeZone: Europe/Berlin
//! ").unwrap();
//! let timetable = Timetable::new(&schedule).unwrap();
//! let state = State::new("2026-03-26T00:00:00Z".parse().unwrap());
//! let decided = timetable.decide(state, "2026-03-26T01:30:05Z".parse().unwrap(), false);
//! assert_eq!(decided.decisions[0].occurrence.id, "payments-nightly-20260326t013000z");
//! ```
#![forbid(unsafe_code)]

mod calendar;
mod chance;
mod document;
mod feed;
mod holiday;
pub mod import;
mod monkey;
mod schedule;

pub use calendar::{Entry, EntryKind, Listing, calendar};
pub use document::{parse_monkey, parse_schedule};
pub use feed::feed;
pub use holiday::{Holiday, Holidays};
pub use monkey::{
    Candidate, Day, Frequency, Group, GroupRule, History, Hours, Kill, Labels, Monkey, MonkeyDecided, MonkeyFault, MonkeySpec, OPT_LABEL,
    Passed, PassedBecause, Planner,
};
pub use schedule::{
    Because, Concurrency, Decided, Decision, Lapsed, Missed, MissedPolicy, Occurrence, Outcome, Planned, Schedule, ScheduleSpec, State,
    Timetable,
};
