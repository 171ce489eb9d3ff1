//! The way back: every injection that may have touched something is reverted, then the explicit rollback actions run.

use squall_model::{InjectionId, RevertedBy, Timer};

use super::{Command, InjectionPhase, Micros, Phase, State, Stop, micros};

/// Tries before an injection counts as stuck: 0.1, 0.2, 0.4, 0.8, 1.6 s between them.
const REVERT_TRIES: u32 = 6;
const FIRST_RETRY: Micros = 100_000;

impl State {
    /// The method is through: watch on for `observe`, and until every probe has answered.
    pub(super) fn begin_observe(&mut self, out: &mut Vec<Command>) {
        self.enter(Phase::Observe);
        let observe = micros(self.program.experiment.spec.observe.unwrap_or_default());
        if observe > 0 {
            out.push(Command::SetTimer { timer: Timer::ObserveEnd, at: self.now + observe });
        } else {
            self.observe_end(out);
        }
    }

    pub(super) fn observe_end(&mut self, out: &mut Vec<Command>) {
        if self.phase != Phase::Observe || self.waiting_for_samples {
            return;
        }
        if self.first_injection.is_none() || self.all_fresh() {
            return self.begin_revert(out);
        }
        self.waiting_for_samples = true;
        self.ask_all(out);
    }

    pub(super) fn begin_revert(&mut self, out: &mut Vec<Command>) {
        self.enter(Phase::Revert);
        self.waiting_for_samples = false;
        let ids: Vec<InjectionId> = self.injections.keys().rev().copied().collect();
        for id in ids {
            // Where enough others were seen in force, nobody waited for this one.
            if self.injections[&id].verified.is_none() {
                self.leave_out(id);
            }
            match self.injections[&id].phase {
                // It may be in the middle of its calls: stop it there, then undo what was armed.
                InjectionPhase::Injecting => out.push(Command::Cancel { injection: id }),
                InjectionPhase::InForce => self.revert_injection(id, out),
                InjectionPhase::Failed | InjectionPhase::Reverting | InjectionPhase::Reverted | InjectionPhase::Stuck => {}
            }
        }
        self.revert_progress(out);
    }

    pub(super) fn revert_injection(&mut self, id: InjectionId, out: &mut Vec<Command>) {
        let now = self.now;
        let Some(injection) = self.injections.get_mut(&id) else { return };
        if matches!(injection.phase, InjectionPhase::InForce | InjectionPhase::Failed) {
            injection.phase = InjectionPhase::Reverting;
            injection.reverting.get_or_insert(now);
            out.push(Command::Revert { injection: id });
        }
    }

    pub(super) fn reverted(&mut self, id: InjectionId, by: RevertedBy, how: &str, out: &mut Vec<Command>) {
        let now = self.now;
        let Some(injection) = self.injections.get_mut(&id) else { return };
        if injection.phase == InjectionPhase::Injecting {
            // The watchdog was quicker than the calls that put it in force: stop those, and revert once more after them.
            out.push(Command::Cancel { injection: id });
            return;
        }
        if injection.reverted.is_some() {
            return;
        }
        let unasked = injection.phase == InjectionPhase::InForce;
        injection.phase = InjectionPhase::Reverted;
        injection.reverted = Some((now, by, how.to_owned()));
        let (node, label) = (injection.node, injection.label.clone());
        if unasked && self.phase != Phase::Revert && !self.leave_out(id) {
            let name = &self.program.nodes[node].name;
            return self.halt(Stop::NoEffect(format!("{name} on {label} was put back before its time: {how}")), out);
        }
        if self.phase == Phase::Revert { self.revert_progress(out) } else { self.node_progress(node, out) }
    }

    pub(super) fn revert_failed(&mut self, id: InjectionId, error: &str, out: &mut Vec<Command>) {
        let Some(injection) = self.injections.get_mut(&id) else { return };
        if injection.phase != InjectionPhase::Reverting {
            return;
        }
        injection.revert_failures += 1;
        injection.error = Some(error.to_owned());
        if injection.revert_failures < REVERT_TRIES {
            let wait = FIRST_RETRY << (injection.revert_failures - 1);
            out.push(Command::SetTimer { timer: Timer::RetryRevert(id), at: self.now + wait });
            return;
        }
        injection.phase = InjectionPhase::Stuck;
        if self.phase == Phase::Revert {
            return self.revert_progress(out);
        }
        // Something stays broken: nothing more is begun.
        let stop = super::Stop::Broken(format!("{} could not be reverted: {error}", injection.label));
        self.halt(stop, out);
    }

    pub(super) fn retry_revert(&mut self, id: InjectionId, out: &mut Vec<Command>) {
        if self.injections.get(&id).is_some_and(|i| i.phase == InjectionPhase::Reverting) {
            out.push(Command::Revert { injection: id });
        }
    }

    /// Whether everything is gone; then the rollback actions, one after another, then recovery.
    pub(super) fn revert_progress(&mut self, out: &mut Vec<Command>) {
        if self.phase != Phase::Revert || !self.injections.values().all(super::InjectionState::settled) {
            return;
        }
        let actions = self.program.experiment.spec.rollback.as_ref().map_or(0, |r| r.actions.len());
        if self.rolled_back.len() < actions && self.first_injection.is_some() {
            return out.push(Command::Rollback { action: self.rolled_back.len() });
        }
        self.begin_recover(out);
    }

    pub(super) fn rolled_back(&mut self, action: usize, error: Option<String>, out: &mut Vec<Command>) {
        if self.phase == Phase::Revert && action == self.rolled_back.len() {
            self.rolled_back.push(error);
            self.revert_progress(out);
        }
    }
}
