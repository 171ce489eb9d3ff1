//! `network.latency`: packets are held back.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_undo::Armed;

use squall_model::{Percent, Time};

use super::carried::{self, NetworkUndo, Wish};
use super::holding::{check_correlation, limit};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use super::shape::{Delay, Distribution, Shape};
use crate::stressor::Launcher;

/// Holds packets back.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    launcher: Launcher,
}

impl Latency {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

/// How long, and how it varies.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LatencyArgs {
    /// Added to each packet. By default to those that are sent, so that a round trip takes so much longer.
    pub delay: Time,
    /// How much it varies: the half-width for `uniform`, the standard deviation for the others. Packets overtake each other
    /// where it is longer than the gap between them.
    #[serde(default)]
    pub jitter: Time,
    /// The distribution of the jitter.
    #[serde(default)]
    pub distribution: JitterDistribution,
    /// The user's own distribution, in place of `distribution`: its inverse cumulative distribution at equal steps, as
    /// multiples of the jitter times 8192 (what `tc`'s `.dist` files hold); 2 to 16384 numbers from -32768 to 32767.
    #[serde(default)]
    pub table: Option<Vec<i16>>,
    /// How much each delay is like the one before.
    #[serde(default)]
    pub correlation: Option<Percent>,
    /// How many packets may be held at once. By default as many as delay and rate of the line ask for.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
    /// By what it is carried.
    #[serde(default)]
    pub mechanism: Mechanism,
}

/// A distribution of the jitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum JitterDistribution {
    /// Anything between `delay - jitter` and `delay + jitter` alike.
    #[default]
    Uniform,
    /// Gauss.
    Normal,
    /// A long tail.
    Pareto,
    /// A quarter normal, three quarters Pareto: close to what is seen on the Internet.
    ParetoNormal,
}

impl LatencyArgs {
    fn wish(&self, seed: u64) -> Wish<'_> {
        let (base, jitter) = (self.delay.std(), self.jitter.std());
        let distribution = match (&self.table, self.distribution) {
            (Some(table), _) => Distribution::Table(table.clone()),
            (None, JitterDistribution::Uniform) => Distribution::Uniform,
            (None, JitterDistribution::Normal) => Distribution::Normal,
            (None, JitterDistribution::Pareto) => Distribution::Pareto,
            (None, JitterDistribution::ParetoNormal) => Distribution::ParetoNormal,
        };
        let correlation = self.correlation.map_or(0.0, Percent::share);
        let limit = self.limit.unwrap_or_else(|| limit(base + jitter * 4, None));
        let shape = Shape { delay: Some(Delay { base, jitter, correlation, distribution }), limit, seed, ..Shape::default() };
        let action = Action::Shape { shape: Box::new(shape) };
        Wish { scope: &self.scope, usually: Direction::Out, action, mechanism: self.mechanism }
    }
}

impl Fault for Latency {
    type Args = LatencyArgs;
    type Undo = NetworkUndo;

    const META: Meta = Meta {
        name: "network.latency",
        family: "network",
        summary: "Holds packets back, by an amount that may vary",
        example: "\
fault: network.latency
target: { process: { name: payments } }
with: { delay: 200ms, jitter: 20ms, distribution: normal, scope: { peers: [db.internal], remotePorts: [5432] } }
for: 30s
",
        targets: &super::TARGETS,
        needs: &["nf-tables", "nfqueue"],
        undone: Undone::Depends,
        lasting: true,
    };

    fn check(&self, args: &LatencyArgs) -> Vec<ArgError> {
        let mut errors = args.scope.check();
        let error = |name: &str, message: &str, hint: &str| ArgError::field(name, message, Some(hint.to_owned()));
        if args.delay == Time::ZERO && args.jitter == Time::ZERO {
            errors.push(error("delay", "a delay of nothing does nothing", "write a time such as `200ms`"));
        }
        if args.delay > Time::from_secs(600) {
            errors.push(error("delay", "no connection lives through that", "write at most `10m`; `network.partition` cuts it"));
        }
        if args.jitter > args.delay && args.table.is_none() {
            errors.push(error(
                "jitter",
                "larger than the delay: packets cannot be sent before they came",
                "write a jitter up to the delay",
            ));
        }
        if args.table.as_ref().is_some_and(|t| !(2..=16_384).contains(&t.len())) {
            errors.push(error("table", "a table has 2 to 16384 numbers", "the `.dist` files of iproute2 show the form"));
        }
        if args.table.is_some() && args.jitter == Time::ZERO {
            errors.push(error("table", "a distribution of no jitter does nothing", "write a `jitter`"));
        }
        if args.limit == Some(0) {
            errors.push(error("limit", "no packet could be held", "leave it out, or write a number of packets"));
        }
        errors.extend(check_correlation(args.correlation));
        errors
    }

    fn plan(&self, args: &LatencyArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        args.wish(0).plan(target, host)
    }

    async fn inject(&self, args: &LatencyArgs, target: &Target, cx: &Cx<'_, NetworkUndo>) -> Result<(), InjectError> {
        args.wish(cx.seed).inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &NetworkUndo) -> Result<Effect, VerifyError> {
        carried::verify(undo).await
    }

    async fn revert(&self, undo: &NetworkUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        carried::revert(undo, armed).await
    }
}
