//! The verdict: the worst of what happened, with the reason in one sentence.

use squall_model::{Time, Verdict};

use super::{Command, ComparisonState, InjectionPhase, Judgement, Phase, ProbeState, State, Stop};
use crate::program::{CompareSpec, ProbeSpec};

impl State {
    pub(super) fn finish(&mut self, out: &mut Vec<Command>) {
        let (verdict, reason) = self.decide();
        self.enter(Phase::Verdict);
        out.push(Command::Finish { verdict, reason });
    }

    fn judged(&self) -> impl Iterator<Item = (&ProbeSpec, &ProbeState)> {
        self.program.probes.iter().zip(&self.probes).filter(|(spec, _)| spec.bound.is_some())
    }

    /// The verdict, worst first: something is still broken, Squall failed, it was stopped, it deviated, it could not be
    /// measured, it held.
    fn decide(&self) -> (Verdict, String) {
        if let Some((id, stuck)) = self.injections.iter().find(|(_, i)| i.phase == InjectionPhase::Stuck) {
            let error = stuck.error.as_deref().unwrap_or("unknown");
            return (Verdict::Failed, format!("injection {id} on {} could not be reverted: {error}; run `squall recover`", stuck.label));
        }
        if let Some((action, error)) = self.rolled_back.iter().enumerate().find_map(|(i, e)| e.as_ref().map(|e| (i, e))) {
            let name = self.program.experiment.spec.rollback.as_ref().and_then(|r| r.actions.get(action)).map_or("", |a| a.name.as_str());
            return (Verdict::Failed, format!("rollback action `{name}` failed: {error}"));
        }
        match &self.stop {
            Some(Stop::Broken(why)) => return (Verdict::Failed, why.clone()),
            Some(Stop::Unsteady(why)) => return (Verdict::Unsteady, format!("{why}, before anything was touched")),
            Some(Stop::Unmeasured(why)) => {
                return (Verdict::Inconclusive, format!("the steady state could not be measured, so nothing was touched: {why}"));
            }
            Some(Stop::Guard { why, .. } | Stop::Worse { why, .. } | Stop::Timeout(why)) => return (Verdict::Aborted, why.clone()),
            Some(Stop::Asked(by)) => return (Verdict::Aborted, format!("stopped by {by}")),
            Some(Stop::NoEffect(_)) | None => {}
        }
        if let Some((spec, probe)) = self.judged().find(|(_, p)| p.first_violation.is_some()) {
            let shown = Time::from(std::time::Duration::from_micros(probe.longest_violation));
            return (
                Verdict::Deviated,
                format!("{} did not stay {} while the fault was in force (violated for up to {shown})", spec.name, spec.expectation),
            );
        }
        if let Some(worse) = self.comparisons.iter().position(|comparison| comparison.worse.is_some()) {
            return (Verdict::Deviated, self.comparison_in_words(worse));
        }
        if let Some(Stop::NoEffect(why)) = &self.stop {
            return (Verdict::Inconclusive, why.clone());
        }
        if self.not_recovered {
            return self.decide_not_recovered();
        }
        if self.first_injection.is_none() {
            return (Verdict::Inconclusive, "no step was carried out, so nothing was injected".into());
        }
        if let Some((spec, _)) = self.judged().find(|(_, p)| p.during.has_holes()) {
            return (Verdict::Inconclusive, format!("{} could not be measured well enough while the fault was in force", spec.name));
        }
        if let Some(injection) = self.injections.values().find(|i| i.verified.is_none() && !i.left_out) {
            let name = &self.program.nodes[injection.node].name;
            return (Verdict::Inconclusive, format!("{name} on {} ended before its effect could be verified", injection.label));
        }
        // A step that was not done, as its `when` was not satisfied, leaves nothing to compare.
        let done = |spec: &CompareSpec| self.injections.values().any(|i| i.node == spec.node);
        let silent = |(spec, state): (&CompareSpec, &ComparisonState)| {
            state.says_nothing().filter(|_| done(spec)).map(|why| format!("{}: {why}", spec.name))
        };
        if let Some(why) = self.program.comparisons.iter().zip(&self.comparisons).find_map(silent) {
            return (Verdict::Inconclusive, why);
        }
        let without = self.injections.values().filter(|i| i.left_out).count();
        let but = if without == 0 { String::new() } else { format!("; {without} of {} targets were left out", self.injections.len()) };
        (Verdict::Held, format!("every expectation held while the faults were in force and after they were gone{but}"))
    }

    fn decide_not_recovered(&self) -> (Verdict, String) {
        let within = self.program.experiment.spec.recovery.within;
        let last = |probe: &ProbeState| probe.last.as_ref().map(|l| l.judgement);
        if let Some((spec, _)) = self.judged().find(|(_, p)| last(p) == Some(Judgement::Violated)) {
            return (
                Verdict::Deviated,
                format!("{} did not come back to {} within {within} after the revert", spec.name, spec.expectation),
            );
        }
        if let Some((spec, _)) = self.judged().find(|(_, p)| last(p) != Some(Judgement::Ok)) {
            return (Verdict::Inconclusive, format!("{} could not be measured after the revert", spec.name));
        }
        (Verdict::Deviated, format!("the steady state was not stable within {within} after the revert"))
    }
}
