//! What happened in a run, as lines: told from its states, each thing once.

use std::collections::BTreeMap;
use std::time::Duration;

use squall_engine::{InjectionPhase, InjectionState, Judgement, Micros, NodeKind, NodePhase, Phase, State, Stop};
use squall_model::{InjectionId, RevertedBy};

use super::format::{self, clean, span};

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The run goes on.
    Step,
    /// Something is broken on purpose.
    Fault,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Not known, or for a person to look at.
    Unsure,
}

impl Mark {
    /// One character for it.
    pub const fn sign(self) -> char {
        match self {
            Self::Step => '›',
            Self::Fault => '⚡',
            Self::Good => '✓',
            Self::Bad => '✗',
            Self::Unsure => '?',
        }
    }
}

/// One line of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tale {
    /// Since the run's start.
    pub at: Micros,
    /// How it is meant.
    pub mark: Mark,
    /// In words, without control characters.
    pub text: String,
}

/// What has been told so far.
#[derive(Debug, Default)]
pub struct Story {
    phases: usize,
    injections: BTreeMap<InjectionId, Told>,
    probes: Vec<Option<Judgement>>,
    compared: Vec<bool>,
    nodes: Vec<Option<(NodePhase, u32)>>,
    stopped: bool,
    recovered: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "what was told of an injection, each thing once")]
#[derive(Debug, Default)]
struct Told {
    in_force: bool,
    verified: bool,
    failed: bool,
    reverted: bool,
    stuck: bool,
}

impl Story {
    /// What is new in this state, oldest first.
    pub fn tell(&mut self, state: &State) -> Vec<Tale> {
        let mut out = Vec::new();
        self.injections(state, &mut out);
        self.phases(state, &mut out);
        self.nodes(state, &mut out);
        self.probes(state, &mut out);
        self.comparisons(state, &mut out);
        self.ends(state, &mut out);
        // Things of one state may have happened at different times; the sort keeps the order of those at the same.
        out.sort_by_key(|tale: &Tale| tale.at);
        out
    }

    fn phases(&mut self, state: &State, out: &mut Vec<Tale>) {
        let spec = &state.program.experiment.spec;
        for (phase, at) in state.phases.iter().skip(self.phases) {
            let text = match phase {
                Phase::Plan | Phase::Verdict => continue,
                Phase::Observe if spec.observe.is_none() => continue,
                Phase::Steady if spec.steady.warmup != squall_model::Time::ZERO => {
                    format!(
                        "steady: watching for {}, after {} of warm-up; nothing is touched yet",
                        spec.steady.duration, spec.steady.warmup
                    )
                }
                Phase::Steady => format!("steady: watching for {}; nothing is touched yet", spec.steady.duration),
                Phase::Inject => "inject: the steady state holds; carrying out the method".to_owned(),
                Phase::Observe => format!("observe: the method is through; watching on for {}", spec.observe.unwrap_or_default()),
                Phase::Revert => "revert: putting everything back".to_owned(),
                Phase::Recover => format!("recover: everything is back; waiting up to {} until the system is well", spec.recovery.within),
            };
            out.push(Tale { at: *at, mark: Mark::Step, text });
        }
        self.phases = state.phases.len();
    }

    fn injections(&mut self, state: &State, out: &mut Vec<Tale>) {
        for (id, injection) in &state.injections {
            let told = self.injections.entry(*id).or_default();
            tell_injection(state, injection, told, out);
        }
    }

    fn nodes(&mut self, state: &State, out: &mut Vec<Tale>) {
        self.nodes.resize(state.nodes.len(), None);
        for ((node, spec), told) in state.nodes.iter().zip(&state.program.nodes).zip(&mut self.nodes) {
            let now = (node.phase, node.round);
            if *told == Some(now) {
                continue;
            }
            *told = Some(now);
            match (node.phase, &spec.kind) {
                (NodePhase::Suspended, NodeKind::Suspend { message, timeout, .. }) => {
                    let how = "press c, or `squall continue` in another terminal";
                    let text = format!("suspended for up to {timeout}: {}; to go on, {how}", clean(message));
                    out.push(Tale { at: node.begun, mark: Mark::Unsure, text });
                }
                (NodePhase::Skipped, _) => {
                    let text = format!("{}: skipped, its condition is not met", clean(&spec.name));
                    out.push(Tale { at: state.now, mark: Mark::Step, text });
                }
                _ => {}
            }
        }
    }

    fn probes(&mut self, state: &State, out: &mut Vec<Tale>) {
        self.probes.resize(state.probes.len(), None);
        for (index, (probe, told)) in state.probes.iter().zip(&mut self.probes).enumerate() {
            let spec = &state.program.probes[index];
            let Some(last) = &probe.last else { continue };
            // A violation is told of when it counts: when it has lasted as long as its `for` says.
            let now = match last.judgement {
                Judgement::Violated if !probe.broken => continue,
                judgement => judgement,
            };
            let before = told.replace(now);
            if before == Some(now) || (before.is_none() && now == Judgement::Ok) || spec.bound.is_none() {
                continue;
            }
            let name = clean(&spec.name);
            let value = last.value.as_ref().map_or_else(|| clean(&state.shown(index)), |v| format::value(v, spec.dimension));
            let (mark, text) = match now {
                Judgement::Violated => (Mark::Bad, format!("{name} is {value}, expected {}", spec.expectation)),
                Judgement::Unmeasured => (Mark::Unsure, format!("{name} is {value}")),
                Judgement::Ok => (Mark::Good, format!("{name} is {value} again, as expected ({})", spec.expectation)),
            };
            out.push(Tale { at: last.at, mark, text });
        }
    }

    fn comparisons(&mut self, state: &State, out: &mut Vec<Tale>) {
        self.compared.resize(state.comparisons.len(), false);
        for (index, (comparison, told)) in state.comparisons.iter().zip(&mut self.compared).enumerate() {
            let Some(at) = comparison.worse.filter(|_| !std::mem::replace(told, comparison.worse.is_some())) else { continue };
            // One that stops the run is told of as the reason for that.
            if !matches!(&state.stop, Some(Stop::Worse { comparison, .. }) if *comparison == index) {
                out.push(Tale { at, mark: Mark::Bad, text: clean(&state.comparison_in_words(index)) });
            }
        }
    }

    fn ends(&mut self, state: &State, out: &mut Vec<Tale>) {
        if let Some(stop) = &state.stop
            && !self.stopped
        {
            self.stopped = true;
            let text = match stop {
                Stop::Asked(by) => format!("stop asked for by {}", clean(by)),
                Stop::Guard { why, .. } => format!("a guard stops the run: {}", clean(why)),
                Stop::Worse { why, .. } => format!("a comparison stops the run: {}", clean(why)),
                Stop::Unsteady(why) => format!("not steady, so nothing is touched: {}", clean(why)),
                Stop::Unmeasured(why) => format!("not measurable, so nothing is touched: {}", clean(why)),
                Stop::Timeout(why) | Stop::NoEffect(why) | Stop::Broken(why) => format!("the run stops: {}", clean(why)),
            };
            out.push(Tale { at: state.now, mark: Mark::Bad, text });
        }
        if let (Some(at), Some(from), false) = (state.recovered_at, state.reverted_at, self.recovered) {
            self.recovered = true;
            let took = Duration::from_micros(at.saturating_sub(from));
            let when = if took < Duration::from_millis(100) { "at once".to_owned() } else { format!("{} after the revert", span(took)) };
            out.push(Tale { at: state.now, mark: Mark::Good, text: format!("recovered {when}, and stable since") });
        }
    }
}

fn tell_injection(state: &State, injection: &InjectionState, told: &mut Told, out: &mut Vec<Tale>) {
    let label = clean(&injection.label);
    let name = clean(&state.program.nodes[injection.node].name);
    if let Some(at) = injection.in_force.filter(|_| !std::mem::replace(&mut told.in_force, injection.in_force.is_some())) {
        let time = injection.deadline.map(|end| format!(" for {}", span(Duration::from_micros(end.saturating_sub(injection.begun)))));
        out.push(Tale { at, mark: Mark::Fault, text: format!("{name}: in force on {label}{}", time.unwrap_or_default()) });
    }
    if let Some((in_force, evidence)) = &injection.verified
        && !std::mem::replace(&mut told.verified, true)
    {
        let (mark, word) = if *in_force { (Mark::Fault, "verified") } else { (Mark::Bad, "has no effect") };
        out.push(Tale { at: injection.in_force.unwrap_or(state.now), mark, text: format!("{name}: {word}: {}", clean(evidence)) });
    }
    let error = || clean(injection.error.as_deref().unwrap_or("unknown"));
    if injection.phase == InjectionPhase::Failed && !std::mem::replace(&mut told.failed, true) {
        out.push(Tale { at: state.now, mark: Mark::Bad, text: format!("{name}: could not be put in force on {label}: {}", error()) });
    }
    if let Some((at, by, how)) = &injection.reverted
        && !std::mem::replace(&mut told.reverted, true)
    {
        let by = match by {
            RevertedBy::Engine => "",
            RevertedBy::Watchdog => " by the watchdog",
            RevertedBy::Recover => " by recover",
            RevertedBy::Stop => " by `squall stop`",
            RevertedBy::Agent => " by the agent",
        };
        out.push(Tale { at: *at, mark: Mark::Good, text: format!("{name}: reverted{by}: {}", clean(how)) });
    }
    if injection.phase == InjectionPhase::Stuck && !std::mem::replace(&mut told.stuck, true) {
        out.push(Tale { at: state.now, mark: Mark::Bad, text: format!("{name}: cannot be reverted on {label}: {}", error()) });
    }
}
