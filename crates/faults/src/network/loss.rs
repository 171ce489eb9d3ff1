//! `network.loss`: packets are lost, each by itself or in bursts.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use squall_model::Percent;

use super::carried::{NetworkUndo, Wish};
use super::holding::{check_correlation, check_share, limit, share};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use super::shape::{Loss, Shape};
use crate::carried::{Carried, Wanted};

/// Loses packets.
pub type NetworkLoss = Carried<NetworkLossArgs>;

/// Which packets: `percent`, or `bursts`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkLossArgs {
    /// The share of packets that are lost, each drawn by itself.
    #[serde(default)]
    pub percent: Option<Percent>,
    /// How much each draw is like the one before (netem's correlated loss; the share that is lost in the end is less than
    /// asked for: bursts are modelled better by `bursts`).
    #[serde(default)]
    pub correlation: Option<Percent>,
    /// Loss in bursts, by the model of Gilbert and Elliott.
    #[serde(default)]
    pub bursts: Option<Bursts>,
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
    /// By what it is carried.
    #[serde(default)]
    pub mechanism: Mechanism,
}

/// A chain of two states, good and bad, that is drawn anew at each packet (E. N. Gilbert 1960, E. O. Elliott 1963). The mean
/// length of a burst is 1 / `leave`, and the share of time in it `enter` / (`enter` + `leave`).
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bursts {
    /// Probability that a burst begins, at each packet outside of one.
    pub enter: Percent,
    /// Probability that a burst ends, at each packet within one: `25%` makes bursts of four packets on average.
    pub leave: Percent,
    /// The share that is lost within a burst.
    #[serde(default = "all")]
    pub lost_within: Percent,
    /// The share that is lost outside.
    #[serde(default = "none")]
    pub lost_outside: Percent,
}

fn all() -> Percent {
    Percent(100.0)
}

fn none() -> Percent {
    Percent(0.0)
}

impl Wanted for NetworkLossArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "network.loss",
        family: "network",
        summary: "Loses packets, at random or in bursts",
        example: "\
fault: network.loss
target: { process: { name: payments } }
with: { percent: 5%, scope: { peers: [10.0.0.0/8] } }
for: 30s
",
        targets: &super::TARGETS,
        needs: &["nf-tables"],
        undone: Undone::Depends,
        lasting: true,
    };

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.scope.check();
        let error = |name: &str, message: &str, hint: &str| ArgError::field(name, message, Some(hint.to_owned()));
        match (&self.percent, &self.bursts) {
            (None, None) => errors.push(error("percent", "neither `percent` nor `bursts` says what is lost", "write `percent: 5%`")),
            (Some(_), Some(_)) => errors.push(error("bursts", "`percent` and `bursts` are two models of loss", "write one of them")),
            (Some(percent), None) => errors.extend(check_share("percent", *percent)),
            (None, Some(bursts)) if bursts.enter.0 <= 0.0 && bursts.lost_outside.0 <= 0.0 => {
                errors.push(error("bursts", "a burst never begins", "write an `enter` such as `1%`"));
            }
            (None, Some(bursts)) if bursts.leave.0 <= 0.0 => {
                errors.push(error("bursts", "a burst never ends", "write a `leave` such as `25%`; `network.partition` loses everything"));
            }
            (None, Some(_)) => {}
        }
        if self.correlation.is_some() && self.bursts.is_some() {
            errors.push(error("correlation", "it belongs to `percent`; bursts have their own", "leave it out"));
        }
        errors.extend(check_correlation(self.correlation));
        errors
    }

    fn wish(&self, seed: u64) -> Wish<'_> {
        let shape = |loss| Box::new(Shape { loss: Some(loss), limit: limit(std::time::Duration::ZERO, None), seed, ..Shape::default() });
        let percent = self.percent.unwrap_or(none());
        let action = match (&self.bursts, self.correlation) {
            (Some(bursts), _) => Action::Shape {
                shape: shape(Loss::GilbertElliott {
                    p: bursts.enter.share(),
                    r: bursts.leave.share(),
                    bad: bursts.lost_within.share(),
                    good: bursts.lost_outside.share(),
                }),
            },
            // The kernel does it by itself, at no cost.
            (None, None) if self.mechanism == Mechanism::Auto => Action::Lose { probability: percent.share() },
            (None, correlation) => Action::Shape { shape: shape(Loss::Random(share(percent, correlation))) },
        };
        Wish { scope: &self.scope, usually: Direction::Out, action, mechanism: self.mechanism }
    }
}
