//! From a journal to a report.

use std::sync::Arc;

use squall_engine::{Evidence, InjectionPhase, InjectionState, NodeKind, Phase, Program, Registry, State, Stop, Undone};
use squall_model::{Event, InjectionId, Record, TrafficSummary};

use crate::model::{
    Action, Facts, GuardReport, InjectionReport, PhaseSpan, REPORT_VERSION, RecoveryReport, Report, RollbackReport, StopReport,
};
use crate::redact::Redactor;
use crate::{compare, events, probe, words};

/// The report of a run, finished or not, from its program and its journal. The registry says what each kind of fault does
/// and how it goes away. `None` if the journal does not begin with the run's start.
pub fn build(program: &Arc<Program>, registry: &Registry, records: &[Record]) -> Option<Report> {
    let evidence = Evidence::gather(program, records);
    let state = &evidence.state;
    let started = state.started.as_ref()?;
    let redactor = Redactor::new(&started.manifest);
    let clean = |text: &str| redactor.text(text);
    let metadata = &program.experiment.metadata;
    let mut report = Report {
        version: REPORT_VERSION,
        experiment: started.experiment.clone(),
        statement: clean(program.experiment.spec.hypothesis.statement.trim()),
        labels: metadata.labels.iter().map(|(key, value)| (clean(key), clean(value))).collect(),
        verdict: state.verdict.as_ref().map(|(verdict, _)| *verdict),
        headline: String::new(),
        reason: state.verdict.as_ref().map_or_else(|| words::unfinished(state), |(_, reason)| clean(reason)),
        learned: Vec::new(),
        facts: Facts {
            run: started.run.clone(),
            host: clean(&started.host),
            user: clean(&started.user),
            started: started.wall.clone(),
            seed: started.seed,
            duration: state.now,
            squall: started.squall.clone(),
        },
        phases: phases(state),
        probes: probe::reports(&evidence, &redactor),
        comparisons: compare::reports(&evidence, records, &redactor),
        guards: guards(state, records, &redactor),
        injections: state.injections.iter().map(|(id, injection)| one_injection(state, registry, *id, injection, &redactor)).collect(),
        stop: state.stop.as_ref().map(|stop| StopReport { at: stopped_at(state, records), why: clean(&words::stop(stop)) }),
        recovery: recovery(state),
        rollback: rollback(state, &redactor),
        analysis: Vec::new(),
        actions: Vec::new(),
        traffic: traffic(records),
        events: Vec::new(),
        manifest: redactor.manifest().to_owned(),
    };
    report.events = events::lines(state, records, &report, &redactor);
    words::fill(&mut report);
    Some(report)
}

fn phases(state: &State) -> Vec<PhaseSpan> {
    let ends = state.phases.iter().skip(1).map(|(_, at)| *at).chain([state.now]);
    let spans = state.phases.iter().zip(ends).filter(|((phase, _), _)| !matches!(phase, Phase::Plan | Phase::Verdict));
    spans.map(|((phase, from), to)| PhaseSpan { phase: phase.name().to_owned(), from: *from, to: to.max(*from) }).collect()
}

/// When the run left the phase in which it was stopped.
fn stopped_at(state: &State, records: &[Record]) -> u64 {
    let asked = records.iter().find(|r| matches!(r.event, Event::StopRequested { .. } | Event::SafetyLost { .. }));
    match (&state.stop, asked) {
        (Some(Stop::Asked(_) | Stop::Broken(_)), Some(record)) => record.at,
        _ => state.phases.iter().find(|(phase, _)| *phase >= Phase::Revert).map_or(state.now, |(_, at)| *at),
    }
}

fn guards(state: &State, records: &[Record], redactor: &Redactor) -> Vec<GuardReport> {
    let specs = state.program.guards.iter().zip(&state.guards).enumerate();
    specs
        .map(|(index, (spec, guard))| {
            let why = match &state.stop {
                Some(Stop::Guard { guard, why }) if *guard == index => Some(redactor.text(why)),
                _ => None,
            };
            GuardReport {
                probe: redactor.text(&state.program.probes[spec.probe].name),
                condition: redactor.text(&spec.condition),
                tripped: guard.tripped,
                at: guard.tripped.then(|| stopped_at(state, records)),
                why,
            }
        })
        .collect()
}

fn one_injection(state: &State, registry: &Registry, id: InjectionId, injection: &InjectionState, redactor: &Redactor) -> InjectionReport {
    let node = &state.program.nodes[injection.node];
    let fault = if let NodeKind::Fault(fault) = &node.kind { Some(fault) } else { None };
    let meta = fault.and_then(|fault| registry.fault(&fault.fault)).map(|kind| kind.meta());
    let clean = |text: &str| redactor.text(text);
    let mut arguments = fault.filter(|f| !f.with.is_null()).map(|f| redactor.json(&f.with)).unwrap_or_default();
    if let Some(time) = fault.and_then(|f| f.duration) {
        arguments = if arguments.is_empty() { format!("for {time}") } else { format!("{arguments} for {time}") };
    }
    let reverted = injection.reverted.as_ref();
    InjectionReport {
        injection: id,
        step: clean(&node.name),
        fault: fault.map(|f| f.fault.clone()).unwrap_or_default(),
        summary: meta.map(|m| m.summary.to_owned()).unwrap_or_default(),
        arguments,
        target: clean(&injection.label),
        target_id: clean(&injection.target),
        begun: injection.begun,
        in_force: injection.in_force,
        verified: injection.verified.as_ref().map(|(seen, _)| *seen),
        evidence: injection.verified.as_ref().map(|(_, evidence)| clean(evidence)),
        undone: meta.map(|m| undone(m.undone).to_owned()).unwrap_or_default(),
        reverted: reverted.map(|(at, ..)| *at),
        by: reverted.map(|(_, by, _)| *by),
        how: reverted.map(|(_, _, how)| clean(how)),
        error: injection.error.as_deref().map(clean),
        stuck: injection.phase == InjectionPhase::Stuck,
        left_out: injection.left_out,
    }
}

/// The way back of a kind of fault, in words.
const fn undone(undone: Undone) -> &'static str {
    match undone {
        Undone::Kernel => "the kernel removes it when Squall's process ends",
        Undone::Child => "a child process carries it and ends with Squall",
        Undone::Ledger => "an undo in the ledger, done by the run, its watchdog or squall recover",
        Undone::Supervisor => "the target's own supervisor brings it back; Squall checks that",
        Undone::Depends => "depends on its arguments",
        Undone::Irreversible => "cannot be undone",
    }
}

fn recovery(state: &State) -> RecoveryReport {
    let within = state.program.experiment.spec.recovery.within.std().as_micros();
    let recovered = if state.recovered_at.is_some() { Some(true) } else { state.not_recovered.then_some(false) };
    let took = state.recovered_at.zip(state.reverted_at).map(|(at, from)| at.saturating_sub(from));
    RecoveryReport { within: u64::try_from(within).unwrap_or(u64::MAX), recovered, took }
}

fn rollback(state: &State, redactor: &Redactor) -> Vec<RollbackReport> {
    let actions = state.program.experiment.spec.rollback.iter().flat_map(|rollback| &rollback.actions).enumerate();
    actions
        .map(|(index, action)| {
            let ran = state.rolled_back.get(index);
            let error = ran.and_then(|error| error.as_deref()).map(|error| redactor.text(error));
            RollbackReport { name: redactor.text(&action.name), ran: ran.is_some(), error }
        })
        .collect()
}

fn traffic(records: &[Record]) -> Vec<TrafficSummary> {
    let summaries =
        records.iter().filter_map(|r| if let Event::TrafficEnded { summaries } = &r.event { Some(summaries.clone()) } else { None });
    summaries.flatten().collect()
}

/// One thing to do, with its fields still empty.
pub(crate) fn action(text: String) -> Action {
    Action { action: text, owner: None, priority: None, deadline: None }
}
