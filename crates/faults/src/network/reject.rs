//! `network.reject`: packets are refused, and the sender is told.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_undo::Armed;

use super::carried::{self, NetworkUndo, Wish};
use super::job::{Action, Mechanism, Refusal};
use super::scope::{Direction, Scope};
use crate::stressor::Launcher;

/// Refuses packets.
#[derive(Debug, Clone, Default)]
pub struct NetworkReject {
    launcher: Launcher,
}

impl NetworkReject {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

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

impl NetworkRejectArgs {
    fn wish(&self) -> Wish<'_> {
        let action = Action::Refuse { with: self.with };
        Wish { scope: &self.scope, usually: Direction::Both, action, mechanism: Mechanism::Auto }
    }
}

impl Fault for NetworkReject {
    type Args = NetworkRejectArgs;
    type Undo = NetworkUndo;

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

    fn check(&self, args: &NetworkRejectArgs) -> Vec<ArgError> {
        args.scope.check()
    }

    fn plan(&self, args: &NetworkRejectArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        args.wish().plan(target, host)
    }

    async fn inject(&self, args: &NetworkRejectArgs, target: &Target, cx: &Cx<'_, NetworkUndo>) -> Result<(), InjectError> {
        args.wish().inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &NetworkUndo) -> Result<Effect, VerifyError> {
        carried::verify(undo).await
    }

    async fn revert(&self, undo: &NetworkUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        carried::revert(undo, armed).await
    }
}
