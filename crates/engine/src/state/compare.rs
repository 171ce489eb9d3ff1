//! Comparisons: what the answers of a step's targets and of its control group come to while the fault is in force.

use squall_model::{Arm, Measured, Time, Value, WhenWorse};

use super::{Command, ComparisonState, InjectionState, Micros, Phase, State, Stop};
use crate::is_worse;
use crate::program::CompareSpec;

/// Answers of one target within this time are one: a burst of bad ones is one event and not many.
const SECOND: Micros = 1_000_000;

impl State {
    pub(super) fn compared(&mut self, index: usize, arm: Arm, target: &str, took: Micros, measured: &Measured, out: &mut Vec<Command>) {
        let program = self.program.clone();
        let Some(spec) = program.comparisons.get(index) else { return };
        let asked = self.now.saturating_sub(took);
        if self.verdict.is_some() || !self.counts(spec, arm, target, asked) {
            return;
        }
        // What led to the abort stays as it was then: the other answers of that moment meet the revert.
        let decided = spec.when_worse == WhenWorse::Abort && self.comparisons[index].worse.is_some();
        if decided {
            return;
        }
        let state = &mut self.comparisons[index];
        state.answered(arm, target, asked, spec.is_bad(measured), spec.every);
        if state.worse.is_some() || !is_worse(state.experiment, state.control, spec.margin, spec.confidence) {
            return;
        }
        state.worse = Some(self.now);
        if spec.when_worse == WhenWorse::Abort && matches!(self.phase, Phase::Inject | Phase::Observe) {
            let why = self.comparison_in_words(index);
            self.halt(Stop::Worse { comparison: index, why }, out);
        }
    }

    /// Whether a question was asked while the fault was in force, before anybody began to revert it: on that very target, or for the
    /// control group on any of the step's.
    pub(crate) fn counts(&self, spec: &CompareSpec, arm: Arm, target: &str, asked: Micros) -> bool {
        let under = |injection: &InjectionState| {
            let until = injection.reverting.or(injection.reverted.as_ref().map(|(at, ..)| *at)).unwrap_or(Micros::MAX);
            injection.in_force.is_some_and(|from| (from..until).contains(&asked)) && !injection.left_out
        };
        self.injections.values().any(|i| i.node == spec.node && (arm == Arm::Control || i.target == target) && under(i))
    }

    /// What a comparison has come to, in one sentence.
    pub fn comparison_in_words(&self, index: usize) -> String {
        let (Some(spec), Some(state)) = (self.program.comparisons.get(index), self.comparisons.get(index)) else { return String::new() };
        let (experiment, control) = (state.experiment, state.control);
        let seen = format!(
            "{} of {} answers were bad where the fault was in force, and {} of {} in the control group",
            experiment.bad, experiment.all, control.bad, control.all
        );
        let points = if spec.margin > 0.0 { format!("worse by more than {} points", in_points(spec.margin)) } else { "worse".into() };
        let sure = in_points(spec.confidence);
        let shown = if state.worse.is_some() { format!(": {points}, with {sure}% confidence") } else { String::new() };
        format!("{}: {seen}{shown}", spec.name)
    }
}

/// A share as a percentage without needless digits.
fn in_points(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

impl CompareSpec {
    /// Whether an answer is a bad one. None at all is, too: both groups are asked in the same way.
    pub(crate) fn is_bad(&self, measured: &Measured) -> bool {
        match measured {
            Measured::Value(Value::Number(n)) if !n.is_finite() => true,
            Measured::Value(value) => !self.bound.holds(value),
            Measured::Unmeasured(_) => true,
        }
    }
}

impl ComparisonState {
    fn answered(&mut self, arm: Arm, target: &str, asked: Micros, bad: bool, every: Time) {
        let counted = if super::micros(every) >= SECOND {
            Some(bad)
        } else {
            // A second counts when it is over, so that it is known whether there was a bad answer in it.
            let second = asked / SECOND;
            match self.seconds.get_mut(target) {
                Some((now, was)) if *now == second => {
                    *was |= bad;
                    None
                }
                _ => self.seconds.insert(target.to_owned(), (second, bad)).map(|(_, was)| was),
            }
        };
        if let Some(bad) = counted {
            match arm {
                Arm::Experiment => self.experiment.count(bad),
                Arm::Control => self.control.count(bad),
            }
        }
    }

    /// Why the comparison says nothing, if that is so: a side without answers, or a control group that is not well itself.
    pub fn says_nothing(&self) -> Option<String> {
        let (experiment, control) = (self.experiment, self.control);
        if experiment.all == 0 || control.all == 0 {
            let of = if experiment.all == 0 { "the targets" } else { "the control group" };
            return Some(format!("no answer of {of} counted while the fault was in force"));
        }
        let half = control.bad * 2 > control.all;
        half.then(|| format!("{} of {} answers of the control group were bad, though nothing was done to it", control.bad, control.all))
    }
}
