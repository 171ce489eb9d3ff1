//! Probes that are asked from this host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use squall_api::link::{Answer, Measure as Question, Refusal};
use squall_engine::{BoxFuture, Clock, Measure, ProbeCx, Registry, TrafficControl, TrafficError};
use squall_model::{Measured, RunId, Time, Traffic, TrafficSummary, Value};

/// What nobody has asked for so long is closed, whether its run is over or not.
const IDLE: Duration = Duration::from_mins(10);

/// The load of a run is made by whoever drives it.
struct NoTraffic;

impl TrafficControl for NoTraffic {
    fn start(&self, traffic: &[Traffic], _: u64) -> Result<(), TrafficError> {
        let name = traffic.first().map(|traffic| traffic.name.clone()).unwrap_or_default();
        Err(TrafficError { name, message: "an agent makes no load".into() })
    }

    fn read(&self, name: &str, _: squall_model::Measure, _: Time) -> Result<f64, String> {
        Err(format!("traffic `{name}` is not made on this host"))
    }

    fn stop(&self) -> BoxFuture<'_, Vec<TrafficSummary>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// A probe that is open for a run.
struct Open {
    question: Question,
    measure: tokio::sync::Mutex<Box<dyn Measure>>,
    asked: Mutex<Duration>,
}

/// The probes of all runs.
pub(super) struct Probes {
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    open: Mutex<HashMap<(RunId, usize), Arc<Open>>>,
}

impl Probes {
    pub fn new(registry: Arc<Registry>, clock: Arc<dyn Clock>) -> Self {
        Self { registry, clock, open: Mutex::default() }
    }

    fn of(&self, question: Question) -> Result<Arc<Open>, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (question.run.clone(), question.probe);
        if let Some(known) = open.get(&key).filter(|known| known.question == question) {
            return Ok(known.clone());
        }
        let kind = self.registry.probe(&question.kind).ok_or_else(|| format!("`{}` is no probe that this agent knows", question.kind))?;
        if let Some(wrong) = kind.check(&question.args).into_iter().next() {
            return Err(wrong.message);
        }
        let cx = ProbeCx {
            clock: self.clock.clone(),
            traffic: Arc::new(NoTraffic),
            every: question.every,
            timeout: question.timeout,
            host: None,
        };
        let measure = tokio::sync::Mutex::new(kind.open(&question.args, &cx)?);
        let opened = Arc::new(Open { question, measure, asked: Mutex::default() });
        open.insert(key, opened.clone());
        Ok(opened)
    }

    pub async fn measure(&self, question: Question) -> Answer {
        let timeout = question.timeout;
        let probe = match self.of(question) {
            Ok(probe) => probe,
            Err(message) => return Answer::Refused(Refusal { message, hint: None }),
        };
        let asked = self.clock.now();
        *probe.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        let answer = async { probe.measure.lock().await.measure().await };
        let measured = tokio::select! {
            biased;
            answer = std::panic::AssertUnwindSafe(answer).catch_unwind() => match answer {
                Ok(Ok(Value::Number(n))) if !n.is_finite() => Measured::Unmeasured(format!("the value is {n}")),
                Ok(Ok(value)) => Measured::Value(value),
                Ok(Err(why)) => Measured::Unmeasured(why),
                Err(_) => Measured::Unmeasured("the probe itself failed".into()),
            },
            () = self.clock.sleep_until(asked + timeout.std()) => Measured::Unmeasured(format!("no answer within {timeout}")),
        };
        let took = u64::try_from(self.clock.now().saturating_sub(asked).as_micros()).unwrap_or(u64::MAX);
        Answer::Measured { measured, took }
    }

    /// The run is over.
    pub fn close(&self, run: &RunId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| of != run);
    }

    /// Closes what nobody asks any more.
    pub fn close_idle(&self) {
        let before = self.clock.now().saturating_sub(IDLE);
        let idle = |open: &Open| *open.asked.lock().unwrap_or_else(PoisonError::into_inner) < before;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, open| !idle(open));
    }
}
