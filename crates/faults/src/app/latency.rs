//! `app.latency`: a service takes longer.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_model::Time;
use squall_tower::Latency;
use squall_undo::Armed;

use super::requests::Requests;
use super::setter::{AppUndo, Setter, Wish};

/// Holds back requests within a service.
#[derive(Debug, Default)]
pub struct AppLatency(Setter);

/// How much longer, and what.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppLatencyArgs {
    /// How long each is held back before the service sees it, such as `200ms`.
    pub delay: Time,
    /// So much more or less, evenly spread over both sides.
    #[serde(default)]
    pub jitter: Time,
    /// Paths of requests, such as `/cart` or `/api/*`, where `*` is anything. All requests by default.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Methods of requests, such as `GET`. All of them by default.
    #[serde(default)]
    pub methods: Vec<String>,
    /// In place of requests, points that the service's code has given a name: `faults.point("charge-card")`. `*` is anything.
    #[serde(default)]
    pub points: Vec<String>,
}

impl AppLatencyArgs {
    fn requests(&self) -> Requests<'_> {
        Requests { paths: &self.paths, methods: &self.methods, points: &self.points }
    }

    fn wish(&self) -> Wish<'_> {
        let micros = |time: Time| u64::try_from(time.std().as_micros()).unwrap_or(u64::MAX);
        let latency = Latency { micros: micros(self.delay), jitter_micros: micros(self.jitter) };
        let around = if self.jitter == Time::ZERO { String::new() } else { format!(" ± {}", self.jitter) };
        let what = format!("holds each back for {}{around}", self.delay);
        Wish { requests: self.requests(), latency: Some(latency), failure: None, what }
    }
}

impl Fault for AppLatency {
    type Args = AppLatencyArgs;
    type Undo = AppUndo;

    const META: Meta = Meta {
        name: "app.latency",
        family: "app",
        summary: "Makes a Rust service with `squall-tower` hold requests back, by path and method",
        example: "\
fault: app.latency
target: { app: { service: checkout } }
with: { delay: 200ms, jitter: 50ms, paths: [\"/cart\", \"/api/*\"] }
for: 30s
",
        targets: &["app"],
        needs: &[],
        undone: Undone::Ledger,
        lasting: true,
    };

    fn check(&self, args: &AppLatencyArgs) -> Vec<ArgError> {
        let mut errors = args.requests().check();
        let hint = || Some("write a time such as `200ms`".to_owned());
        if args.delay == Time::ZERO {
            errors.push(ArgError::field("delay", "a delay of nothing does nothing", hint()));
        }
        if args.jitter > args.delay {
            let message = format!("a jitter of {} around a delay of {} would be less than nothing", args.jitter, args.delay);
            errors.push(ArgError::field("jitter", message, Some(format!("write up to `{}`", args.delay))));
        }
        errors
    }

    fn plan(&self, args: &AppLatencyArgs, target: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        args.wish().plan(target)
    }

    async fn inject(&self, args: &AppLatencyArgs, target: &Target, cx: &Cx<'_, AppUndo>) -> Result<(), InjectError> {
        self.0.inject(&args.wish(), target, cx)
    }

    async fn verify(&self, undo: &AppUndo) -> Result<Effect, VerifyError> {
        undo.verify().await
    }

    async fn revert(&self, undo: &AppUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        self.0.revert(undo, armed).await
    }
}
