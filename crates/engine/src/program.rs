//! An experiment made ready to run: names resolved to indices, expectations to bounds, the method to a tree of nodes.

use std::collections::BTreeMap;

use squall_model::{
    Bound, Compare, Dimension, Experiment, Group, Percent, Quorum, Select, Step, SuspendTimeout, Target, Time, Unmeasurable, WhenWorse,
};

use crate::Registry;

/// An experiment made ready to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// The manifest.
    pub experiment: Experiment,
    /// The probes, as in `hypothesis.probes`.
    pub probes: Vec<ProbeSpec>,
    /// The guards, as in `guards`.
    pub guards: Vec<GuardSpec>,
    /// The comparisons, as in `compare`.
    pub comparisons: Vec<CompareSpec>,
    /// The method. Node 0 is the sequence of all steps; children come after their parents.
    pub nodes: Vec<Node>,
}

/// A probe made ready.
#[derive(Debug, Clone)]
pub struct ProbeSpec {
    /// Its name.
    pub name: String,
    /// What its values are measured in.
    pub dimension: Dimension,
    /// What is measured, in words.
    pub what: String,
    /// What its values must satisfy; a probe without is only watched.
    pub bound: Option<Bound>,
    /// The expectation in words.
    pub expectation: String,
    /// How long it must be broken to count.
    pub persist: Time,
    /// How often it is asked.
    pub every: Time,
    /// When to give up on an answer.
    pub timeout: Time,
}

/// A guard made ready.
#[derive(Debug, Clone)]
pub struct GuardSpec {
    /// Index of its probe.
    pub probe: usize,
    /// Abort when a value satisfies this.
    pub bound: Bound,
    /// The condition in words.
    pub condition: String,
    /// How long it must be satisfied without a pause.
    pub persist: Time,
    /// What to do when the probe cannot be measured.
    pub unmeasurable: Unmeasurable,
}

/// A comparison made ready.
#[derive(Debug, Clone)]
pub struct CompareSpec {
    /// Its name.
    pub name: String,
    /// The step whose targets are compared with its control group.
    pub node: usize,
    /// What the answers are measured in.
    pub dimension: Dimension,
    /// What is asked, in words.
    pub what: String,
    /// What a good answer satisfies.
    pub bound: Bound,
    /// The same in words.
    pub expectation: String,
    /// How much larger the share of bad answers may be, from 0 to 1.
    pub margin: f64,
    /// How sure to be, from 0 to 1.
    pub confidence: f64,
    /// What to do when the targets are shown to be worse off.
    pub when_worse: WhenWorse,
    /// How often each target is asked.
    pub every: Time,
    /// When to give up on an answer.
    pub timeout: Time,
}

/// A step of the method, made ready.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, unique.
    pub name: String,
    /// Path in the manifest, such as `spec.method[0]`.
    pub path: String,
    /// What it is.
    pub kind: NodeKind,
    /// The node that it is part of; none for node 0.
    pub parent: Option<usize>,
    /// Wait before it starts.
    pub after: Time,
    /// How often it is done in all.
    pub times: u32,
    /// Pause between two times.
    pub pause: Time,
    /// Done only if the probe's last value satisfies this.
    pub when: Option<(usize, Bound)>,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// One after another.
    Sequence(Vec<usize>),
    /// At the same time.
    Parallel(Vec<usize>),
    /// A pause.
    Wait(Time),
    /// A stop for a person.
    Suspend {
        /// What to look at.
        message: String,
        /// The longest time to wait.
        timeout: Time,
        /// What to do then.
        on_timeout: SuspendTimeout,
    },
    /// A fault.
    Fault(Box<FaultNode>),
}

/// A step that is a fault.
#[derive(Debug, Clone)]
pub struct FaultNode {
    /// The kind.
    pub fault: String,
    /// What it is applied to; none is the host.
    pub target: Target,
    /// Its arguments.
    pub with: serde_json::Value,
    /// Its time box.
    pub duration: Option<Time>,
    /// Shares of the targets, stage by stage; one empty stage where there is no ramp.
    pub stages: Vec<Option<Percent>>,
    /// How long each stage but the last lasts.
    pub stage_every: Time,
    /// How many of its targets it needs.
    pub quorum: Quorum,
    /// The manifest accepts that there is no way back.
    pub accept_irreversible: bool,
}

/// The experiment cannot be made ready. `squall validate` says the same with line and column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ProgramError {
    /// Where.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl Program {
    /// Makes an experiment ready. One that passed [`crate::check`] never fails here.
    pub fn compile(experiment: &Experiment, registry: &Registry) -> Result<Self, ProgramError> {
        let spec = &experiment.spec;
        let mut probes = Vec::new();
        for (i, probe) in spec.hypothesis.probes.iter().enumerate() {
            let path = format!("spec.hypothesis.probes[{i}]");
            let error = |message: String| ProgramError { path: path.clone(), message };
            let kind = registry.probe(&probe.kind).ok_or_else(|| error(format!("`{}` is not a kind of probe", probe.kind)))?;
            let dimension = kind.dimension(&probe.with);
            let every = probe.every.unwrap_or(spec.steady.every);
            let bound = probe.expect.as_ref().map(|e| e.bound(dimension)).transpose().map_err(|e| error(e.to_string()))?;
            probes.push(ProbeSpec {
                name: probe.name.clone(),
                dimension,
                what: kind.describe(&probe.with),
                bound,
                expectation: probe.expect.as_ref().map(squall_model::Expectation::describe).unwrap_or_default(),
                persist: probe.expect.as_ref().and_then(|e| e.persist).unwrap_or_default(),
                every,
                timeout: timeout(probe.timeout, every),
            });
        }
        let index = |name: &str, path: String| {
            let found = probes.iter().position(|p: &ProbeSpec| p.name == name);
            found.ok_or_else(|| ProgramError { path, message: format!("there is no probe `{name}`") })
        };
        let mut guards = Vec::new();
        for (i, guard) in spec.guards.iter().enumerate() {
            let path = format!("spec.guards[{i}]");
            let probe = index(&guard.probe, path.clone())?;
            let bound = guard.abort.bound(probes[probe].dimension).map_err(|e| ProgramError { path, message: e.to_string() })?;
            let persist = guard.abort.persist.unwrap_or_default();
            guards.push(GuardSpec { probe, bound, condition: guard.abort.describe(), persist, unmeasurable: guard.unmeasurable });
        }
        let mut tree = Tree { nodes: Vec::new(), probes: &probes };
        let root = tree.add(None, "method".into(), "spec.method".into());
        let children = tree.steps(&spec.method, root, "spec.method")?;
        tree.nodes[root].kind = NodeKind::Sequence(children);
        let nodes = tree.nodes;
        let comparisons = spec.compare.iter().enumerate().map(|(i, one)| comparison(i, one, &nodes, spec.steady.every, registry));
        let comparisons = comparisons.collect::<Result<_, _>>()?;
        Ok(Self { experiment: experiment.clone(), probes, guards, comparisons, nodes })
    }

    /// The longest time that the method can take if nothing hangs: the sum of its waits, time boxes and pauses.
    pub fn longest(&self) -> Time {
        Time::from(self.node_longest(0) + self.experiment.spec.observe.unwrap_or_default().std())
    }

    fn node_longest(&self, index: usize) -> std::time::Duration {
        let node = &self.nodes[index];
        let once = match &node.kind {
            NodeKind::Sequence(children) => children.iter().map(|&c| self.node_longest(c)).sum(),
            NodeKind::Parallel(children) => children.iter().map(|&c| self.node_longest(c)).max().unwrap_or_default(),
            NodeKind::Wait(time) => time.std(),
            NodeKind::Suspend { timeout, .. } => timeout.std(),
            NodeKind::Fault(fault) => fault.duration.unwrap_or_default().std(),
        };
        let times = node.times.max(1);
        once.saturating_mul(times).saturating_add(node.pause.std().saturating_mul(times - 1)).saturating_add(node.after.std())
    }
}

/// When to give up on an answer where nothing is said.
fn timeout(said: Option<Time>, every: Time) -> Time {
    said.unwrap_or_else(|| every.clamp(Time::from_secs(1), Time::from_secs(5)))
}

fn comparison(index: usize, compare: &Compare, nodes: &[Node], every: Time, registry: &Registry) -> Result<CompareSpec, ProgramError> {
    let error = |message: String| ProgramError { path: format!("spec.compare[{index}]"), message };
    let probe = &compare.probe;
    let kind = registry.probe(&probe.kind).ok_or_else(|| error(format!("`{}` is not a kind of probe", probe.kind)))?;
    let with_control = |node: &Node| matches!(&node.kind, NodeKind::Fault(fault) if fault.target.control);
    let meant = |node: &Node| with_control(node) && compare.step.as_ref().is_none_or(|step| *step == node.name);
    let node = nodes.iter().position(meant).ok_or_else(|| error("there is no such step with a control group".into()))?;
    let NodeKind::Fault(fault) = &nodes[node].kind else { return Err(error("its step is no fault".into())) };
    let target = registry.target(&fault.target.kind).ok_or_else(|| error(format!("`{}` is not a kind of target", fault.target.kind)))?;
    let sample = crate::compare::sample(&probe.with, target.meta()).map_err(|(message, _)| error(message))?;
    let dimension = kind.dimension(&sample);
    let expect = probe.expect.as_ref().ok_or_else(|| error("it has no `expect`".into()))?;
    let every = probe.every.unwrap_or(every);
    Ok(CompareSpec {
        name: probe.name.clone(),
        node,
        dimension,
        what: kind.describe(&probe.with),
        bound: expect.bound(dimension).map_err(|e| error(e.to_string()))?,
        expectation: expect.describe(),
        margin: compare.margin.share(),
        confidence: compare.confidence.share(),
        when_worse: compare.when_worse,
        every,
        timeout: timeout(probe.timeout, every),
    })
}

struct Tree<'a> {
    nodes: Vec<Node>,
    probes: &'a [ProbeSpec],
}

impl Tree<'_> {
    fn add(&mut self, parent: Option<usize>, name: String, path: String) -> usize {
        let kind = NodeKind::Sequence(Vec::new());
        self.nodes.push(Node { name, path, kind, parent, after: Time::ZERO, times: 1, pause: Time::ZERO, when: None });
        self.nodes.len() - 1
    }

    fn steps(&mut self, steps: &[Step], parent: usize, path: &str) -> Result<Vec<usize>, ProgramError> {
        steps.iter().enumerate().map(|(i, step)| self.step(step, parent, &format!("{path}[{i}]"))).collect()
    }

    fn step(&mut self, step: &Step, parent: usize, path: &str) -> Result<usize, ProgramError> {
        let error = |message: &str| ProgramError { path: path.to_owned(), message: message.into() };
        let group = step.group().ok_or_else(|| error("a step is exactly one of fault, parallel, sequence, wait, suspend"))?;
        let number = self.nodes.len();
        let name = step.name.clone().unwrap_or_else(|| match group {
            Group::Fault(fault) => format!("{} {number}", fault.fault),
            Group::Parallel(_) => format!("parallel {number}"),
            Group::Sequence(_) => format!("sequence {number}"),
            Group::Wait(time) => format!("wait {time}"),
            Group::Suspend(_) => format!("suspend {number}"),
        });
        let index = self.add(Some(parent), name, path.to_owned());
        let kind = match group {
            Group::Parallel(steps) => NodeKind::Parallel(self.steps(steps, index, &format!("{path}.parallel"))?),
            Group::Sequence(steps) => NodeKind::Sequence(self.steps(steps, index, &format!("{path}.sequence"))?),
            Group::Wait(time) => NodeKind::Wait(time),
            Group::Suspend(s) => NodeKind::Suspend { message: s.message.clone(), timeout: s.timeout, on_timeout: s.on_timeout },
            Group::Fault(fault) => {
                let host = || Target {
                    kind: "host".into(),
                    selector: serde_json::json!({}),
                    select: Select::One,
                    except: None,
                    hosts: None,
                    at_most: BTreeMap::new(),
                    control: false,
                };
                let ramp = step.ramp.as_ref();
                NodeKind::Fault(Box::new(FaultNode {
                    fault: fault.fault.to_owned(),
                    target: fault.target.cloned().unwrap_or_else(host),
                    with: fault.with.cloned().unwrap_or_default(),
                    duration: fault.duration,
                    stages: ramp.map_or_else(|| vec![None], |r| r.percent.iter().copied().map(Some).collect()),
                    stage_every: ramp.map_or(Time::ZERO, |r| r.every),
                    quorum: step.quorum.unwrap_or(Quorum::All),
                    accept_irreversible: step.accept_irreversible,
                }))
            }
        };
        let when = match &step.when {
            None => None,
            Some(when) => {
                let probe = self.probes.iter().position(|p| p.name == when.probe);
                let probe = probe.ok_or_else(|| error(&format!("there is no probe `{}`", when.probe)))?;
                let bound = when.is.bound(self.probes[probe].dimension).map_err(|e| error(&e.to_string()))?;
                Some((probe, bound))
            }
        };
        let node = &mut self.nodes[index];
        node.kind = kind;
        node.after = step.after.unwrap_or_default();
        node.times = step.repeat.map_or(1, |r| r.times.max(1));
        node.pause = step.repeat.and_then(|r| r.pause).unwrap_or_default();
        node.when = when;
        Ok(index)
    }
}
