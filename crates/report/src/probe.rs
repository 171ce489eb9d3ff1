//! One probe of a report, from the engine's evidence.

use squall_engine::{Evidence, InjectionPhase, Judgement, Micros, ProbeEvidence, State, Stop};
use squall_model::{Bound, Value, Verdict};

use crate::format::value;
use crate::model::{Point, ProbeReport, ProbeStatus};
use crate::redact::Redactor;

/// Every probe, in the order of the manifest.
pub(crate) fn reports(evidence: &Evidence, redactor: &Redactor) -> Vec<ProbeReport> {
    evidence.probes.iter().enumerate().map(|(index, probe)| report(&evidence.state, index, probe, redactor)).collect()
}

fn report(state: &State, index: usize, probe: &ProbeEvidence, redactor: &Redactor) -> ProbeReport {
    let spec = &state.program.probes[index];
    let clean = |v: &Value| match v {
        Value::Text(text) => Value::Text(redactor.text(text)),
        Value::Number(number) => Value::Number(*number),
    };
    let samples = probe.samples.iter().map(|sample| Point {
        at: sample.asked,
        value: sample.value.as_ref().map(clean),
        error: sample.error.as_deref().map(|error| redactor.text(error)),
        violated: sample.violated,
    });
    ProbeReport {
        name: redactor.text(&probe.name),
        what: redactor.text(&probe.what),
        expectation: redactor.text(&probe.expectation),
        dimension: spec.dimension,
        thresholds: spec.bound.as_ref().map(Bound::thresholds).unwrap_or_default(),
        status: status(state, index),
        worst: worst(probe, spec.bound.as_ref(), state).map(|v| value(&clean(v), spec.dimension)),
        before: (&probe.before).into(),
        during: (&probe.during).into(),
        after: (&probe.after).into(),
        first_violation: probe.first_violation,
        longest_violation: probe.longest_violation,
        time_to_detect: probe.time_to_detect,
        time_to_recover: probe.time_to_recover,
        samples: samples.collect(),
    }
}

fn status(state: &State, index: usize) -> ProbeStatus {
    let (spec, probe) = (&state.program.probes[index], &state.probes[index]);
    let last = probe.last.as_ref().map(|sample| sample.judgement);
    if spec.bound.is_none() {
        ProbeStatus::Watched
    } else if probe.first_violation.is_some() || (state.not_recovered && last == Some(Judgement::Violated)) {
        ProbeStatus::Violated
    } else if matches!(state.stop, Some(Stop::Unsteady(_))) && last == Some(Judgement::Violated) {
        ProbeStatus::Unsteady
    } else if matches!(state.stop, Some(Stop::Unmeasured(_))) && (probe.before.has_holes() || last == Some(Judgement::Unmeasured)) {
        ProbeStatus::Unmeasured
    } else if state.first_injection.is_none() || everything_failed(state) {
        ProbeStatus::Untested
    } else if probe.during.has_holes() || (state.not_recovered && last == Some(Judgement::Unmeasured)) {
        ProbeStatus::Unmeasured
    } else {
        ProbeStatus::Held
    }
}

/// Injections were begun, and none of them ever came into force.
fn everything_failed(state: &State) -> bool {
    let verdict = state.verdict.as_ref().map(|(verdict, _)| *verdict);
    verdict == Some(Verdict::Failed) && state.injections.values().all(|i| i.in_force.is_none() && i.phase != InjectionPhase::InForce)
}

/// The value furthest from what was expected, among those from the first injection on that violated it.
fn worst<'a>(probe: &'a ProbeEvidence, bound: Option<&Bound>, state: &State) -> Option<&'a Value> {
    let from: Micros = state.first_injection.unwrap_or(0);
    let bad = probe.samples.iter().filter(|s| s.violated && s.asked >= from).filter_map(|s| s.value.as_ref());
    bad.max_by(|a, b| distance(a, bound).total_cmp(&distance(b, bound)))
}

fn distance(value: &Value, bound: Option<&Bound>) -> f64 {
    let (Value::Number(n), Some(bound)) = (value, bound) else { return 0.0 };
    bound.thresholds().into_iter().map(|threshold| (n - threshold).abs()).fold(f64::INFINITY, f64::min)
}
