//! `network.reset`: TCP connections are reset as soon as data pass.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use super::carried::{NetworkUndo, Wish};
use super::holding::check_share;
use super::job::{Action, Mechanism};
use super::scope::{Direction, Protocol, Scope};
use crate::carried::{Carried, Wanted};
use squall_model::Percent;

/// Resets TCP connections.
pub type Reset = Carried<ResetArgs>;

/// Which connections.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResetArgs {
    /// The probability, at each segment that ends what an application has written (TCP's PSH), that its connection is reset.
    /// Connections that exist and new ones alike; a connection is made all the same.
    #[serde(default = "every")]
    pub percent: Percent,
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
}

fn every() -> Percent {
    Percent(100.0)
}

impl Wanted for ResetArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "network.reset",
        family: "network",
        summary: "Resets TCP connections as soon as data pass",
        example: "\
fault: network.reset
target: { process: { name: payments } }
with: { scope: { peers: [10.0.0.5], remotePorts: [5432] } }
for: 30s
",
        targets: &super::TARGETS,
        needs: &["nf-tables"],
        undone: Undone::Kernel,
        lasting: true,
    };

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.scope.check();
        errors.extend(check_share("percent", self.percent));
        if !matches!(self.scope.protocol, Protocol::Any | Protocol::Tcp) {
            let path = squall_model::Path::default().key("scope").key("protocol");
            let message = "only TCP has connections to reset".to_owned();
            errors.push(ArgError { path, message, hint: Some("leave it out, or write `tcp`".into()) });
        }
        errors
    }

    fn wish(&self, _: u64) -> Wish<'_> {
        let action = Action::Reset { probability: self.percent.share() };
        Wish { scope: &self.scope, usually: Direction::Both, action, mechanism: Mechanism::Auto }
    }
}
