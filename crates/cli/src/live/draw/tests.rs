//! The view as it looks, in several rooms.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use squall_engine::{Judgement, Phase};
use squall_model::Verdict;

use super::super::view::{FaultRow, GuardRow, Level, LiveView, ProbeRow};

fn probe(name: &str, value: &str, expectation: &str, judgement: Option<Judgement>, recent: &[f64], threshold: f64) -> ProbeRow {
    let of = |n: f64| if n < threshold { Judgement::Ok } else { Judgement::Violated };
    ProbeRow {
        name: name.into(),
        value: value.into(),
        expectation: expectation.into(),
        judgement,
        judged: !expectation.is_empty(),
        recent: recent.iter().map(|n| if n.is_nan() { (None, Judgement::Unmeasured) } else { (Some(*n), of(*n)) }).collect(),
        thresholds: vec![threshold],
    }
}

fn view() -> LiveView {
    LiveView {
        experiment: "checkout-survives-hung-payments".into(),
        run: "r0abcdefghjkm".into(),
        phase: Phase::Inject,
        passed: vec![Phase::Plan, Phase::Steady],
        progress: (Duration::from_millis(3200), Some(Duration::from_secs(6))),
        probes: vec![
            probe("order page p99", "1.01s", "< 250ms", Some(Judgement::Violated), &[0.01, 0.02, 0.012, 0.5, 1.0, 1.01], 0.25),
            probe("order page errors", "no request in the last 1s", "< 1%", Some(Judgement::Unmeasured), &[0.0, 0.0, f64::NAN], 0.01),
            probe("products p99", "6.2ms", "< 150ms", Some(Judgement::Ok), &[0.006, 0.006, 0.007], 0.15),
            probe("checkouts", "31/s", "", Some(Judgement::Ok), &[40.0, 39.0, 31.0], f64::INFINITY),
        ],
        faults: vec![FaultRow {
            name: "payments hangs".into(),
            target: "payments (pid 1234)".into(),
            condition: "in force",
            verified: Some(true),
            left: Some((Duration::from_millis(2800), Duration::from_secs(6))),
        }],
        guards: vec![GuardRow {
            words: "guard: aborts at ",
            text: "order page errors > 50% for 5s".into(),
            condition: "on watch".into(),
            level: Level::Quiet,
        }],
        suspended: None,
        stopping: false,
        verdict: None,
    }
}

fn drawn(view: &LiveView, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| super::draw(frame, view, true)).expect("drawn");
    terminal.backend().to_string()
}

#[test]
fn a_wide_terminal_shows_everything() {
    insta::assert_snapshot!(drawn(&view(), 100, 9));
}

#[test]
fn a_narrow_terminal_leaves_out_what_is_expected_and_names_one_phase() {
    insta::assert_snapshot!(drawn(&view(), 48, 9));
}

#[test]
fn a_low_terminal_keeps_phase_and_faults_and_what_probes_fit() {
    insta::assert_snapshot!(drawn(&view(), 100, 4));
}

#[test]
fn any_size_can_be_drawn() {
    for width in [1, 2, 5, 10, 20, 61, 300] {
        for height in [1, 2, 3, 50] {
            drawn(&view(), width, height);
        }
    }
}

#[test]
fn a_suspended_run_says_what_to_look_at_and_how_to_go_on() {
    let view = LiveView { suspended: Some("Has the on-call person been paged?".into()), faults: Vec::new(), ..view() };
    insta::assert_snapshot!(drawn(&view, 80, 8));
}

#[test]
fn the_end_shows_the_verdict() {
    let verdict = Some((Verdict::Deviated, "order page p99 did not stay < 250ms".into()));
    let view = LiveView { verdict, faults: Vec::new(), phase: Phase::Verdict, ..view() };
    insta::assert_snapshot!(drawn(&view, 80, 8));
}

#[test]
fn without_colour_nothing_is_styled_but_bold() {
    let mut terminal = Terminal::new(TestBackend::new(100, 9)).expect("a terminal");
    terminal.draw(|frame| super::draw(frame, &view(), false)).expect("drawn");
    assert!(terminal.backend().buffer().content().iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
}
