//! What the live view shows, worked out from a state of the run.

use std::time::Duration;

use squall_engine::{InjectionPhase, Judgement, Micros, NodeKind, NodePhase, Phase, ProbeState, State, Stop};
use squall_model::Verdict;

use super::format::{clean, span, value};

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveView {
    /// The experiment's name.
    pub experiment: String,
    /// The run's id; empty before it is known.
    pub run: String,
    /// Where the run is.
    pub phase: Phase,
    /// Phases that were gone through.
    pub passed: Vec<Phase>,
    /// Time in the phase, and how long it lasts if that is known.
    pub progress: (Duration, Option<Duration>),
    /// One for each probe.
    pub probes: Vec<ProbeRow>,
    /// One for each fault that is in force, or on its way in or out.
    pub faults: Vec<FaultRow>,
    /// One for each guard, then one for each comparison.
    pub guards: Vec<GuardRow>,
    /// What a person is asked to look at.
    pub suspended: Option<String>,
    /// Somebody asked for the run to stop.
    pub stopping: bool,
    /// The end.
    pub verdict: Option<(Verdict, String)>,
}

/// A probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRow {
    /// Its name.
    pub name: String,
    /// Its last value, with the unit.
    pub value: String,
    /// What is expected; empty where nothing is.
    pub expectation: String,
    /// What the last value says; none before the first.
    pub judgement: Option<Judgement>,
    /// Whether it is judged at all.
    pub judged: bool,
    /// The last values, oldest first.
    pub recent: Vec<(Option<f64>, Judgement)>,
    /// The thresholds, for scale.
    pub thresholds: Vec<f64>,
}

/// A fault.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRow {
    /// The step's name.
    pub name: String,
    /// What it is applied to.
    pub target: String,
    /// How it is.
    pub condition: &'static str,
    /// Whether its effect was seen.
    pub verified: Option<bool>,
    /// Time left, and the whole time box.
    pub left: Option<(Duration, Duration)>,
}

/// A guard, or a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardRow {
    /// What stands before the text where there is room.
    pub words: &'static str,
    /// The condition in words.
    pub text: String,
    /// How near it is.
    pub condition: String,
    /// It is quiet, near, or has aborted the run.
    pub level: Level,
}

/// How near a guard is to abort the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Its condition is not met.
    Quiet,
    /// Its condition is met, but not for long enough, or it cannot be measured.
    Near,
    /// It has aborted the run.
    Tripped,
}

impl LiveView {
    /// The view of a state, `now` microseconds after the run's start (the state itself is as old as its last event).
    pub fn at(state: &State, now: Micros) -> Self {
        let phases = state.phases.iter().map(|(phase, _)| *phase);
        Self {
            experiment: clean(&state.program.experiment.metadata.name),
            run: state.started.as_ref().map(|s| s.run.to_string()).unwrap_or_default(),
            phase: state.phase,
            passed: phases.filter(|phase| *phase != state.phase).collect(),
            progress: (micros(now.saturating_sub(state.phase_began())), phase_length(state)),
            probes: state.probes.iter().enumerate().map(|(i, probe)| probe_row(state, i, probe)).collect(),
            faults: fault_rows(state, now),
            guards: guard_rows(state, now),
            suspended: suspended(state),
            stopping: matches!(state.stop, Some(Stop::Asked(_))),
            verdict: state.verdict.clone().map(|(verdict, reason)| (verdict, clean(&reason))),
        }
    }
}

impl From<&State> for LiveView {
    fn from(state: &State) -> Self {
        Self::at(state, state.now)
    }
}

const fn micros(micros: Micros) -> Duration {
    Duration::from_micros(micros)
}

/// How long the phase takes, or (recovery) may take at most.
fn phase_length(state: &State) -> Option<Duration> {
    let spec = &state.program.experiment.spec;
    match state.phase {
        Phase::Steady => Some(spec.steady.warmup.std() + spec.steady.duration.std()),
        Phase::Inject => {
            let observe = spec.observe.unwrap_or_default().std();
            Some(state.program.longest().std().saturating_sub(observe)).filter(|time| !time.is_zero())
        }
        Phase::Observe => spec.observe.map(squall_model::Time::std),
        Phase::Recover => Some(spec.recovery.within.std()),
        Phase::Plan | Phase::Revert | Phase::Verdict => None,
    }
}

fn probe_row(state: &State, index: usize, probe: &ProbeState) -> ProbeRow {
    let spec = &state.program.probes[index];
    let shown = probe.last.as_ref().map(|last| match (&last.value, &last.error) {
        (Some(v), _) => value(v, spec.dimension),
        (None, Some(error)) => clean(error),
        (None, None) => "no answer".to_owned(),
    });
    ProbeRow {
        name: clean(&spec.name),
        value: shown.unwrap_or_else(|| "…".into()),
        expectation: clean(&spec.expectation),
        judgement: probe.last.as_ref().map(|last| last.judgement),
        judged: spec.bound.is_some(),
        recent: probe.recent.iter().map(|(_, number, judgement)| (*number, *judgement)).collect(),
        thresholds: spec.bound.as_ref().map(squall_model::Bound::thresholds).unwrap_or_default(),
    }
}

fn fault_rows(state: &State, now: Micros) -> Vec<FaultRow> {
    let shown = state.injections.values().filter(|injection| !injection.settled() || injection.phase == InjectionPhase::Stuck);
    let rows = shown.map(|injection| FaultRow {
        name: clean(&state.program.nodes[injection.node].name),
        target: clean(&injection.label),
        condition: match injection.phase {
            InjectionPhase::Injecting => "coming into force",
            InjectionPhase::InForce => "in force",
            InjectionPhase::Failed => "failed, being reverted",
            InjectionPhase::Reverting => "being reverted",
            InjectionPhase::Reverted => "gone",
            InjectionPhase::Stuck => "cannot be reverted",
        },
        verified: injection.verified.as_ref().map(|(in_force, _)| *in_force),
        left: injection
            .deadline
            .filter(|_| injection.phase == InjectionPhase::InForce)
            .map(|end| (micros(end.saturating_sub(now)), micros(end.saturating_sub(injection.begun)))),
    });
    rows.collect()
}

fn guard_rows(state: &State, now: Micros) -> Vec<GuardRow> {
    let rows = state.program.guards.iter().zip(&state.guards).map(|(spec, guard)| {
        let text = format!("{} {}", clean(&state.program.probes[spec.probe].name), clean(&spec.condition));
        let (level, condition) = if guard.tripped {
            (Level::Tripped, "aborted the run".to_owned())
        } else if !matches!(state.phase, Phase::Inject | Phase::Observe) {
            (Level::Quiet, "at rest".to_owned())
        } else if let Some(since) = guard.met_since {
            (Level::Near, format!("met for {}", span(micros(now.saturating_sub(since)))))
        } else if guard.unmeasured > 0 {
            (Level::Near, format!("not measurable, {} in a row", guard.unmeasured))
        } else {
            (Level::Quiet, "on watch".to_owned())
        };
        GuardRow { words: "guard: aborts at ", text, condition, level }
    });
    rows.chain(comparison_rows(state)).collect()
}

fn comparison_rows(state: &State) -> impl Iterator<Item = GuardRow> {
    state.program.comparisons.iter().zip(&state.comparisons).map(|(spec, comparison)| {
        let (experiment, control) = (comparison.experiment, comparison.control);
        let seen = format!(
            "{} of {} bad under the fault, {} of {} in the control group",
            experiment.bad, experiment.all, control.bad, control.all
        );
        let (level, condition) = if comparison.worse.is_some() {
            (Level::Tripped, format!("worse: {seen}"))
        } else if experiment.all + control.all == 0 {
            (Level::Quiet, "at rest".to_owned())
        } else {
            (Level::Quiet, seen)
        };
        GuardRow { words: "compared: ", text: clean(&spec.name), condition, level }
    })
}

fn suspended(state: &State) -> Option<String> {
    let mut nodes = state.nodes.iter().zip(&state.program.nodes);
    nodes.find_map(|(node, spec)| match (&spec.kind, node.phase) {
        (NodeKind::Suspend { message, .. }, NodePhase::Suspended) => Some(clean(message)),
        _ => None,
    })
}
