//! The parts of a report that are sentences: headline, what was learned, failure analysis, things to do.

use squall_engine::{State, Stop};
use squall_model::{Dimension, Verdict};

use crate::build::action;
use crate::format::{count, list, moment, number, span};
use crate::model::{Analysis, ComparisonStatus, InjectionReport, ProbeReport, ProbeStatus, Report};

/// Fills in what follows from the rest of the report.
pub(crate) fn fill(report: &mut Report) {
    report.headline = headline(report);
    report.learned = learned(report);
    report.analysis = analysis(report);
    report.actions = actions(report);
}

/// Why a run stopped early, in words.
pub(crate) fn stop(stop: &Stop) -> String {
    match stop {
        Stop::Unsteady(why) => format!("not steady before anything was touched: {why}"),
        Stop::Unmeasured(why) => format!("not measurable before anything was touched: {why}"),
        Stop::Guard { why, .. } => format!("a guard stopped the run: {why}"),
        Stop::Worse { why, .. } => format!("a comparison stopped the run: {why}"),
        Stop::Asked(by) => format!("stopped by {by}"),
        Stop::Timeout(why) | Stop::NoEffect(why) | Stop::Broken(why) => why.clone(),
    }
}

/// What there is to say of a run without an end.
pub(crate) fn unfinished(state: &State) -> String {
    format!("the journal ends {} into the run, in phase {}", span(state.now), state.phase.name())
}

fn headline(report: &Report) -> String {
    let touched = report.injections.iter().any(|i| i.in_force.is_some());
    match report.verdict {
        Some(Verdict::Held) => "The system held",
        Some(Verdict::Deviated)
            if report.probes.iter().any(|p| p.first_violation.is_some()) || report.comparisons.iter().any(|c| c.worse.is_some()) =>
        {
            "A weakness was found"
        }
        Some(Verdict::Deviated) => "The system did not recover in time",
        Some(Verdict::Unsteady) => "Not steady to begin with: nothing was touched",
        Some(Verdict::Aborted) if touched => "Stopped before the end, and put back",
        Some(Verdict::Aborted) => "Stopped before anything was touched",
        Some(Verdict::Inconclusive) => "No conclusion: the evidence is not good enough",
        Some(Verdict::Failed) if report.injections.iter().any(|i| i.stuck) => "Squall failed: something may still be broken",
        Some(Verdict::Failed) => "Squall could not do what the method says",
        None => "This run has no end yet",
    }
    .to_owned()
}

/// The faults that were in force, as a sentence names them.
fn faults(report: &Report) -> String {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for injection in report.injections.iter().filter(|i| i.in_force.is_some()) {
        let name = format!("{} ({})", injection.step, injection.fault);
        match steps.iter_mut().find(|(step, _)| *step == name) {
            Some((_, targets)) if !targets.contains(&injection.target) => targets.push(injection.target.clone()),
            Some(_) => {}
            None => steps.push((name, vec![injection.target.clone()])),
        }
    }
    let steps: Vec<String> = steps.into_iter().map(|(step, targets)| format!("{step} on {}", list(&targets, 3))).collect();
    list(&steps, 3)
}

fn learned(report: &Report) -> Vec<String> {
    let mut out = Vec::new();
    let tested = report.injections.iter().any(|i| i.in_force.is_some());
    if tested {
        out.push(format!("What was done: {}.", faults(report)));
    } else if report.verdict.is_some() {
        out.push("No fault came into force, so nothing was learned about how the system behaves under one.".into());
    }
    out.extend(report.probes.iter().filter_map(of_probe));
    let compared = report.comparisons.iter().filter(|c| c.status != ComparisonStatus::Untested);
    out.extend(compared.map(|c| format!("{}.", c.summary)));
    match (report.recovery.recovered, report.recovery.took) {
        (Some(true), Some(took)) => out.push(format!("It was steady again {} after everything was put back.", span(took))),
        (Some(false), _) => {
            out.push(format!("It was not steady again within {} after everything was put back.", span(report.recovery.within)));
        }
        _ if tested && report.verdict.is_some() => out.push("Whether it recovers was not looked at.".into()),
        _ => {}
    }
    out
}

fn of_probe(probe: &ProbeReport) -> Option<String> {
    let shown = |stage: &crate::model::Stage| stage.numbers.map(|n| number(n.median, probe.dimension));
    let from_to = || match (shown(&probe.before), shown(&probe.during)) {
        (Some(before), Some(during)) if before != during => format!(": median {before} before, {during} under the fault"),
        _ => String::new(),
    };
    Some(match probe.status {
        ProbeStatus::Held => format!("{} stayed {}{}.", probe.name, probe.expectation, from_to()),
        ProbeStatus::Violated => {
            let worst = match (&probe.worst, probe.dimension) {
                (Some(answer), Dimension::Text) => format!(": it answered `{answer}`"),
                (Some(value), _) => format!(": it was {value} at its worst"),
                (None, _) => String::new(),
            };
            let longest =
                probe.longest_violation.filter(|t| *t > 0).map(|t| format!(", for up to {} without a pause", span(t))).unwrap_or_default();
            let stay = if probe.first_violation.is_some() { "did not stay" } else { "did not come back to" };
            format!("{} {stay} {}{worst}{longest}.", probe.name, probe.expectation)
        }
        ProbeStatus::Unsteady => format!("{} was not {} even before anything was touched.", probe.name, probe.expectation),
        ProbeStatus::Unmeasured => {
            let (missing, all) = (
                probe.before.unmeasured + probe.during.unmeasured + probe.after.unmeasured,
                probe.before.samples + probe.during.samples + probe.after.samples,
            );
            format!("{} could not be measured in {missing} of {}, so nothing can be said of it.", probe.name, count(all, "sample"))
        }
        ProbeStatus::Watched | ProbeStatus::Untested => return None,
    })
}

fn analysis(report: &Report) -> Vec<Analysis> {
    if matches!(report.verdict, Some(Verdict::Held) | None) {
        return Vec::new();
    }
    let mut out: Vec<Analysis> =
        report.probes.iter().filter(|p| p.status.mark() != crate::Mark::Good).filter_map(|p| of_violation(report, p)).collect();
    for guard in report.guards.iter().filter(|guard| guard.tripped) {
        out.push(Analysis {
            metric: format!("guard on {}", guard.probe),
            expected: format!("never {}", guard.condition),
            actual: guard.why.clone().unwrap_or_default(),
            happened: vec![format!("stopped the run at {}", moment(guard.at.unwrap_or_default()))],
        });
    }
    for worse in report.comparisons.iter().filter(|c| matches!(c.status, ComparisonStatus::Worse | ComparisonStatus::Unmeasured)) {
        let bad = |arm: &crate::ArmReport| format!("{} of {}", arm.bad, arm.answers);
        let said = worse.status == ComparisonStatus::Worse;
        out.push(Analysis {
            metric: worse.name.clone(),
            expected: format!("no worse than in the control group ({} bad)", bad(&worse.control)),
            actual: if said { format!("bad in {} answers", bad(&worse.experiment)) } else { worse.summary.clone() },
            happened: worse.worse.map(|at| format!("shown at {}", moment(at))).into_iter().collect(),
        });
    }
    for injection in report.injections.iter().filter(|i| (i.error.is_some() || i.verified == Some(false)) && (!i.left_out || i.stuck)) {
        let seen = injection.error.clone().or_else(|| injection.evidence.clone()).unwrap_or_default();
        let expected = if injection.stuck || injection.reverted.is_some() && injection.verified == Some(true) {
            "to be reverted at once"
        } else {
            "to be in force"
        };
        out.push(Analysis {
            metric: format!("{} on {}", injection.step, injection.target),
            expected: expected.into(),
            actual: seen,
            happened: fate(injection),
        });
    }
    if out.is_empty() {
        let happened = report.stop.iter().map(|stop| format!("at {}", moment(stop.at))).collect();
        out.push(Analysis {
            metric: "the run".into(),
            expected: "to be carried out to its end".into(),
            actual: report.reason.clone(),
            happened,
        });
    }
    out
}

fn of_violation(report: &Report, probe: &ProbeReport) -> Option<Analysis> {
    let mut happened = Vec::new();
    match probe.status {
        ProbeStatus::Violated => {}
        ProbeStatus::Unsteady => happened.push("before anything was touched".to_owned()),
        ProbeStatus::Unmeasured => {
            happened.extend(probe.samples.iter().find_map(|s| Some(format!("first at {}: {}", moment(s.at), s.error.as_ref()?))));
        }
        ProbeStatus::Held | ProbeStatus::Watched | ProbeStatus::Untested => return None,
    }
    if let Some(at) = probe.first_violation {
        let by_then: Vec<String> =
            report.injections.iter().filter(|i| in_force_at(i, at)).map(|i| format!("{} on {}", i.step, i.target)).collect();
        let during =
            if by_then.is_empty() { "no fault in force at that moment".to_owned() } else { format!("with {} in force", list(&by_then, 3)) };
        happened.push(format!("first violated at {}, {during}", moment(at)));
    }
    happened.extend(probe.time_to_detect.map(|t| format!("known {} after the first fault came into force", span(t))));
    happened.extend(probe.longest_violation.filter(|t| *t > 0).map(|t| format!("violated for up to {} without a pause", span(t))));
    match (probe.time_to_recover, report.recovery.recovered) {
        (Some(t), _) if probe.first_violation.is_some() => {
            happened.push(format!("as expected again {} after everything was put back", span(t)));
        }
        (None, Some(false)) if probe.status == ProbeStatus::Violated => {
            happened.push("not as expected again after everything was put back".into());
        }
        _ => {}
    }
    let actual = match probe.status {
        ProbeStatus::Unmeasured => "could not be measured".to_owned(),
        _ => probe.worst.clone().or_else(|| last_violation(probe)).unwrap_or_else(|| "not as expected".into()),
    };
    Some(Analysis { metric: probe.name.clone(), expected: probe.expectation.clone(), actual, happened })
}

fn last_violation(probe: &ProbeReport) -> Option<String> {
    let sample = probe.samples.iter().rev().find(|s| s.violated)?;
    Some(crate::format::value(sample.value.as_ref()?, probe.dimension))
}

fn in_force_at(injection: &InjectionReport, at: u64) -> bool {
    injection.begun <= at && injection.reverted.is_none_or(|gone| gone >= at)
}

fn fate(injection: &InjectionReport) -> Vec<String> {
    let mut out = vec![format!("begun at {}", moment(injection.begun))];
    out.extend(injection.in_force.map(|at| format!("in force at {}", moment(at))));
    out.push(match injection.reverted {
        Some(at) => format!("gone at {}", moment(at)),
        None if injection.stuck => "not reverted: run `squall recover`".into(),
        None => "never touched its target".into(),
    });
    out
}

fn actions(report: &Report) -> Vec<crate::Action> {
    let mut out = Vec::new();
    match report.verdict {
        Some(Verdict::Held) => out.push(action("Run this experiment regularly, so that it stays true".into())),
        Some(Verdict::Deviated) => {
            let violated = report.probes.iter().filter(|p| p.status == ProbeStatus::Violated);
            out.extend(violated.map(|p| action(format!("Find out why {} does not stay {}, and mend it", p.name, p.expectation))));
            let worse = report.comparisons.iter().filter(|c| c.worse.is_some());
            out.extend(worse.map(|c| action(format!("Find out why {} is worse under {}, and mend it", c.name, c.step))));
            out.push(action("Run this experiment again to see that it holds".into()));
        }
        Some(Verdict::Unsteady) => out.push(action("Make the system steady, or the expectations true, and run again".into())),
        Some(Verdict::Aborted) => out.push(action("Decide whether the reason for the stop is a finding, and run again".into())),
        Some(Verdict::Inconclusive) => out.push(action("Make the missing measurements possible, and run again".into())),
        Some(Verdict::Failed) => {
            out.push(action("Check that nothing is left (`squall recover`), and mend what kept Squall from its work".into()));
        }
        None => out.push(action("Check that nothing is left (`squall recover`)".into())),
    }
    out
}
