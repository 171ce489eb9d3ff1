//! The loop as a pure function: [`State::step`] takes what happened and says what to do. No clock, no I/O, no chance:
//! replaying the journal gives the same state, and tests can drive every interleaving.
//!
//! The phases are Plan → Steady → Inject → Observe → Revert → Recover → Verdict. Guards act beside them.

mod compare;
mod guards;
mod method;
mod recover;
mod revert;
mod samples;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use squall_model::{Event, InjectionId, Percent, Record, RevertedBy, Started, Timer, Value, Verdict};

use crate::Answers;
use crate::program::Program;

/// Microseconds since the run's start.
pub type Micros = u64;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing has begun.
    Plan,
    /// Establishing the steady state. Nothing is touched.
    Steady,
    /// The method is being carried out.
    Inject,
    /// The method is over; watching on.
    Observe,
    /// Everything is being reverted.
    Revert,
    /// Watching whether the system recovers.
    Recover,
    /// Over.
    Verdict,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [Self::Plan, Self::Steady, Self::Inject, Self::Observe, Self::Revert, Self::Recover, Self::Verdict];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Steady => "steady",
            Self::Inject => "inject",
            Self::Observe => "observe",
            Self::Revert => "revert",
            Self::Recover => "recover",
            Self::Verdict => "verdict",
        }
    }
}

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Start the load and ask every probe now and then on its cadence.
    StartProbes,
    /// Ask a probe now, besides its cadence.
    Ask {
        /// Which.
        probe: usize,
    },
    /// Report [`Event::Elapsed`] at that time. Replaces an earlier one of the same timer.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When.
        at: Micros,
    },
    /// Choose the targets of a step.
    Select {
        /// The step.
        node: usize,
        /// The share of the matches in a ramp; targets of earlier stages are not chosen again.
        percent: Option<Percent>,
    },
    /// Put a fault in force.
    Inject {
        /// Which.
        injection: InjectionId,
        /// The step that it belongs to.
        node: usize,
        /// The end of its time box.
        deadline: Option<Micros>,
    },
    /// Stop putting a fault in force; ends in [`Event::InjectFailed`] unless it is in force already.
    Cancel {
        /// Which.
        injection: InjectionId,
    },
    /// Ask a target of a step, and the step's control group, on their cadence from now on.
    Compare {
        /// The step.
        node: usize,
        /// The target's id.
        target: String,
    },
    /// Look whether a fault is really in force.
    Verify {
        /// Which.
        injection: InjectionId,
    },
    /// Put things back.
    Revert {
        /// Which.
        injection: InjectionId,
    },
    /// Run an explicit rollback action.
    Rollback {
        /// Index in `rollback.actions`.
        action: usize,
    },
    /// The run is over: report [`Event::Ended`] with this.
    Finish {
        /// How.
        verdict: Verdict,
        /// Why, in one sentence.
        reason: String,
    },
}

/// Why a run stops before its method is through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stop {
    /// The steady state did not hold before.
    Unsteady(String),
    /// The steady state could not be measured before.
    Unmeasured(String),
    /// A guard's condition was met.
    Guard {
        /// Index in `guards`.
        guard: usize,
        /// What was seen.
        why: String,
    },
    /// The targets of a step were shown to be worse off than its control group.
    Worse {
        /// Index in `compare`.
        comparison: usize,
        /// What was seen.
        why: String,
    },
    /// The whole method took too long, or nobody answered a suspension.
    Timeout(String),
    /// Somebody asked for it.
    Asked(String),
    /// A fault was not in force though its calls had succeeded.
    NoEffect(String),
    /// Squall could not do what the method says.
    Broken(String),
}

/// What one sample says of its probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// The expectation is satisfied, or there is none.
    Ok,
    /// It is not.
    Violated,
    /// Could not be measured.
    Unmeasured,
}

/// The last answer of a probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// When it was asked.
    pub asked: Micros,
    /// When the answer came.
    pub at: Micros,
    /// The answer; none where it could not be measured.
    pub value: Option<Value>,
    /// Why it could not be measured.
    pub error: Option<String>,
    /// What it says.
    pub judgement: Judgement,
}

/// Counts of samples in one stage of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// All of them.
    pub samples: u32,
    /// Those that could not be measured.
    pub unmeasured: u32,
    /// Those that violated the expectation.
    pub violated: u32,
    /// The longest row of samples that could not be measured.
    pub longest_gap: u32,
    /// The row that is under way.
    gap: u32,
}

impl Tally {
    fn count(&mut self, judgement: Judgement) {
        self.samples += 1;
        if judgement == Judgement::Unmeasured {
            self.unmeasured += 1;
            self.gap += 1;
            self.longest_gap = self.longest_gap.max(self.gap);
        } else {
            self.gap = 0;
            self.violated += u32::from(judgement == Judgement::Violated);
        }
    }

    /// Those that were measured.
    pub const fn measured(&self) -> u32 {
        self.samples - self.unmeasured
    }

    /// Whether too much is missing to say "it held": nothing measured, three samples in a row missing, or over a tenth.
    pub const fn has_holes(&self) -> bool {
        self.measured() == 0 || self.longest_gap >= 3 || self.unmeasured * 10 > self.samples
    }
}

/// How many recent samples of a probe are kept for live views.
const RECENT: usize = 240;

/// What is known of a probe.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ProbeState {
    /// The last answer.
    pub last: Option<Sample>,
    /// The last answers that are numbers, oldest first: when, what, and what it says.
    pub recent: VecDeque<(Micros, Option<f64>, Judgement)>,
    /// Samples of the steady phase, after its warm-up.
    pub before: Tally,
    /// Samples asked from the first injection to the start of the revert.
    pub during: Tally,
    /// Samples asked after everything was reverted.
    pub after: Tally,
    /// Asked at, of the first of the violations that go on now.
    pub violated_since: Option<Micros>,
    /// The violation that goes on has lasted as long as the expectation's `for`.
    pub broken: bool,
    /// Asked at, of the first violation that counts, from the first injection on.
    pub first_violation: Option<Micros>,
    /// When the first violation that counts was known.
    pub detected: Option<Micros>,
    /// The longest time of violation without a pause.
    pub longest_violation: Micros,
    /// Start of the satisfied samples that go on now, after the revert.
    pub ok_since: Option<Micros>,
    /// A sample asked since the current wait for samples began has come.
    fresh: bool,
}

/// Where an injection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum InjectionPhase {
    /// Being put in force.
    Injecting,
    /// In force, as far as its own calls tell.
    InForce,
    /// Could not be put in force.
    Failed,
    /// Being reverted.
    Reverting,
    /// Gone.
    Reverted,
    /// Could not be reverted, after several tries.
    Stuck,
}

/// What is known of an injection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InjectionState {
    /// The step that it belongs to.
    pub node: usize,
    /// The target's id.
    pub target: String,
    /// The target, for people.
    pub label: String,
    /// Where it is.
    pub phase: InjectionPhase,
    /// Its undo is on disk: the target may have been touched.
    pub armed: bool,
    /// When it was begun.
    pub begun: Micros,
    /// When the round of its step began.
    pub round: Micros,
    /// When it came into force.
    pub in_force: Option<Micros>,
    /// The end of its time box.
    pub deadline: Option<Micros>,
    /// Whether the effect was seen, and the evidence.
    pub verified: Option<(bool, String)>,
    /// When its revert was first asked for.
    pub reverting: Option<Micros>,
    /// When it was gone, who did it, and how.
    pub reverted: Option<(Micros, RevertedBy, String)>,
    /// Tries to revert that failed.
    pub revert_failures: u32,
    /// The last error of it.
    pub error: Option<String>,
    /// Its step goes on without it: enough of its other targets are left.
    pub left_out: bool,
}

impl InjectionState {
    /// Nothing more will happen to it: it is gone, was never there, or is stuck.
    pub const fn settled(&self) -> bool {
        match self.phase {
            InjectionPhase::Reverted | InjectionPhase::Stuck => true,
            InjectionPhase::Failed => !self.armed,
            InjectionPhase::Injecting | InjectionPhase::InForce | InjectionPhase::Reverting => false,
        }
    }
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NodePhase {
    /// Its turn has not come.
    #[default]
    Idle,
    /// Waiting for its `after`.
    Delayed,
    /// Under way.
    Running,
    /// Waiting for a person.
    Suspended,
    /// Between two times of a repeat.
    Pausing,
    /// Done.
    Done,
    /// Its `when` was not satisfied.
    Skipped,
}

/// What is known of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct NodeState {
    /// Where it is.
    pub phase: NodePhase,
    /// How often it was begun.
    pub round: u32,
    /// The stage of its ramp.
    pub stage: usize,
    /// When the round began.
    pub begun: Micros,
    /// The targets of the stage are being chosen.
    selecting: bool,
}

/// What is known of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct GuardState {
    /// Its condition has been met since.
    pub met_since: Option<Micros>,
    /// Samples in a row that could not be measured.
    pub unmeasured: u32,
    /// Asked at, of the first of them.
    pub unmeasured_since: Option<Micros>,
    /// It has aborted the run.
    pub tripped: bool,
}

/// What is known of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ComparisonState {
    /// Answers of targets that the fault was in force on.
    pub experiment: Answers,
    /// Answers of the control group meanwhile.
    pub control: Answers,
    /// When the targets were shown to be worse off.
    pub worse: Option<Micros>,
    /// The last second of each target that counted, and whether a bad answer was in it.
    seconds: BTreeMap<String, (Micros, bool)>,
}

/// Everything that is known of a run.
#[derive(Debug, Clone)]
pub struct State {
    /// What is carried out.
    pub program: Arc<Program>,
    /// What is known since the beginning.
    pub started: Option<Box<Started>>,
    /// Where the run is.
    pub phase: Phase,
    /// When each phase began.
    pub phases: Vec<(Phase, Micros)>,
    /// Time of the last event.
    pub now: Micros,
    /// Number of events so far.
    pub events: u64,
    /// One for each probe.
    pub probes: Vec<ProbeState>,
    /// One for each guard.
    pub guards: Vec<GuardState>,
    /// One for each comparison.
    pub comparisons: Vec<ComparisonState>,
    /// One for each step.
    pub nodes: Vec<NodeState>,
    /// Every injection, by number.
    pub injections: BTreeMap<InjectionId, InjectionState>,
    /// Why the run stopped early, if it did.
    pub stop: Option<Stop>,
    /// The first fault was begun.
    pub first_injection: Option<Micros>,
    /// The first fault was in force: time to detect counts from here.
    pub first_in_force: Option<Micros>,
    /// Everything was gone: time to recover counts from here.
    pub reverted_at: Option<Micros>,
    /// Everything was satisfied for long enough.
    pub recovered_at: Option<Micros>,
    /// Recovery was looked at and did not come in time.
    pub not_recovered: bool,
    /// Rollback actions that have ended, with their errors.
    pub rolled_back: Vec<Option<String>>,
    /// The end.
    pub verdict: Option<(Verdict, String)>,
    waiting_for_samples: bool,
    steady_over: bool,
}

impl State {
    /// Before anything has happened.
    pub fn new(program: Arc<Program>) -> Self {
        Self {
            probes: vec![ProbeState::default(); program.probes.len()],
            guards: vec![GuardState::default(); program.guards.len()],
            comparisons: vec![ComparisonState::default(); program.comparisons.len()],
            nodes: vec![NodeState::default(); program.nodes.len()],
            program,
            started: None,
            phase: Phase::Plan,
            phases: vec![(Phase::Plan, 0)],
            now: 0,
            events: 0,
            injections: BTreeMap::new(),
            stop: None,
            first_injection: None,
            first_in_force: None,
            reverted_at: None,
            recovered_at: None,
            not_recovered: false,
            rolled_back: Vec::new(),
            verdict: None,
            waiting_for_samples: false,
            steady_over: false,
        }
    }

    /// The state after these events, from the beginning.
    pub fn replay<'a>(program: Arc<Program>, records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut state = Self::new(program);
        for record in records {
            state.step(record.at, &record.event);
        }
        state
    }

    /// What happened, at which time; gives what to do about it. Events that no longer matter change nothing.
    pub fn step(&mut self, at: Micros, event: &Event) -> Vec<Command> {
        self.now = self.now.max(at);
        self.events += 1;
        let mut out = Vec::new();
        if self.phase == Phase::Verdict && self.verdict.is_some() {
            return out;
        }
        match event {
            Event::Started(started) => self.started = Some(started.clone()),
            Event::Planned => self.begin_steady(&mut out),
            Event::Sampled { probe, took, measured } => self.sampled(*probe, *took, measured, &mut out),
            Event::Compared { comparison, arm, target, took, measured } => {
                self.compared(*comparison, *arm, target, *took, measured, &mut out);
            }
            Event::Elapsed { timer } => self.elapsed(*timer, &mut out),
            Event::Selected { node, targets, .. } => self.selected(*node, targets, &mut out),
            Event::SelectFailed { node, error } => self.select_failed(*node, error, &mut out),
            Event::Armed { injection } => {
                if let Some(injection) = self.injections.get_mut(injection) {
                    injection.armed = true;
                }
            }
            Event::Injected { injection } => self.injected(*injection, &mut out),
            Event::InjectFailed { injection, error } => self.inject_failed(*injection, error, &mut out),
            Event::Verified { injection, in_force, evidence } => self.verified(*injection, *in_force, evidence, &mut out),
            Event::Reverted { injection, by, how } => self.reverted(*injection, *by, how, &mut out),
            Event::RevertFailed { injection, error } => self.revert_failed(*injection, error, &mut out),
            Event::RolledBack { action, error } => self.rolled_back(*action, error.clone(), &mut out),
            Event::StopRequested { by } => self.halt(Stop::Asked(by.clone()), &mut out),
            Event::ContinueRequested { .. } => self.continue_requested(&mut out),
            Event::SafetyLost { reason } => self.halt(Stop::Broken(reason.clone()), &mut out),
            Event::TrafficEnded { .. } | Event::Noted { .. } => {}
            Event::Ended { verdict, reason } => {
                self.enter(Phase::Verdict);
                self.verdict = Some((*verdict, reason.clone()));
            }
        }
        out
    }

    /// Faults that are in force now, or may be.
    pub fn in_force(&self) -> impl Iterator<Item = (InjectionId, &InjectionState)> {
        self.injections.iter().filter(|(_, i)| i.armed && i.phase != InjectionPhase::Reverted).map(|(id, i)| (*id, i))
    }

    /// When the phase that goes on began.
    pub fn phase_began(&self) -> Micros {
        self.phases.last().map_or(0, |(_, at)| *at)
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            self.phases.push((phase, self.now));
        }
    }

    fn begin_steady(&mut self, out: &mut Vec<Command>) {
        if self.phase != Phase::Plan {
            return;
        }
        self.enter(Phase::Steady);
        out.push(Command::StartProbes);
        let steady = &self.program.experiment.spec.steady;
        let at = self.now + micros(steady.warmup) + micros(steady.duration);
        out.push(Command::SetTimer { timer: Timer::SteadyEnd, at });
    }

    fn elapsed(&mut self, timer: Timer, out: &mut Vec<Command>) {
        match timer {
            Timer::SteadyEnd => self.steady_end(out),
            Timer::Node(node) => self.node_elapsed(node, out),
            Timer::TimeBox(injection) => self.time_box_over(injection, out),
            Timer::RetryRevert(injection) => self.retry_revert(injection, out),
            Timer::ObserveEnd => self.observe_end(out),
            Timer::Timeout => self.method_timeout(out),
            Timer::RecoveryEnd => self.recovery_end(out),
            Timer::Guard(guard) => self.guard_elapsed(guard, out),
        }
    }

    /// Stops the run early: nothing more is begun, everything is reverted. The first reason stays.
    fn halt(&mut self, stop: Stop, out: &mut Vec<Command>) {
        match self.phase {
            // Nothing was touched yet, or everything is back: there is nothing to do but to say so.
            Phase::Plan | Phase::Steady | Phase::Recover => {
                self.stop.get_or_insert(stop);
                self.finish(out);
            }
            Phase::Inject | Phase::Observe => {
                self.stop.get_or_insert(stop);
                self.begin_revert(out);
            }
            // What had to be undone is under way; being asked again only skips the wait for recovery.
            Phase::Revert => {
                self.stop.get_or_insert(stop);
            }
            Phase::Verdict => {}
        }
    }
}

/// A time in microseconds.
pub(crate) fn micros(time: squall_model::Time) -> Micros {
    u64::try_from(time.std().as_micros()).unwrap_or(u64::MAX)
}
