//! `network.partition`: the line is cut, and nobody is told.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_undo::Armed;

use super::carried::{self, NetworkUndo, Wish};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use crate::stressor::Launcher;

/// Cuts the line.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    launcher: Launcher,
}

impl Partition {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

/// What is cut.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionArgs {
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
}

impl PartitionArgs {
    fn wish(&self) -> Wish<'_> {
        let action = Action::Cut;
        Wish { scope: &self.scope, usually: Direction::Both, action, mechanism: Mechanism::Auto }
    }
}

impl Fault for Partition {
    type Args = PartitionArgs;
    type Undo = NetworkUndo;

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

    fn check(&self, args: &PartitionArgs) -> Vec<ArgError> {
        args.scope.check()
    }

    fn plan(&self, args: &PartitionArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        args.wish().plan(target, host)
    }

    async fn inject(&self, args: &PartitionArgs, target: &Target, cx: &Cx<'_, NetworkUndo>) -> Result<(), InjectError> {
        args.wish().inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &NetworkUndo) -> Result<Effect, VerifyError> {
        carried::verify(undo).await
    }

    async fn revert(&self, undo: &NetworkUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        carried::revert(undo, armed).await
    }
}
