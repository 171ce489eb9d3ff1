//! After the revert: whether the steady state comes back, and when.

use squall_model::Timer;

use super::{Command, Micros, Phase, State, Stop, micros};

impl State {
    pub(super) fn begin_recover(&mut self, out: &mut Vec<Command>) {
        self.reverted_at = Some(self.now);
        self.enter(Phase::Recover);
        self.forget_fresh();
        // Nothing was touched, or somebody wants out: there is no recovery to wait for.
        if self.first_injection.is_none() || matches!(self.stop, Some(Stop::Asked(_))) {
            return self.finish(out);
        }
        self.ask_all(out);
        let within = micros(self.program.experiment.spec.recovery.within);
        out.push(Command::SetTimer { timer: Timer::RecoveryEnd, at: self.now + within });
        self.recovery_sampled(out);
    }

    pub(super) fn recovery_sampled(&mut self, out: &mut Vec<Command>) {
        if self.phase != Phase::Recover || !self.all_fresh() {
            return;
        }
        let stable = micros(self.program.experiment.spec.recovery.stable);
        let judged = self.program.probes.iter().zip(&self.probes).filter(|(spec, _)| spec.bound.is_some());
        // A probe is stable by its own samples: from the first good one to the last, whatever the time is by now.
        let stable_now = |(_, probe): (_, &super::ProbeState)| match (&probe.last, probe.ok_since) {
            (Some(last), Some(since)) => last.asked.saturating_sub(since) >= stable,
            _ => false,
        };
        if judged.clone().all(stable_now) {
            let last: Micros = judged.filter_map(|(_, p)| p.ok_since).max().unwrap_or(self.now);
            self.recovered_at = Some(last);
            self.finish(out);
        }
    }

    pub(super) fn recovery_end(&mut self, out: &mut Vec<Command>) {
        if self.phase == Phase::Recover {
            self.not_recovered = true;
            self.finish(out);
        }
    }
}
