//! What happened in a run, as lines in order of time.

use squall_engine::State;
use squall_model::{Event, InjectionId, Record, RevertedBy};

use crate::format::{count, list, span, value};
use crate::model::{EventLine, Mark, ProbeReport, Report};
use crate::redact::Redactor;

/// Changes of one probe that are told of; what is beyond is in the chart.
const CHANGES: usize = 40;

/// Every event worth telling: phases, injections, changes of probes, and what others asked for.
pub(crate) fn lines(state: &State, records: &[Record], report: &Report, redactor: &Redactor) -> Vec<EventLine> {
    let mut out: Vec<EventLine> = Vec::new();
    // An observation of no length is how the engine gets from the method to the revert.
    for span in report.phases.iter().filter(|span| span.phase != "observe" || span.to - span.from > 50_000) {
        out.push(EventLine { at: span.from, mark: Mark::Step, text: phase(&span.phase).to_owned() });
    }
    for record in records {
        if let Some((mark, text)) = one(state, &record.event) {
            out.push(EventLine { at: record.at, mark, text: redactor.text(&text) });
        }
    }
    if let (Some(stop), false) =
        (&report.stop, records.iter().any(|r| matches!(r.event, Event::StopRequested { .. } | Event::SafetyLost { .. })))
    {
        out.push(EventLine { at: stop.at, mark: Mark::Bad, text: stop.why.clone() });
    }
    for probe in report.probes.iter().filter(|probe| !probe.expectation.is_empty()) {
        changes(probe, &mut out);
    }
    for comparison in &report.comparisons {
        let shown = comparison.worse.map(|at| EventLine { at, mark: Mark::Bad, text: comparison.summary.clone() });
        // Where it stopped the run, that is told already.
        out.extend(shown.filter(|line| report.stop.as_ref().is_none_or(|stop| stop.at != line.at)));
    }
    if let (Some(at), Some(took)) = (state.recovered_at, report.recovery.took) {
        out.push(EventLine { at, mark: Mark::Good, text: format!("steady again, {} after the revert", span(took)) });
    }
    // Stable: what happened at the same time keeps the order in which it was told.
    out.sort_by_key(|line| line.at);
    out
}

fn phase(name: &str) -> &'static str {
    match name {
        "steady" => "steady: watching; nothing is touched yet",
        "inject" => "inject: the steady state holds; the method begins",
        "observe" => "observe: the method is through; watching on",
        "revert" => "revert: putting everything back",
        _ => "recover: everything is back; waiting until the system is steady",
    }
}

fn one(state: &State, event: &Event) -> Option<(Mark, String)> {
    let name = |id: &InjectionId| {
        state
            .injections
            .get(id)
            .map_or_else(|| format!("injection {id}"), |i| format!("{} on {}", state.program.nodes[i.node].name, i.label))
    };
    let step = |node: &usize| state.program.nodes.get(*node).map_or_else(|| format!("step {node}"), |n| n.name.clone());
    Some(match event {
        Event::Selected { node, matched, targets, control } => {
            let labels: Vec<String> = targets.iter().map(|t| t.label.clone()).collect();
            (
                Mark::Step,
                format!(
                    "{}: chose {} of {}: {}{}",
                    step(node),
                    labels.len(),
                    count(*matched, "match").replace("matchs", "matches"),
                    list(&labels, 5),
                    if control.is_empty() { String::new() } else { format!("; control group: {}", list(control, 5)) }
                ),
            )
        }
        Event::SelectFailed { node, error } => (Mark::Bad, format!("{}: targets could not be chosen: {error}", step(node))),
        Event::Injected { injection } => (Mark::Fault, format!("{}: in force", name(injection))),
        Event::InjectFailed { injection, error } => (Mark::Bad, format!("{}: could not be put in force: {error}", name(injection))),
        Event::Verified { injection, in_force: true, evidence } => (Mark::Fault, format!("{}: verified: {evidence}", name(injection))),
        Event::Verified { injection, in_force: false, evidence } => (Mark::Bad, format!("{}: has no effect: {evidence}", name(injection))),
        Event::Reverted { injection, by, how } => (Mark::Good, format!("{}: reverted{}: {how}", name(injection), by_whom(*by))),
        Event::RevertFailed { injection, error } => (Mark::Bad, format!("{}: a revert failed: {error}", name(injection))),
        Event::RolledBack { action, error } => {
            let actions = state.program.experiment.spec.rollback.as_ref().map(|r| r.actions.as_slice()).unwrap_or_default();
            let name = actions.get(*action).map_or("", |a| a.name.as_str());
            match error {
                None => (Mark::Good, format!("rollback action {name}: done")),
                Some(error) => (Mark::Bad, format!("rollback action {name}: failed: {error}")),
            }
        }
        Event::StopRequested { by } => (Mark::Bad, format!("stop asked for by {by}")),
        Event::ContinueRequested { by } => (Mark::Step, format!("told to go on by {by}")),
        Event::SafetyLost { reason } => (Mark::Bad, reason.clone()),
        Event::Noted { text } => (Mark::Unsure, text.clone()),
        Event::Ended { verdict, reason } => (verdict_mark(*verdict), format!("{verdict}: {reason}")),
        Event::Started(_)
        | Event::Planned
        | Event::Sampled { .. }
        | Event::Compared { .. }
        | Event::Elapsed { .. }
        | Event::Armed { .. }
        | Event::TrafficEnded { .. } => return None,
    })
}

/// How a verdict is meant.
pub(crate) const fn verdict_mark(verdict: squall_model::Verdict) -> Mark {
    use squall_model::Verdict;
    match verdict {
        Verdict::Held => Mark::Good,
        Verdict::Deviated | Verdict::Failed => Mark::Bad,
        Verdict::Unsteady | Verdict::Aborted | Verdict::Inconclusive => Mark::Unsure,
    }
}

/// Who reverted, where it was not the run itself.
pub(crate) const fn by_whom(by: RevertedBy) -> &'static str {
    match by {
        RevertedBy::Engine => "",
        RevertedBy::Watchdog => " by the watchdog",
        RevertedBy::Recover => " by `squall recover`",
        RevertedBy::Stop => " by `squall stop`",
        RevertedBy::Agent => " by the agent",
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Good,
    Bad,
    Unknown,
}

fn changes(probe: &ProbeReport, out: &mut Vec<EventLine>) {
    let mut last = Seen::Good;
    let mut told = 0;
    for sample in &probe.samples {
        let shown = || sample.value.as_ref().map(|v| value(v, probe.dimension)).unwrap_or_default();
        let now = match (&sample.value, sample.violated) {
            (None, _) => Seen::Unknown,
            (_, true) => Seen::Bad,
            _ => Seen::Good,
        };
        if now == last {
            continue;
        }
        last = now;
        told += 1;
        if told > CHANGES {
            let text = format!("{}: changes more often; the rest is in its chart", probe.name);
            out.push(EventLine { at: sample.at, mark: Mark::Unsure, text });
            return;
        }
        let (mark, text) = match now {
            Seen::Bad => (Mark::Bad, format!("{} is {}, expected {}", probe.name, shown(), probe.expectation)),
            Seen::Unknown => {
                (Mark::Unsure, format!("{} could not be measured: {}", probe.name, sample.error.as_deref().unwrap_or_default()))
            }
            Seen::Good => (Mark::Good, format!("{} is {} again, as expected", probe.name, shown())),
        };
        out.push(EventLine { at: sample.at, mark, text });
    }
}
