//! `network.corrupt`: a bit of packets is flipped.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use squall_model::Percent;

use super::carried::{NetworkUndo, Wish};
use super::holding::{check_correlation, check_share, limit, share};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use super::shape::Shape;
use crate::carried::{Carried, Wanted};

/// Flips a bit of packets.
pub type Corrupt = Carried<CorruptArgs>;

/// Which packets.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CorruptArgs {
    /// The share of packets of which a bit is flipped.
    pub percent: Percent,
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

impl Wanted for CorruptArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "network.corrupt",
        family: "network",
        summary: "Flips a bit of packets, at a random place after the network header",
        example: "\
fault: network.corrupt
target: { process: { name: payments } }
with: { percent: 5%, scope: { peers: [10.0.0.0/8] } }
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
        errors
    }

    fn wish(&self, seed: u64) -> Wish<'_> {
        let share = share(self.percent, self.correlation);
        let shape = Shape { corrupt: Some(share), limit: limit(std::time::Duration::ZERO, None), seed, ..Shape::default() };
        let action = Action::Shape { shape: Box::new(shape) };
        Wish { scope: &self.scope, usually: Direction::Out, action, mechanism: self.mechanism }
    }
}
