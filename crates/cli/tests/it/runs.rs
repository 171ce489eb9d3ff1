//! Whole runs of the real binary on real processes: every verdict, every way to stop, every way to die.

use std::time::Duration;

use rustix::process::Signal;

use crate::field::{Field, text, wait_for, wait_within};

/// An experiment on the process `victim`, whose probe reads a number from the file `signal`.
fn manifest(field: &Field, victim: &str, step: &str, rest: &str) -> String {
    field.pause("test", victim, step, rest)
}

#[test]
fn a_pause_that_changes_nothing_is_held_and_put_back() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("held-victim");
    let output = field.run(&manifest(&field, "held-victim", "for: 300ms", ""));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_ne!(victim.state(), Some('T'));
    let shown = field.latest();
    assert_eq!(shown["verdict"], "held");
    let injected = &shown["injections"][0];
    assert!(injected["verified"].to_string().contains("true"), "{injected}");
}

#[test]
fn a_signal_that_changes_under_the_fault_is_deviated() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("deviated-victim");
    let run = field.start(&manifest(&field, "deviated-victim", "for: 1s", ""));
    wait_for("the pause", || victim.state() == Some('T'));
    field.write("signal", "1");
    wait_for("the end of the pause", || victim.state() != Some('T'));
    field.write("signal", "0");
    let (code, said) = run.finish();
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_system_that_does_not_come_back_is_deviated() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("lost-victim");
    let manifest = manifest(&field, "lost-victim", "for: 300ms", "").replace("within: 5s", "within: 300ms");
    let run = field.start(&manifest);
    wait_for("the pause", || victim.state() == Some('T'));
    wait_for("the end of the pause", || victim.state() != Some('T'));
    field.write("signal", "1");
    let (code, said) = run.finish();
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn what_is_not_steady_is_not_touched() {
    let field = Field::new();
    field.write("signal", "1");
    let _victim = field.victim("unsteady-victim");
    let output = field.run(&manifest(&field, "unsteady-victim", "for: 5s", ""));
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(field.latest()["injections"].as_array().map(Vec::len), Some(0));
}

#[test]
fn what_cannot_be_measured_is_inconclusive_and_not_touched() {
    let field = Field::new();
    let _victim = field.victim("unmeasured-victim");
    let output = field.run(&manifest(&field, "unmeasured-victim", "for: 5s", ""));
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert_eq!(field.latest()["injections"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_guard_aborts_and_reverts_at_once() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("guard-victim");
    let guards = "  guards:\n    - probe: signal\n      abort: { gt: 5 }\n";
    let run = field.start(&manifest(&field, "guard-victim", "for: 60s", guards));
    wait_for("the pause", || victim.state() == Some('T'));
    field.write("signal", "9");
    wait_within(Duration::from_secs(2), "the revert", || victim.state() != Some('T'));
    field.write("signal", "0");
    let (code, said) = run.finish();
    assert_eq!(code, Some(4), "{said}");
}

#[test]
fn a_guard_that_cannot_see_aborts() {
    let field = Field::new();
    let signal = field.write("signal", "0");
    let victim = field.victim("blind-victim");
    let guards = "  guards:\n    - probe: signal\n      abort: { gt: 5 }\n";
    let run = field.start(&manifest(&field, "blind-victim", "for: 60s", guards));
    wait_for("the pause", || victim.state() == Some('T'));
    std::fs::remove_file(signal).expect("removed");
    wait_within(Duration::from_secs(3), "the revert", || victim.state() != Some('T'));
    field.write("signal", "0");
    let (code, said) = run.finish();
    assert_eq!(code, Some(4), "{said}");
}

#[test]
fn ctrl_c_reverts_and_then_ends() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("ctrlc-victim");
    let run = field.start(&manifest(&field, "ctrlc-victim", "for: 60s", ""));
    wait_for("the pause", || victim.state() == Some('T'));
    run.signal(Signal::INT);
    wait_within(Duration::from_secs(2), "the revert", || victim.state() != Some('T'));
    let (code, said) = run.finish();
    assert_eq!(code, Some(4), "{said}");
}

#[test]
fn stop_from_another_terminal_stops_and_reverts() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("stop-victim");
    let run = field.start(&manifest(&field, "stop-victim", "for: 60s", ""));
    wait_for("the pause", || victim.state() == Some('T'));
    let stop = field.squall().args(["stop", "--all"]).output().expect("ran");
    assert_eq!(stop.status.code(), Some(0), "{}", text(&stop));
    assert_ne!(victim.state(), Some('T'), "it is back when `squall stop` returns");
    assert_eq!(run.finish().0, Some(4));
}

#[test]
fn the_stop_file_stops_a_run_and_blocks_the_next() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("file-victim");
    let text_of = manifest(&field, "file-victim", "for: 60s", "");
    let run = field.start(&text_of);
    wait_for("the pause", || victim.state() == Some('T'));
    std::fs::write(field.state().join("STOP"), "fire drill").expect("written");
    wait_within(Duration::from_secs(2), "the revert", || victim.state() != Some('T'));
    assert_eq!(run.finish().0, Some(4));
    let next = field.run(&text_of);
    assert_eq!(next.status.code(), Some(7), "{}", text(&next));
}

#[test]
fn killing_the_run_leaves_nothing_broken() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("kill-victim");
    let run = field.start(&manifest(&field, "kill-victim", "for: 60s", ""));
    wait_for("the pause", || victim.state() == Some('T'));
    run.signal(Signal::KILL);
    wait_within(Duration::from_secs(2), "the watchdog's revert", || victim.state() != Some('T'));
}

#[test]
fn a_run_that_hangs_does_not_keep_its_fault_beyond_the_time_box() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("hang-victim");
    let run = field.start(&manifest(&field, "hang-victim", "for: 1s", ""));
    wait_for("the pause", || victim.state() == Some('T'));
    run.signal(Signal::STOP);
    wait_within(Duration::from_secs(5), "the watchdog's revert", || victim.state() != Some('T'));
    run.signal(Signal::CONT);
    let (code, said) = run.finish();
    assert!(code.is_some(), "{said}");
}

#[test]
fn one_target_has_one_experiment_at_a_time() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("claimed-victim");
    let run = field.start(&manifest(&field, "claimed-victim", "for: 3s", ""));
    wait_for("the pause", || victim.state() == Some('T'));
    let second = field.write("second.yaml", &manifest(&field, "claimed-victim", "for: 1s", ""));
    let output = field.squall().args(["run", "--plain"]).arg(second).output().expect("ran");
    assert!(!output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("already under"), "{}", text(&output));
    assert_eq!(run.finish().0, Some(0));
}

#[test]
fn a_policy_refuses_before_anything_is_touched() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("policy-victim");
    let policy = "apiVersion: squall.dev/v1\nkind: Policy\nmetadata: { name: strict }\nspec:\n  caps: { duration: 1s }\n  protected: [{ name: sshd }]\n";
    let policy = field.write("policy.yaml", policy);
    let path = field.write("experiment.yaml", &manifest(&field, "policy-victim", "for: 5s", ""));
    let output = field.squall().args(["run", "--plain", "--policy"]).arg(&policy).arg(&path).output().expect("ran");
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_ne!(victim.state(), Some('T'));
    let protect = "apiVersion: squall.dev/v1\nkind: Policy\nmetadata: { name: strict }\nspec:\n  protected: [{ name: policy-victim }]\n";
    let protect = field.write("protect.yaml", protect);
    let output = field.squall().args(["run", "--plain", "--policy"]).arg(&protect).arg(&path).output().expect("ran");
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert!(text(&output).contains("protected"), "{}", text(&output));
}

#[test]
fn a_selector_that_matches_nothing_is_refused() {
    let field = Field::new();
    field.write("signal", "0");
    let output = field.run(&manifest(&field, "nobody-has-this-name", "for: 1s", ""));
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
}

#[test]
fn plan_touches_nothing_and_says_how_it_is_undone() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("plan-victim");
    let path = field.write("experiment.yaml", &manifest(&field, "plan-victim", "for: 5s", ""));
    let output = field.squall().arg("plan").arg(&path).output().expect("ran");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("SIGCONT"), "{}", text(&output));
    assert_ne!(victim.state(), Some('T'));
}

#[test]
fn a_suspended_run_goes_on_when_told_to() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("suspend-victim");
    let manifest = manifest(&field, "suspend-victim", "for: 200ms", "")
        .replace("  method:\n", "  method:\n    - suspend: { message: look around, timeout: 20s }\n");
    let run = field.start(&manifest);
    // Told as soon as there is a run to tell; word that comes before the suspension is left until then or asked again.
    wait_for("the pause", || {
        let _ = field.squall().arg("continue").output();
        victim.state() == Some('T')
    });
    let (code, said) = run.finish();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_step_whose_condition_is_not_met_is_skipped() {
    let field = Field::new();
    field.write("signal", "0");
    let _victim = field.victim("when-victim");
    let output = field.run(&manifest(&field, "when-victim", "for: 5s\n      when: { probe: signal, is: { gt: 5 } }", ""));
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
}

#[test]
fn a_ramp_takes_more_targets_stage_by_stage() {
    let field = Field::new();
    field.write("signal", "0");
    let victims: Vec<_> = (0..4).map(|_| field.victim("ramp-victim")).collect();
    let step = "ramp: { percent: [25%, 100%], every: 400ms }\n      for: 1500ms";
    let run = field.start(&manifest(&field, "ramp-victim", step, ""));
    let stopped = || victims.iter().filter(|v| v.state() == Some('T')).count();
    wait_for("the first stage", || stopped() == 1);
    wait_for("the last stage", || stopped() == 4);
    let (code, said) = run.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(stopped(), 0);
}

#[test]
fn rollback_actions_run_after_a_crash_too() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("rollback-victim");
    let done = field.path("rolled-back");
    let rollback = format!("  rollback:\n    actions:\n      - name: leave a mark\n        command: [touch, {}]\n", done.display());
    let run = field.start(&manifest(&field, "rollback-victim", "for: 60s", &rollback));
    wait_for("the pause", || victim.state() == Some('T'));
    assert!(!done.exists());
    run.signal(Signal::KILL);
    wait_within(Duration::from_secs(2), "the rollback", || done.exists() && victim.state() != Some('T'));
}
