//! `network.latency`: packets are held back.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use squall_model::{Percent, Time};

use super::carried::{NetworkUndo, Wish};
use super::holding::{check_correlation, limit};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use super::shape::{Delay, Distribution, Shape};
use crate::carried::{Carried, Wanted};

/// Holds packets back.
pub type Latency = Carried<LatencyArgs>;

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

impl Wanted for LatencyArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

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

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.scope.check();
        let error = |name: &str, message: &str, hint: &str| ArgError::field(name, message, Some(hint.to_owned()));
        if self.delay == Time::ZERO && self.jitter == Time::ZERO {
            errors.push(error("delay", "a delay of nothing does nothing", "write a time such as `200ms`"));
        }
        if self.delay > Time::from_secs(600) {
            errors.push(error("delay", "no connection lives through that", "write at most `10m`; `network.partition` cuts it"));
        }
        if self.jitter > self.delay && self.table.is_none() {
            errors.push(error(
                "jitter",
                "larger than the delay: packets cannot be sent before they came",
                "write a jitter up to the delay",
            ));
        }
        if self.table.as_ref().is_some_and(|t| !(2..=16_384).contains(&t.len())) {
            errors.push(error("table", "a table has 2 to 16384 numbers", "the `.dist` files of iproute2 show the form"));
        }
        if self.table.is_some() && self.jitter == Time::ZERO {
            errors.push(error("table", "a distribution of no jitter does nothing", "write a `jitter`"));
        }
        if self.limit == Some(0) {
            errors.push(error("limit", "no packet could be held", "leave it out, or write a number of packets"));
        }
        errors.extend(check_correlation(self.correlation));
        errors
    }

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
