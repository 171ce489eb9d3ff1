//! `network.reset`: TCP connections are reset as soon as data pass.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_undo::Armed;

use super::carried::{self, NetworkUndo, Wish};
use super::holding::check_share;
use super::job::{Action, Mechanism};
use super::scope::{Direction, Protocol, Scope};
use crate::stressor::Launcher;
use squall_model::Percent;

/// Resets TCP connections.
#[derive(Debug, Clone, Default)]
pub struct Reset {
    launcher: Launcher,
}

impl Reset {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

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

impl ResetArgs {
    fn wish(&self) -> Wish<'_> {
        let action = Action::Reset { probability: self.percent.share() };
        Wish { scope: &self.scope, usually: Direction::Both, action, mechanism: Mechanism::Auto }
    }
}

impl Fault for Reset {
    type Args = ResetArgs;
    type Undo = NetworkUndo;

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

    fn check(&self, args: &ResetArgs) -> Vec<ArgError> {
        let mut errors = args.scope.check();
        errors.extend(check_share("percent", args.percent));
        if !matches!(args.scope.protocol, Protocol::Any | Protocol::Tcp) {
            let path = squall_model::Path::default().key("scope").key("protocol");
            let message = "only TCP has connections to reset".to_owned();
            errors.push(ArgError { path, message, hint: Some("leave it out, or write `tcp`".into()) });
        }
        errors
    }

    fn plan(&self, args: &ResetArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        args.wish().plan(target, host)
    }

    async fn inject(&self, args: &ResetArgs, target: &Target, cx: &Cx<'_, NetworkUndo>) -> Result<(), InjectError> {
        args.wish().inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &NetworkUndo) -> Result<Effect, VerifyError> {
        carried::verify(undo).await
    }

    async fn revert(&self, undo: &NetworkUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        carried::revert(undo, armed).await
    }
}
