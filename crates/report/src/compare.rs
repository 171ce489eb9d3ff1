//! Comparisons of a report, from the engine's evidence.

use std::collections::BTreeMap;

use squall_engine::{CompareSpec, ComparedEvidence, Evidence, Numbers, State, difference};
use squall_model::{Arm, Event, Record};

use crate::model::{ArmReport, ComparisonReport, ComparisonStatus, Turn, TurnArm};
use crate::redact::Redactor;

/// Turns of a comparison, at most: as many as a chart can show.
const TURNS: u64 = 240;

/// Every comparison, in the order of the manifest.
pub(crate) fn reports(evidence: &Evidence, records: &[Record], redactor: &Redactor) -> Vec<ComparisonReport> {
    let specs = evidence.state.program.comparisons.iter().zip(&evidence.comparisons).enumerate();
    specs.map(|(index, (spec, answers))| report(&evidence.state, index, spec, answers, records, redactor)).collect()
}

fn report(
    state: &State,
    index: usize,
    spec: &CompareSpec,
    answers: &[ComparedEvidence],
    records: &[Record],
    redactor: &Redactor,
) -> ComparisonReport {
    let known = &state.comparisons[index];
    let (low, high) = difference(known.experiment, known.control, spec.confidence);
    let tested = state.injections.values().any(|i| i.node == spec.node && i.in_force.is_some());
    let status = if known.worse.is_some() {
        ComparisonStatus::Worse
    } else if !tested {
        ComparisonStatus::Untested
    } else if known.says_nothing().is_some() {
        ComparisonStatus::Unmeasured
    } else if high <= spec.margin {
        ComparisonStatus::NotWorse
    } else {
        ComparisonStatus::Undecided
    };
    let said = state.comparison_in_words(index);
    let summary = match status {
        ComparisonStatus::Worse => said,
        ComparisonStatus::Untested => format!("{}: no fault of {} came into force", spec.name, state.program.nodes[spec.node].name),
        ComparisonStatus::Unmeasured => format!("{}: {}", spec.name, known.says_nothing().unwrap_or_default()),
        ComparisonStatus::NotWorse => format!("{said}: not worse by more than the margin"),
        ComparisonStatus::Undecided => format!("{said}: no difference was shown"),
    };
    let arm = |arm: Arm, counted: squall_engine::Answers| {
        let numbers: Vec<f64> = answers.iter().filter(|a| a.arm == arm && a.counts).filter_map(|a| a.value).collect();
        let targets = asked(state, spec, records, arm).iter().map(|label| redactor.text(label)).collect();
        ArmReport { targets, answers: counted.all, bad: counted.bad, numbers: Numbers::of(&numbers).map(Into::into) }
    };
    ComparisonReport {
        name: redactor.text(&spec.name),
        what: redactor.text(&spec.what),
        expectation: redactor.text(&spec.expectation),
        dimension: spec.dimension,
        thresholds: spec.bound.thresholds(),
        step: redactor.text(&state.program.nodes[spec.node].name),
        status,
        summary: redactor.text(&summary),
        margin: spec.margin,
        confidence: spec.confidence,
        difference: [low, high],
        worse: known.worse,
        experiment: arm(Arm::Experiment, known.experiment),
        control: arm(Arm::Control, known.control),
        turns: turns(answers, spec, state.now),
    }
}

/// Labels of those that were asked, each once.
fn asked(state: &State, spec: &CompareSpec, records: &[Record], arm: Arm) -> Vec<String> {
    let mut labels: Vec<String> = match arm {
        Arm::Experiment => state.injections.values().filter(|i| i.node == spec.node).map(|i| i.label.clone()).collect(),
        Arm::Control => {
            let groups = records.iter().filter_map(|record| match &record.event {
                Event::Selected { node, control, .. } if *node == spec.node => Some(control.clone()),
                _ => None,
            });
            groups.flatten().collect()
        }
    };
    labels.sort();
    labels.dedup();
    labels
}

fn turns(answers: &[ComparedEvidence], spec: &CompareSpec, end: u64) -> Vec<Turn> {
    let every = u64::try_from(spec.every.std().as_micros()).unwrap_or(u64::MAX);
    // From the first question on: all are asked at the same moments.
    let Some(start) = answers.iter().map(|answer| answer.asked).min() else { return Vec::new() };
    let width = every.max(end.saturating_sub(start) / TURNS).max(1);
    let mut found: BTreeMap<(u64, Arm), (TurnArm, Vec<f64>)> = BTreeMap::new();
    for answer in answers {
        // A moment late is not the next turn.
        let turn = (answer.asked - start + width / 4) / width;
        let (arm, numbers) = found.entry((turn, answer.arm)).or_default();
        arm.answers += 1;
        arm.bad += u32::from(answer.bad);
        numbers.extend(answer.value);
    }
    let mut turns: BTreeMap<u64, Turn> = BTreeMap::new();
    for ((turn, arm), (mut said, numbers)) in found {
        said.median = Numbers::of(&numbers).map(|numbers| numbers.median);
        let at = start + turn * width;
        let turn = turns.entry(turn).or_insert(Turn { at, experiment: TurnArm::default(), control: TurnArm::default() });
        match arm {
            Arm::Experiment => turn.experiment = said,
            Arm::Control => turn.control = said,
        }
    }
    turns.into_values().collect()
}
