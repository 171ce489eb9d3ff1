//! Asks the probes: each on its own cadence from one common start, so that it never drifts, with a timeout of its own.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use squall_model::{Arm, Event, Measured, Time, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Shared, micros};
use crate::compare::Question;
use crate::state::Micros;
use crate::{Measure, ProbeCx, TrafficControl};

pub(super) struct Probes {
    shared: Arc<Shared>,
    traffic: Arc<dyn TrafficControl>,
    asks: Vec<Arc<Notify>>,
    tasks: Vec<JoinHandle<()>>,
    /// Targets that are asked already, by comparison.
    compared: HashSet<(usize, String)>,
    /// When the first were asked: all targets of a comparison are asked at the same moments.
    compared_from: Option<Duration>,
}

impl Probes {
    pub fn new(shared: Arc<Shared>, traffic: Arc<dyn TrafficControl>) -> Self {
        let asks = shared.program.probes.iter().map(|_| Arc::new(Notify::new())).collect();
        Self { shared, traffic, asks, tasks: Vec::new(), compared: HashSet::new(), compared_from: None }
    }

    /// Asks each probe now, and from then on on its cadence.
    pub fn start(&mut self) {
        let start = self.shared.clock.now();
        for (index, spec) in self.shared.program.probes.iter().enumerate() {
            let manifest = &self.shared.program.experiment.spec.hypothesis.probes[index];
            let cadence = Cadence { start, every: spec.every, timeout: spec.timeout };
            let measure = self.open(&manifest.kind, &manifest.with, cadence, None);
            let told = move |took, measured| Event::Sampled { probe: index, took, measured };
            let task = ask_for_ever(self.shared.clone(), cadence, measure, self.asks[index].clone(), told);
            self.tasks.push(tokio::spawn(task));
        }
    }

    /// Asks a target of a step and the step's control group, if they are not asked yet.
    pub fn compare(&mut self, node: usize, target: &str) {
        let now = self.shared.clock.now();
        let start = *self.compared_from.get_or_insert(now);
        let program = self.shared.program.clone();
        let due = |(comparison, question): &mut (usize, Question)| {
            let of_step = program.comparisons.get(*comparison).is_some_and(|spec| spec.node == node);
            of_step && (question.arm == Arm::Control || question.target == target)
        };
        let mut questions = self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<_> = questions.extract_if(.., due).collect();
        drop(questions);
        for (comparison, Question { arm, target, host, args }) in new {
            if !self.compared.insert((comparison, target.clone())) {
                continue;
            }
            let spec = &program.comparisons[comparison];
            let cadence = Cadence { start, every: spec.every, timeout: spec.timeout };
            let kind = &program.experiment.spec.compare[comparison].probe.kind;
            let measure = self.open(kind, &args, cadence, host);
            let told = move |took, measured| Event::Compared { comparison, arm, target: target.clone(), took, measured };
            let task = ask_for_ever(self.shared.clone(), cadence, measure, Arc::default(), told);
            self.tasks.push(tokio::spawn(task));
        }
    }

    fn open(&self, kind: &str, args: &serde_json::Value, cadence: Cadence, host: Option<String>) -> Result<Box<dyn Measure>, String> {
        let Cadence { every, timeout, .. } = cadence;
        let cx = ProbeCx { clock: self.shared.clock.clone(), traffic: self.traffic.clone(), every, timeout, host };
        self.shared.registry.probe(kind).ok_or_else(|| "its kind is gone".to_owned())?.open(args, &cx)
    }

    /// Asks a probe now. If it is being asked already, it is asked once more after that.
    pub fn ask(&self, probe: usize) {
        if let Some(ask) = self.asks.get(probe) {
            ask.notify_one();
        }
    }

    pub fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

/// When something is asked.
#[derive(Clone, Copy)]
struct Cadence {
    start: Duration,
    every: Time,
    timeout: Time,
}

async fn ask_for_ever(
    shared: Arc<Shared>,
    cadence: Cadence,
    mut measure: Result<Box<dyn Measure>, String>,
    ask: Arc<Notify>,
    told: impl Fn(Micros, Measured) -> Event,
) {
    let every = cadence.every.std().max(Duration::from_millis(1));
    let mut due = cadence.start;
    loop {
        tokio::select! {
            () = shared.clock.sleep_until(due) => {}
            () = ask.notified() => {}
        }
        let asked = shared.clock.now();
        let measured = match &mut measure {
            Ok(measure) => once(&shared, measure.as_mut(), cadence.timeout, asked).await,
            Err(why) => Measured::Unmeasured(why.clone()),
        };
        let now = shared.clock.now();
        shared.tell(told(micros(now.saturating_sub(asked)), measured));
        // The cadence counts from the start: beats that were missed are left out, and none is moved.
        if now >= due {
            let beats = now.saturating_sub(cadence.start).as_nanos() / every.as_nanos() + 1;
            due = cadence.start + every.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        }
    }
}

async fn once(shared: &Shared, measure: &mut dyn Measure, timeout: Time, asked: Duration) -> Measured {
    let answer = std::panic::AssertUnwindSafe(measure.measure()).catch_unwind();
    tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(Ok(Value::Number(n))) if !n.is_finite() => Measured::Unmeasured(format!("the value is {n}")),
            Ok(Ok(value)) => Measured::Value(value),
            Ok(Err(why)) => Measured::Unmeasured(why),
            Err(_) => Measured::Unmeasured("the probe itself failed".into()),
        },
        () = shared.clock.sleep_until(asked + timeout.std()) => Measured::Unmeasured(format!("no answer within {timeout}")),
    }
}
