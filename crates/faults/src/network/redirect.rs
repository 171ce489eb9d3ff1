//! `network.redirect`: new TCP connections are led to a fault proxy, so that its faults reach a service that knows nothing of it.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use super::carried::{NetworkUndo, Wish};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Protocol, Scope};
use crate::carried::{Carried, Wanted};

/// Leads TCP connections to a fault proxy.
pub type Redirect = Carried<RedirectArgs>;

/// What is led where.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedirectArgs {
    /// The port on which a proxy listens that was started with `squall proxy --upstream original` in the target's network
    /// namespace. Connections that are open stay as they are; new ones are led there until the end, and what they carry goes on
    /// to where they were meant to go. The connections of the proxy itself are left alone.
    pub to: u16,
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
}

impl Wanted for RedirectArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "network.redirect",
        family: "network",
        summary: "Leads new TCP connections to a fault proxy, whose rules then break them: no change to the service",
        example: "\
fault: network.redirect
target: { process: { name: payments } }
with: { to: 15001, scope: { remotePorts: [8080] } }
for: 30s
",
        targets: &super::TARGETS,
        needs: &["nf-tables"],
        undone: Undone::Kernel,
        lasting: true,
    };

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.scope.check();
        if self.to == 0 {
            errors.push(ArgError::field(
                "to",
                "port 0 is no port",
                Some("write the port of `squall proxy --upstream original`".to_owned()),
            ));
        }
        if !matches!(self.scope.protocol, Protocol::Any | Protocol::Tcp) {
            let path = squall_model::Path::default().key("scope").key("protocol");
            let message = "the fault proxy serves TCP".to_owned();
            errors.push(ArgError { path, message, hint: Some("leave it out, or write `tcp`".into()) });
        }
        errors
    }

    fn wish(&self, _: u64) -> Wish<'_> {
        let action = Action::Redirect { port: self.to };
        Wish { scope: &self.scope, usually: Direction::Out, action, mechanism: Mechanism::Auto }
    }
}
