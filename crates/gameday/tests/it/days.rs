//! Game days.

use jiff::Timestamp;
use squall_gameday::{
    DayError, DayReport, DayState, DayStep, Entry, GameDay, Happened, Mark, Marked, NewActionItem, Plan, Priority, ScenarioState,
};
use squall_model::Verdict;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).expect("a time")
}

fn plan() -> Plan {
    serde_json::from_value(serde_json::json!({
        "title": "Rehearsal | <b>Black Friday</b>",
        "participants": [{ "name": "ada", "role": "facilitator" }, { "name": "bob", "role": "observer" }],
        "scenarios": [
            {
                "title": "Payments is slow", "experiment": { "saved": "slow-payments" }, "expected": "the breaker opens",
                "objective": { "statement": "checkout survives", "detectWithin": "2m", "resolveWithin": "10m" },
                "runbook": "https://wiki.example/payments", "service": "payments",
            },
            { "title": "A host dies", "experiment": { "library": "kill-a-host" }, "objective": { "detectWithin": "1m" } },
        ],
        "agenda": [{ "after": "0s", "text": "Briefing" }],
    }))
    .expect("a plan")
}

/// A game day and its timeline, as a server keeps them.
struct Table {
    day: GameDay,
    timeline: Vec<Entry>,
}

impl Table {
    fn new() -> Self {
        Self { day: GameDay::new(plan(), "ada"), timeline: Vec::new() }
    }

    fn step(&mut self, step: DayStep, by: &str, second: i64) -> Result<bool, DayError> {
        let happened = self.day.apply(step, by, at(second))?;
        let new = happened.is_some();
        self.timeline.extend(happened.map(|what| Entry { seq: self.day.entries, at: at(second), by: by.into(), what }));
        Ok(new)
    }

    fn must(&mut self, step: DayStep, by: &str, second: i64) {
        assert!(self.step(step.clone(), by, second).expect("allowed"), "{step:?} changed nothing");
    }
}

fn start(scenario: usize) -> DayStep {
    DayStep::StartScenario { scenario, run: format!("r{scenario}") }
}

fn mark(mark: Marked) -> DayStep {
    DayStep::Mark { scenario: 0, mark }
}

/// A whole day.
fn held() -> Table {
    let mut table = Table::new();
    table.must(DayStep::Start, "ada", 0);
    table.must(start(0), "ada", 60);
    table.must(DayStep::FaultInForce { scenario: 0, since: at(90) }, "r0", 91);
    table.must(mark(Marked::Detected), "bob", 150);
    table.must(DayStep::Note { scenario: Some(0), text: "breaker is open".into() }, "bob", 160);
    table.must(mark(Marked::Resolved), "ada", 900);
    let reason = "checkout: error rate was 4% and should be below 1%".to_owned();
    table.must(DayStep::RunEnded { scenario: 0, verdict: Verdict::Deviated, reason }, "r0", 1000);
    table.must(DayStep::Actual { scenario: 0, text: "the breaker opened late".into() }, "bob", 1010);
    table.must(DayStep::Skip { scenario: 1, reason: "no time".into() }, "ada", 1100);
    table.must(DayStep::Lesson { text: "alerts fire too late".into() }, "ada", 1200);
    let item: NewActionItem = serde_json::from_value(
        serde_json::json!({ "text": "shorten the alert's window", "owner": "bob", "priority": "P1", "due": "2026-12-01" }),
    )
    .expect("an item");
    table.must(DayStep::AddAction(Box::new(item)), "ada", 1210);
    table.must(DayStep::Finish, "ada", 1300);
    table
}

#[test]
fn a_plan_says_what_is_wrong_with_it_and_where() {
    assert_eq!(plan().check(), []);
    let mut wrong = plan();
    wrong.title = "  ".into();
    wrong.participants[0].role = squall_gameday::Role::Scribe;
    wrong.participants[1].name = "ada".into();
    wrong.scenarios[0].runbook = Some("javascript:alert(1)".into());
    wrong.scenarios[0].objective.resolve_within = Some(squall_model::Time::from_secs(1));
    let paths: Vec<_> = wrong.check().into_iter().map(|mistake| mistake.path).collect();
    let expected = ["title", "participants", "participants[1].name", "scenarios[0].runbook", "scenarios[0].objective.resolveWithin"];
    assert_eq!(paths, expected);
    assert!(serde_json::from_value::<Plan>(serde_json::json!({ "title": "x", "participants": [], "scenarios": [], "extra": 1 })).is_err());
}

#[test]
fn a_day_runs_from_its_plan_to_its_report() {
    let table = held();
    assert_eq!(table.day.state, DayState::Finished);
    assert_eq!(table.timeline.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
    let report = DayReport::new(&table.day, table.timeline, at(5000));
    let first = &report.scenarios[0];
    // From when the fault was in force, not from when the run was started.
    assert_eq!((first.time_to_detect.seconds, first.time_to_detect.met), (Some(60.0), Some(true)));
    assert_eq!((first.time_to_resolve.seconds, first.time_to_resolve.met), (Some(810.0), Some(false)));
    assert_eq!((report.objectives_met, report.objectives, report.seconds), (1, 2, Some(1300.0)));
    assert_eq!(report.scenarios[1].time_to_detect.met, None, "what was not started cannot be missed");
}

#[test]
fn nothing_happens_out_of_order() {
    let mut table = Table::new();
    assert!(matches!(table.step(start(0), "ada", 1), Err(DayError::Day { state: DayState::Planned, .. })));
    assert!(matches!(table.step(mark(Marked::Detected), "bob", 1), Err(DayError::Day { .. })));
    table.must(DayStep::Start, "ada", 2);
    assert!(matches!(table.step(DayStep::Start, "ada", 3), Err(DayError::Day { state: DayState::Running, .. })));
    assert!(matches!(table.step(DayStep::Replan(Box::new(plan())), "ada", 3), Err(DayError::Day { .. })));
    assert!(matches!(table.step(mark(Marked::Detected), "bob", 3), Err(DayError::Scenario { state: ScenarioState::Waiting, .. })));
    table.must(start(0), "ada", 4);
    assert_eq!(table.step(start(1), "ada", 5), Err(DayError::Busy(0)));
    assert_eq!(table.step(DayStep::Finish, "ada", 5), Err(DayError::Busy(0)));
    assert_eq!(table.step(start(9), "ada", 5), Err(DayError::NoScenario(9)));
    let ended = DayStep::RunEnded { scenario: 0, verdict: Verdict::Held, reason: "all well".into() };
    table.must(ended.clone(), "r0", 6);
    assert_eq!(table.step(ended, "r0", 7), Ok(false), "told twice, it ends once");
    assert!(matches!(table.step(start(0), "ada", 8), Err(DayError::Scenario { state: ScenarioState::Done, .. })));
    assert!(matches!(table.step(DayStep::Note { scenario: None, text: " ".into() }, "bob", 8), Err(DayError::Words(_))));
    table.must(DayStep::Finish, "ada", 9);
    assert!(matches!(table.step(DayStep::Cancel { reason: "x".into() }, "ada", 10), Err(DayError::Day { .. })));
}

#[test]
fn the_first_mark_counts_and_can_be_taken_back() {
    let mut table = Table::new();
    table.must(DayStep::Start, "ada", 0);
    table.must(start(0), "ada", 1);
    table.must(mark(Marked::Detected), "bob", 10);
    assert_eq!(table.step(mark(Marked::Detected), "ada", 11), Ok(false));
    assert_eq!(table.day.scenarios[0].detected, Some(Mark { at: at(10), by: "bob".into() }));
    table.must(DayStep::Unmark { scenario: 0, mark: Marked::Detected }, "ada", 12);
    table.must(mark(Marked::Detected), "ada", 13);
    assert_eq!(table.day.scenarios[0].detected, Some(Mark { at: at(13), by: "ada".into() }));
    let marks = table.timeline.iter().filter(|entry| matches!(entry.what, Happened::Marked { .. })).count();
    assert_eq!((marks, table.day.entries), (2, table.timeline.len() as u64));
}

#[test]
fn a_day_that_is_called_off_still_hears_how_its_run_ended() {
    let mut table = Table::new();
    table.must(DayStep::Start, "ada", 0);
    table.must(start(0), "ada", 1);
    table.must(DayStep::Cancel { reason: "a real incident".into() }, "ada", 2);
    assert_eq!(table.day.live_runs().collect::<Vec<_>>(), ["r0"], "whoever cancels has these stopped");
    table.must(DayStep::RunEnded { scenario: 0, verdict: Verdict::Aborted, reason: "stopped".into() }, "r0", 3);
    let report = DayReport::new(&table.day, table.timeline, at(4));
    assert_eq!(report.scenarios[0].time_to_detect.met, Some(false), "nobody noticed");
    assert!(report.markdown().expect("a page").contains("called off: a real incident"));
}

#[test]
fn an_objective_is_open_until_its_time_is_over() {
    let mut table = Table::new();
    table.must(DayStep::Start, "ada", 0);
    table.must(start(0), "ada", 0);
    let met = |second| DayReport::new(&table.day, Vec::new(), at(second)).scenarios[0].time_to_detect.met;
    assert_eq!((met(119), met(121)), (None, Some(false)));
}

#[test]
fn the_pages_say_the_same_and_what_people_wrote_stays_text() {
    let table = held();
    let report = DayReport::new(&table.day, table.timeline, at(5000));
    let (page, markdown) = (report.html().expect("a page"), report.markdown().expect("a page"));
    for text in ["1m00s (objective 2m00s), met", "13m30s (objective 10m00s), missed", "the breaker opened late", "alerts fire too late"] {
        assert!(page.contains(text) && markdown.contains(text), "`{text}` is missing");
    }
    assert!(!page.contains("<b>Black") && page.contains("&#60;b&#62;Black Friday"), "{page}");
    assert!(markdown.contains(r"# Rehearsal \| \<b\>Black Friday\</b\>"), "{markdown}");
    insta::assert_snapshot!(markdown);
    let json: DayReport = serde_json::from_str(&report.json().expect("JSON")).expect("read again");
    assert_eq!(json, report);
    assert_eq!(json.actions[0].what.priority, Priority::P1);
}
