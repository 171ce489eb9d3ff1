//! Guards: conditions that abort the run while the method is carried out.

use squall_model::{Timer, Unmeasurable};

use super::{Command, Judgement, Micros, Phase, Sample, State, Stop, micros};

/// Samples in a row without a measurement that abort by default.
const UNMEASURED_LIMIT: u32 = 3;

impl State {
    fn guarding(&self) -> bool {
        matches!(self.phase, Phase::Inject | Phase::Observe)
    }

    pub(super) fn guards_sampled(&mut self, probe: usize, sample: &Sample, out: &mut Vec<Command>) {
        let program = self.program.clone();
        for (index, spec) in program.guards.iter().enumerate() {
            // Looked at anew each time: the first guard that trips ends the watch of the others.
            if spec.probe != probe || !self.guarding() {
                continue;
            }
            let guard = &mut self.guards[index];
            if sample.judgement == Judgement::Unmeasured {
                guard.unmeasured += 1;
                let since = *guard.unmeasured_since.get_or_insert(sample.asked);
                let blind = match spec.unmeasurable {
                    Unmeasurable::Ignore => false,
                    Unmeasurable::AbortAtThird => guard.unmeasured >= UNMEASURED_LIMIT,
                    Unmeasurable::AbortAfter(time) => sample.at.saturating_sub(since) >= micros(time),
                };
                if blind {
                    let why = sample.error.clone().unwrap_or_default();
                    self.trip(index, format!("{} could not be measured: {why}", program.probes[probe].name), out);
                }
                continue;
            }
            guard.unmeasured = 0;
            guard.unmeasured_since = None;
            if !sample.value.as_ref().is_some_and(|value| spec.bound.holds(value)) {
                guard.met_since = None;
                continue;
            }
            let began = guard.met_since.is_none();
            let since = *guard.met_since.get_or_insert(sample.asked);
            let due = since + micros(spec.persist);
            if self.now >= due {
                self.trip_met(index, out);
            } else if began {
                out.push(Command::SetTimer { timer: Timer::Guard(index), at: due });
            }
        }
    }

    pub(super) fn guard_elapsed(&mut self, index: usize, out: &mut Vec<Command>) {
        let Some(spec) = self.program.guards.get(index) else { return };
        let due = |since: Micros| since + micros(spec.persist);
        if self.guarding() && self.guards[index].met_since.is_some_and(|since| self.now >= due(since)) {
            self.trip_met(index, out);
        }
    }

    fn trip_met(&mut self, index: usize, out: &mut Vec<Command>) {
        let spec = &self.program.guards[index];
        let why =
            format!("{} was {}, and the guard aborts at {}", self.program.probes[spec.probe].name, self.shown(spec.probe), spec.condition);
        self.trip(index, why, out);
    }

    fn trip(&mut self, guard: usize, why: String, out: &mut Vec<Command>) {
        self.guards[guard].tripped = true;
        self.halt(Stop::Guard { guard, why }, out);
    }
}
