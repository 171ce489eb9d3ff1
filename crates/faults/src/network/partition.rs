//! `network.partition`: the line is cut, and nobody is told.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use super::carried::{NetworkUndo, Wish};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use crate::carried::{Carried, Wanted};

/// Cuts the line.
pub type Partition = Carried<PartitionArgs>;

/// What is cut.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionArgs {
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
}

impl Wanted for PartitionArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "network.partition",
        family: "network",
        summary: "Cuts the line: packets are gone, and nobody is told; connections that exist hang",
        example: "\
fault: network.partition
target: { process: { name: payments } }
with: { scope: { peers: [10.0.0.5] } }
for: 30s
",
        targets: &super::TARGETS,
        needs: &["nf-tables"],
        undone: Undone::Kernel,
        lasting: true,
    };

    fn check(&self) -> Vec<ArgError> {
        self.scope.check()
    }

    fn wish(&self, _: u64) -> Wish<'_> {
        let action = Action::Cut;
        Wish { scope: &self.scope, usually: Direction::Both, action, mechanism: Mechanism::Auto }
    }
}
