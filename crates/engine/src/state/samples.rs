//! What samples mean in each phase: the steady state before, violations during, recovery after.

use squall_model::{Measured, Value};

use super::{Command, Judgement, Micros, Phase, RECENT, Sample, State, Stop, micros};

impl State {
    pub(super) fn sampled(&mut self, probe: usize, took: Micros, measured: &Measured, out: &mut Vec<Command>) {
        let Some(spec) = self.program.probes.get(probe) else { return };
        let asked = self.now.saturating_sub(took);
        let (value, error) = match measured {
            // NaN and infinity are no numbers to compare with: a probe that gives them could not measure.
            Measured::Value(Value::Number(n)) if !n.is_finite() => (None, Some(format!("the value is {n}"))),
            Measured::Value(value) => (Some(value.clone()), None),
            Measured::Unmeasured(why) => (None, Some(why.clone())),
        };
        let judgement = match (&value, &spec.bound) {
            (None, _) => Judgement::Unmeasured,
            (Some(value), Some(bound)) if !bound.holds(value) => Judgement::Violated,
            _ => Judgement::Ok,
        };
        let persist = micros(spec.persist);
        let judged = spec.bound.is_some();
        let number = if let Some(Value::Number(n)) = &value { Some(*n) } else { None };
        let state = &mut self.probes[probe];
        if state.recent.len() == RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back((self.now, number, judgement));
        let sample = Sample { asked, at: self.now, value, error, judgement };
        if self.phase == Phase::Verdict || self.phase == Phase::Plan {
            state.last = Some(sample);
            return;
        }
        state.track_violation(&sample, persist);
        state.last = Some(sample.clone());
        if judged {
            match self.phase {
                Phase::Steady => self.judge_before(probe, &sample, out),
                Phase::Inject | Phase::Observe | Phase::Revert => self.judge_during(probe, &sample),
                Phase::Recover if self.reverted_at.is_some_and(|at| sample.asked >= at) => self.judge_after(probe, &sample),
                // Asked while something was broken: a late answer says so all the same, and nothing of the recovery.
                Phase::Recover => {
                    let fresh = self.probes[probe].fresh;
                    self.judge_during(probe, &sample);
                    self.probes[probe].fresh = fresh;
                }
                Phase::Plan | Phase::Verdict => {}
            }
        }
        self.guards_sampled(probe, &sample, out);
        self.samples_settled(out);
        self.recovery_sampled(out);
    }

    fn judge_before(&mut self, probe: usize, sample: &Sample, out: &mut Vec<Command>) {
        let warm = self.phase_began() + micros(self.program.experiment.spec.steady.warmup);
        // A stream of samples begins with the first that could be measured: load has to arrive before it shows.
        let before = &mut self.probes[probe].before;
        let opening = sample.judgement == Judgement::Unmeasured && before.measured() == 0;
        if sample.asked < warm && !self.steady_over {
            return;
        }
        if !opening || self.steady_over {
            before.count(sample.judgement);
        }
        if self.probes[probe].broken {
            let spec = &self.program.probes[probe];
            let why = format!("{} was {}, expected {}", spec.name, self.shown(probe), spec.expectation);
            self.halt(Stop::Unsteady(why), out);
        }
    }

    /// The steady phase has lasted long enough: go on as soon as every probe has answered.
    pub(super) fn steady_end(&mut self, out: &mut Vec<Command>) {
        if self.phase != Phase::Steady || self.steady_over {
            return;
        }
        self.steady_over = true;
        self.steady_decide(out);
    }

    fn steady_decide(&mut self, out: &mut Vec<Command>) {
        let judged = || self.program.probes.iter().zip(&self.probes).filter(|(spec, _)| spec.bound.is_some());
        if judged().any(|(_, state)| state.before.samples == 0) {
            // The answers are on their way: every question is answered, if only with "could not measure".
            return;
        }
        let bad = judged().find(|(_, s)| s.before.has_holes() || s.last.as_ref().is_some_and(|l| l.judgement == Judgement::Unmeasured));
        if let Some((spec, state)) = bad {
            let why = state.last.as_ref().and_then(|l| l.error.clone()).unwrap_or_else(|| "answers were missing".into());
            let stop = Stop::Unmeasured(format!("{}: {why}", spec.name));
            return self.halt(stop, out);
        }
        // A violation that has not lasted as long as its `for` is still a violation now: not a state to start from.
        let violated = judged().find(|(_, state)| state.violated_since.is_some());
        if let Some((spec, state)) = violated {
            let shown = state.last.as_ref().map(|l| show(l, spec)).unwrap_or_default();
            let stop = Stop::Unsteady(format!("{} was {shown}, expected {}", spec.name, spec.expectation));
            return self.halt(stop, out);
        }
        self.begin_method(out);
    }

    fn judge_during(&mut self, probe: usize, sample: &Sample) {
        let Some(first) = self.first_injection else { return };
        let revert_began = self.phases.iter().find(|(p, _)| *p == Phase::Revert).map(|(_, at)| *at);
        // A question that was on its way when the fault came has met it.
        if sample.at <= first || revert_began.is_some_and(|at| sample.asked >= at) {
            return;
        }
        let state = &mut self.probes[probe];
        state.fresh |= sample.asked >= first;
        state.during.count(sample.judgement);
        if state.broken && state.first_violation.is_none() {
            // A violation counts from its start, but not from before the fault.
            state.first_violation = Some(state.violated_since.unwrap_or(sample.asked).max(first));
            state.detected = Some(sample.at);
        }
    }

    fn judge_after(&mut self, probe: usize, sample: &Sample) {
        let state = &mut self.probes[probe];
        state.fresh = true;
        state.after.count(sample.judgement);
        match sample.judgement {
            Judgement::Ok => {
                state.ok_since.get_or_insert(sample.asked);
            }
            Judgement::Violated | Judgement::Unmeasured => state.ok_since = None,
        }
    }

    /// Whether a step that waits for a sample of every judged probe can go on.
    pub(super) fn samples_settled(&mut self, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Steady if self.steady_over => self.steady_decide(out),
            Phase::Observe if self.waiting_for_samples && self.all_fresh() => self.begin_revert(out),
            _ => {}
        }
    }

    /// Every judged probe has answered a question of the present stage.
    pub(super) fn all_fresh(&self) -> bool {
        self.program.probes.iter().zip(&self.probes).all(|(spec, state)| spec.bound.is_none() || state.fresh)
    }

    /// Begins a stage in which every judged probe has to answer at least once, and asks each that has not.
    pub(super) fn ask_all(&mut self, out: &mut Vec<Command>) {
        for (probe, spec) in self.program.probes.iter().enumerate() {
            if spec.bound.is_some() && !self.probes[probe].fresh {
                out.push(Command::Ask { probe });
            }
        }
    }

    pub(super) fn forget_fresh(&mut self) {
        for probe in &mut self.probes {
            probe.fresh = false;
        }
    }

    /// The last value of a probe, for people.
    pub fn shown(&self, probe: usize) -> String {
        let Some(spec) = self.program.probes.get(probe) else { return String::new() };
        self.probes[probe].last.as_ref().map_or_else(|| "not asked yet".into(), |sample| show(sample, spec))
    }
}

impl super::ProbeState {
    fn track_violation(&mut self, sample: &Sample, persist: Micros) {
        match sample.judgement {
            Judgement::Violated => {
                let since = *self.violated_since.get_or_insert(sample.asked);
                let lasted = sample.asked.saturating_sub(since);
                self.broken = lasted >= persist;
                if self.broken {
                    self.longest_violation = self.longest_violation.max(sample.at.saturating_sub(since));
                }
            }
            Judgement::Ok => {
                if let Some(since) = self.violated_since.take()
                    && self.broken
                {
                    self.longest_violation = self.longest_violation.max(sample.asked.saturating_sub(since));
                }
                self.broken = false;
            }
            // Not knowing ends no violation and starts none.
            Judgement::Unmeasured => {}
        }
    }
}

fn show(sample: &Sample, spec: &crate::program::ProbeSpec) -> String {
    match (&sample.value, &sample.error) {
        (Some(Value::Number(n)), _) => squall_model::Quantity::new(*n, spec.dimension).to_string(),
        (Some(Value::Text(text)), _) => format!("`{text}`"),
        (None, Some(error)) => format!("not measurable ({error})"),
        (None, None) => String::new(),
    }
}
