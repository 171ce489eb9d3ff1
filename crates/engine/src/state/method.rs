//! The method: a tree of steps, walked as events come in.

use squall_model::{InjectionId, Quorum, SuspendTimeout, TargetRef, Timer};

use super::{Command, InjectionPhase, InjectionState, NodePhase, Phase, State, Stop, micros};
use crate::program::{FaultNode, NodeKind};

impl State {
    pub(super) fn begin_method(&mut self, out: &mut Vec<Command>) {
        self.enter(Phase::Inject);
        for probe in &mut self.probes {
            // What was violated before, in the warm-up, is not the fault's doing.
            probe.longest_violation = 0;
        }
        if let Some(timeout) = self.program.experiment.spec.timeout {
            out.push(Command::SetTimer { timer: Timer::Timeout, at: self.now + micros(timeout) });
        }
        self.start_node(0, out);
    }

    pub(super) fn method_timeout(&mut self, out: &mut Vec<Command>) {
        if matches!(self.phase, Phase::Inject | Phase::Observe) {
            let timeout = self.program.experiment.spec.timeout.unwrap_or_default();
            self.halt(Stop::Timeout(format!("the method was not through after {timeout}")), out);
        }
    }

    fn start_node(&mut self, index: usize, out: &mut Vec<Command>) {
        let after = micros(self.program.nodes[index].after);
        // A step inside a repeated group starts afresh each time.
        self.nodes[index] = super::NodeState::default();
        if after > 0 {
            self.nodes[index].phase = NodePhase::Delayed;
            out.push(Command::SetTimer { timer: Timer::Node(index), at: self.now + after });
        } else {
            self.run_node(index, out);
        }
    }

    fn run_node(&mut self, index: usize, out: &mut Vec<Command>) {
        let program = self.program.clone();
        let node = &program.nodes[index];
        if let Some((probe, bound)) = &node.when {
            let satisfied = self.probes[*probe].last.as_ref().and_then(|l| l.value.as_ref()).is_some_and(|value| bound.holds(value));
            if !satisfied {
                self.nodes[index].phase = NodePhase::Skipped;
                return self.child_ended(index, out);
            }
        }
        let state = &mut self.nodes[index];
        state.phase = NodePhase::Running;
        state.round += 1;
        state.stage = 0;
        state.begun = self.now;
        match &node.kind {
            NodeKind::Sequence(children) | NodeKind::Parallel(children) if children.is_empty() => self.round_ended(index, out),
            NodeKind::Sequence(children) => self.start_node(children[0], out),
            NodeKind::Parallel(children) => {
                // All are marked idle first, so that one that ends at once does not see an older round of its siblings.
                for &child in children {
                    self.nodes[child] = super::NodeState::default();
                }
                for &child in children {
                    if self.phase == Phase::Inject {
                        self.start_node(child, out);
                    }
                }
            }
            NodeKind::Wait(time) => out.push(Command::SetTimer { timer: Timer::Node(index), at: self.now + micros(*time) }),
            NodeKind::Suspend { timeout, .. } => {
                self.nodes[index].phase = NodePhase::Suspended;
                out.push(Command::SetTimer { timer: Timer::Node(index), at: self.now + micros(*timeout) });
            }
            NodeKind::Fault(fault) => self.select_stage(index, fault, out),
        }
    }

    fn select_stage(&mut self, index: usize, fault: &FaultNode, out: &mut Vec<Command>) {
        let state = &mut self.nodes[index];
        state.selecting = true;
        out.push(Command::Select { node: index, percent: fault.stages[state.stage] });
        if state.stage + 1 < fault.stages.len() {
            out.push(Command::SetTimer { timer: Timer::Node(index), at: self.now + micros(fault.stage_every) });
        }
    }

    pub(super) fn selected(&mut self, index: usize, targets: &[TargetRef], out: &mut Vec<Command>) {
        let Some(NodeKind::Fault(fault)) = self.program.nodes.get(index).map(|n| n.kind.clone()) else { return };
        if self.phase != Phase::Inject || !self.nodes[index].selecting {
            return;
        }
        self.nodes[index].selecting = false;
        if targets.is_empty() && self.nodes[index].stage == 0 {
            return self.halt(Stop::Broken(format!("{}: no target was chosen", self.program.nodes[index].name)), out);
        }
        // In a ramp every injection ends with the step; else each has the whole time box.
        let from = if fault.stages.len() > 1 { self.nodes[index].begun } else { self.now };
        let deadline = fault.duration.map(|time| from + micros(time));
        for target in targets {
            if self.injections.contains_key(&target.injection) {
                continue;
            }
            self.first_injection.get_or_insert(self.now);
            let injection = InjectionState {
                node: index,
                target: target.id.clone(),
                label: target.label.clone(),
                phase: InjectionPhase::Injecting,
                armed: false,
                begun: self.now,
                round: self.nodes[index].begun,
                in_force: None,
                deadline,
                verified: None,
                reverting: None,
                reverted: None,
                revert_failures: 0,
                error: None,
                left_out: false,
            };
            self.injections.insert(target.injection, injection);
            out.push(Command::Inject { injection: target.injection, node: index, deadline });
            if let Some(at) = deadline {
                out.push(Command::SetTimer { timer: Timer::TimeBox(target.injection), at });
            }
        }
        self.node_progress(index, out);
    }

    pub(super) fn select_failed(&mut self, index: usize, error: &str, out: &mut Vec<Command>) {
        if let Some(node) = self.program.nodes.get(index) {
            let stop = Stop::Broken(format!("{}: {error}", node.name));
            self.halt(stop, out);
        }
    }

    pub(super) fn injected(&mut self, id: InjectionId, out: &mut Vec<Command>) {
        let now = self.now;
        let Some(injection) = self.injections.get_mut(&id) else { return };
        injection.armed = true;
        injection.in_force.get_or_insert(now);
        if injection.phase == InjectionPhase::Injecting {
            injection.phase = InjectionPhase::InForce;
        }
        self.first_in_force.get_or_insert(now);
        if self.phase == Phase::Revert || injection.deadline.is_some_and(|at| now >= at) {
            return self.revert_injection(id, out);
        }
        out.push(Command::Verify { injection: id });
        let injection = &self.injections[&id];
        if self.program.comparisons.iter().any(|spec| spec.node == injection.node) {
            out.push(Command::Compare { node: injection.node, target: injection.target.clone() });
        }
    }

    pub(super) fn inject_failed(&mut self, id: InjectionId, error: &str, out: &mut Vec<Command>) {
        let Some(injection) = self.injections.get_mut(&id) else { return };
        if injection.phase != InjectionPhase::Injecting {
            return;
        }
        injection.phase = InjectionPhase::Failed;
        injection.error = Some(error.to_owned());
        let (label, node, armed) = (injection.label.clone(), injection.node, injection.armed);
        if armed {
            self.revert_injection(id, out);
        }
        if self.phase == Phase::Revert {
            return self.revert_progress(out);
        }
        if self.leave_out(id) {
            return self.node_progress(node, out);
        }
        let name = &self.program.nodes[node].name;
        let stop = Stop::Broken(format!("{name}: could not be injected into {label}: {error}"));
        self.halt(stop, out);
    }

    /// Goes on without a target whose fault is not in force, if its step has enough others. False where it has not.
    pub(super) fn leave_out(&mut self, id: InjectionId) -> bool {
        let Some((node, round)) = self.injections.get(&id).map(|injection| (injection.node, injection.round)) else { return false };
        let NodeKind::Fault(fault) = &self.program.nodes[node].kind else { return false };
        if fault.quorum == Quorum::All {
            return false;
        }
        let of_round = self.injections.values().filter(|i| i.node == node && i.round == round);
        let (all, left) = of_round.fold((0, 0), |(all, left), i| (all + 1, left + usize::from(!i.left_out)));
        // This one is among those that are left.
        let enough = left > fault.quorum.of(all);
        if let Some(injection) = self.injections.get_mut(&id).filter(|_| enough) {
            injection.left_out = true;
        }
        enough
    }

    pub(super) fn verified(&mut self, id: InjectionId, in_force: bool, evidence: &str, out: &mut Vec<Command>) {
        let Some(injection) = self.injections.get_mut(&id) else { return };
        let first = injection.verified.is_none();
        // An answer that comes after the revert began says nothing of the time before it.
        if !first || injection.phase != InjectionPhase::InForce {
            return;
        }
        injection.verified = Some((in_force, evidence.to_owned()));
        let (label, node) = (injection.label.clone(), injection.node);
        if !in_force {
            let name = &self.program.nodes[node].name;
            let stop = Stop::NoEffect(format!("{name} on {label} had no effect: {evidence}"));
            if self.leave_out(id) {
                return self.revert_injection(id, out);
            }
            return self.halt(stop, out);
        }
        // However short the time box, each probe is asked at least once while the fault is in force.
        self.ask_all(out);
        self.node_progress(node, out);
    }

    pub(super) fn time_box_over(&mut self, id: InjectionId, out: &mut Vec<Command>) {
        let now = self.now;
        let Some(injection) = self.injections.get(&id) else { return };
        if injection.deadline.is_none_or(|at| now < at) {
            return;
        }
        match injection.phase {
            InjectionPhase::Injecting => out.push(Command::Cancel { injection: id }),
            InjectionPhase::InForce => self.revert_injection(id, out),
            InjectionPhase::Failed | InjectionPhase::Reverting | InjectionPhase::Reverted | InjectionPhase::Stuck => {}
        }
    }

    pub(super) fn node_elapsed(&mut self, index: usize, out: &mut Vec<Command>) {
        if self.phase != Phase::Inject || index >= self.nodes.len() {
            return;
        }
        let program = self.program.clone();
        let node = &program.nodes[index];
        match (self.nodes[index].phase, &node.kind) {
            (NodePhase::Delayed | NodePhase::Pausing, _) => self.run_node(index, out),
            (NodePhase::Running, NodeKind::Wait(_)) => self.round_ended(index, out),
            (NodePhase::Running, NodeKind::Fault(fault)) if self.nodes[index].stage + 1 < fault.stages.len() => {
                self.nodes[index].stage += 1;
                self.select_stage(index, fault, out);
            }
            (NodePhase::Suspended, NodeKind::Suspend { timeout, on_timeout, .. }) => match on_timeout {
                SuspendTimeout::Continue => self.round_ended(index, out),
                SuspendTimeout::Abort => self.halt(Stop::Timeout(format!("{}: nobody said go on within {timeout}", node.name)), out),
            },
            _ => {}
        }
    }

    pub(super) fn continue_requested(&mut self, out: &mut Vec<Command>) {
        let suspended: Vec<usize> = (0..self.nodes.len()).filter(|&i| self.nodes[i].phase == NodePhase::Suspended).collect();
        for index in suspended {
            if self.phase == Phase::Inject {
                self.round_ended(index, out);
            }
        }
    }

    /// Whether the fault step's round is over: every stage chosen, and every injection verified (if it has no time box) or gone.
    pub(super) fn node_progress(&mut self, index: usize, out: &mut Vec<Command>) {
        let NodeKind::Fault(fault) = &self.program.nodes[index].kind else { return };
        let state = self.nodes[index];
        if self.phase != Phase::Inject || state.phase != NodePhase::Running || state.selecting || state.stage + 1 < fault.stages.len() {
            return;
        }
        let boxed = fault.duration.is_some();
        let of_step = || self.injections.values().filter(|i| i.node == index);
        let seen = |i: &&InjectionState| i.phase == InjectionPhase::InForce && i.verified.is_some();
        let done = of_step().all(|i| if i.phase == InjectionPhase::InForce { !boxed && i.verified.is_some() } else { i.settled() });
        let of_round = of_step().filter(|i| i.round == state.begun);
        let enough = fault.quorum != Quorum::All && !boxed && of_round.clone().filter(seen).count() >= fault.quorum.of(of_round.count());
        if done || enough {
            self.round_ended(index, out);
        }
    }

    fn round_ended(&mut self, index: usize, out: &mut Vec<Command>) {
        let node = &self.program.nodes[index];
        if self.nodes[index].round < node.times {
            let pause = micros(node.pause);
            if pause > 0 {
                self.nodes[index].phase = NodePhase::Pausing;
                out.push(Command::SetTimer { timer: Timer::Node(index), at: self.now + pause });
            } else {
                self.run_node(index, out);
            }
            return;
        }
        self.nodes[index].phase = NodePhase::Done;
        self.child_ended(index, out);
    }

    fn child_ended(&mut self, index: usize, out: &mut Vec<Command>) {
        if self.phase != Phase::Inject {
            return;
        }
        let Some(parent) = self.program.nodes[index].parent else { return self.begin_observe(out) };
        match self.program.nodes[parent].kind.clone() {
            NodeKind::Sequence(children) => {
                let next = children.iter().position(|&c| c == index).and_then(|at| children.get(at + 1));
                match next {
                    Some(&next) => self.start_node(next, out),
                    None => self.round_ended(parent, out),
                }
            }
            NodeKind::Parallel(children) => {
                let ended = |child: &usize| matches!(self.nodes[*child].phase, NodePhase::Done | NodePhase::Skipped);
                if self.nodes[parent].phase == NodePhase::Running && children.iter().all(ended) {
                    self.round_ended(parent, out);
                }
            }
            NodeKind::Wait(_) | NodeKind::Suspend { .. } | NodeKind::Fault(_) => {}
        }
    }
}
