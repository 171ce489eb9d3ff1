//! `traffic`: a measure of the run's own load.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Measure, Probe, ProbeCx, ProbeMeta, TrafficControl};
use squall_model::{Dimension, Time, Value};

use crate::load::LONGEST_WINDOW;

/// The kind of probe.
#[derive(Debug)]
pub struct Traffic;

/// A measure of the run's own load.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// The name of the traffic.
    pub from: String,
    /// What is measured.
    pub measure: squall_model::Measure,
    /// Over how much of the past, up to a minute; 5 s by default.
    #[serde(default = "default_window")]
    pub window: Time,
}

fn default_window() -> Time {
    Time::from_secs(5)
}

impl Probe for Traffic {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "traffic",
        summary: "Latency, errors or throughput of the load that Squall itself makes",
        from_anywhere: true,
        example: "\
name: checkout p99
traffic: { from: shoppers, measure: p99 }
expect: { lt: 500ms }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.from.is_empty() {
            errors.push(ArgError::field("from", "`from` names no traffic", "write the `name` of one under `spec.traffic`".to_owned()));
        }
        if args.window < Time::from_millis(100) || args.window > LONGEST_WINDOW {
            let message = format!("`window` is {}, but the load is kept for {LONGEST_WINDOW} in slices of 100ms", args.window);
            errors.push(ArgError::field("window", message, format!("write one from 100ms to {LONGEST_WINDOW}")));
        }
        errors
    }

    fn dimension(&self, args: &Args) -> Dimension {
        args.measure.dimension()
    }

    fn describe(&self, args: &Args) -> String {
        let measure = serde_json::to_value(args.measure).ok();
        let measure = measure.as_ref().and_then(|m| m.as_str()).unwrap_or("measure");
        format!("{measure} of traffic {} over {}", args.from, args.window)
    }

    fn open(&self, args: Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        Ok(Box::new(Open { traffic: cx.traffic.clone(), args }))
    }
}

struct Open {
    traffic: Arc<dyn TrafficControl>,
    args: Args,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        let value = self.traffic.read(&self.args.from, self.args.measure, self.args.window);
        Box::pin(async move { value.map(Value::Number) })
    }
}
