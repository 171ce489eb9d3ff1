//! `network.reject`: packets are refused, and the sender is told.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use super::carried::{NetworkUndo, Wish};
use super::job::{Action, Mechanism, Refusal};
use super::scope::{Direction, Scope};
use crate::carried::{Carried, Wanted};

/// Refuses packets.
pub type NetworkReject = Carried<NetworkRejectArgs>;

/// What is refused, and how.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkRejectArgs {
    /// What the sender is told. The target is told of what it sends, the peer of what it sends to the target.
    #[serde(default)]
    pub with: Refusal,
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
}

impl Wanted for NetworkRejectArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "network.reject",
        family: "network",
        summary: "Refuses packets, and tells the sender: connection refused, no route to host",
        example: "\
fault: network.reject
target: { process: { name: payments } }
with: { with: refused, scope: { peers: [10.0.0.5], remotePorts: [5432] } }
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
        let action = Action::Refuse { with: self.with };
        Wish { scope: &self.scope, usually: Direction::Both, action, mechanism: Mechanism::Auto }
    }
}
