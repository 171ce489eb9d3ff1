//! Asks the probes: each on its own cadence from one common start, so that it never drifts, with a timeout of its own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use squall_model::{Event, Measured, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Shared, micros};
use crate::{Measure, ProbeCx, ProbeSpec, TrafficControl};

pub(super) struct Probes {
    shared: Arc<Shared>,
    traffic: Arc<dyn TrafficControl>,
    asks: Vec<Arc<Notify>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Probes {
    pub fn new(shared: Arc<Shared>, traffic: Arc<dyn TrafficControl>) -> Self {
        let asks = shared.program.probes.iter().map(|_| Arc::new(Notify::new())).collect();
        Self { shared, traffic, asks, tasks: Vec::new() }
    }

    /// Asks each probe now, and from then on on its cadence.
    pub fn start(&mut self) {
        let start = self.shared.clock.now();
        for (index, spec) in self.shared.program.probes.iter().enumerate() {
            let manifest = &self.shared.program.experiment.spec.hypothesis.probes[index];
            let cx = ProbeCx { clock: self.shared.clock.clone(), traffic: self.traffic.clone(), every: spec.every, timeout: spec.timeout };
            let measure = self
                .shared
                .registry
                .probe(&manifest.kind)
                .ok_or_else(|| "its kind is gone".to_owned())
                .and_then(|k| k.open(&manifest.with, &cx));
            let task = ask_for_ever(self.shared.clone(), index, measure, start, self.asks[index].clone());
            self.tasks.push(tokio::spawn(task));
        }
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

async fn ask_for_ever(shared: Arc<Shared>, index: usize, mut measure: Result<Box<dyn Measure>, String>, start: Duration, ask: Arc<Notify>) {
    let spec = shared.program.probes[index].clone();
    let every = spec.every.std().max(Duration::from_millis(1));
    let mut due = start;
    loop {
        tokio::select! {
            () = shared.clock.sleep_until(due) => {}
            () = ask.notified() => {}
        }
        let asked = shared.clock.now();
        let measured = match &mut measure {
            Ok(measure) => once(&shared, measure.as_mut(), &spec, asked).await,
            Err(why) => Measured::Unmeasured(why.clone()),
        };
        let now = shared.clock.now();
        shared.tell(Event::Sampled { probe: index, took: micros(now.saturating_sub(asked)), measured });
        // The cadence counts from the start: beats that were missed are left out, and none is moved.
        if now >= due {
            let beats = now.saturating_sub(start).as_nanos() / every.as_nanos() + 1;
            due = start + every.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        }
    }
}

async fn once(shared: &Shared, measure: &mut dyn Measure, spec: &ProbeSpec, asked: Duration) -> Measured {
    let answer = std::panic::AssertUnwindSafe(measure.measure()).catch_unwind();
    tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(Ok(Value::Number(n))) if !n.is_finite() => Measured::Unmeasured(format!("the value is {n}")),
            Ok(Ok(value)) => Measured::Value(value),
            Ok(Err(why)) => Measured::Unmeasured(why),
            Err(_) => Measured::Unmeasured("the probe itself failed".into()),
        },
        () = shared.clock.sleep_until(asked + spec.timeout.std()) => Measured::Unmeasured(format!("no answer within {}", spec.timeout)),
    }
}
