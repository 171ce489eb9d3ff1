//! `network.reorder`: packets overtake others.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use squall_model::{Percent, Time};

use super::carried::{NetworkUndo, Wish};
use super::holding::{check_correlation, check_share, limit, share};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use super::shape::{Delay, Distribution, Reorder, Shape};
use crate::carried::{Carried, Wanted};

/// Lets packets overtake others.
pub type NetworkReorder = Carried<NetworkReorderArgs>;

/// Which packets, and how far.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkReorderArgs {
    /// The share of packets that are sent at once, past those that are held.
    pub percent: Percent,
    /// How long the others are held: those that are sent at once overtake what came in that time.
    pub delay: Time,
    /// Only every so manyth packet is a candidate.
    #[serde(default = "one")]
    pub gap: u32,
    /// How much each draw is like the one before.
    #[serde(default)]
    pub correlation: Option<Percent>,
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
    /// By what it is carried.
    #[serde(default)]
    pub mechanism: Mechanism,
}

fn one() -> u32 {
    1
}

impl Wanted for NetworkReorderArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "network.reorder",
        family: "network",
        summary: "Lets packets overtake others",
        example: "\
fault: network.reorder
target: { process: { name: payments } }
with: { percent: 25%, delay: 20ms, scope: { peers: [10.0.0.0/8] } }
for: 30s
",
        targets: &super::TARGETS,
        needs: &["nf-tables", "nfqueue"],
        undone: Undone::Depends,
        lasting: true,
    };

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.scope.check();
        errors.extend(check_share("percent", self.percent));
        errors.extend(check_correlation(self.correlation));
        let error = |name: &str, message: &str, hint: &str| ArgError::field(name, message, Some(hint.to_owned()));
        if self.percent.0 >= 100.0 {
            errors.push(error("percent", "where all overtake, none does", "write a share below 100%"));
        }
        if self.delay == Time::ZERO {
            errors.push(error("delay", "nothing is held, so nothing is overtaken", "write a time such as `20ms`"));
        }
        if self.gap == 0 {
            errors.push(error("gap", "no packet would be a candidate", "write 1 for each packet"));
        }
        errors
    }

    fn wish(&self, seed: u64) -> Wish<'_> {
        let delay =
            Delay { base: self.delay.std(), jitter: std::time::Duration::ZERO, correlation: 0.0, distribution: Distribution::Uniform };
        let reorder = Reorder { share: share(self.percent, self.correlation), gap: self.gap };
        let limit = limit(delay.base, None);
        let shape = Shape { delay: Some(delay), reorder: Some(reorder), limit, seed, ..Shape::default() };
        let action = Action::Shape { shape: Box::new(shape) };
        Wish { scope: &self.scope, usually: Direction::Out, action, mechanism: self.mechanism }
    }
}
