//! `network.duplicate`: packets are sent twice.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_undo::Armed;

use squall_model::Percent;

use super::carried::{self, NetworkUndo, Wish};
use super::holding::{check_correlation, check_share, limit, share};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use super::shape::Shape;
use crate::stressor::Launcher;

/// Sends packets twice.
#[derive(Debug, Clone, Default)]
pub struct Duplicate {
    launcher: Launcher,
}

impl Duplicate {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

/// Which packets.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DuplicateArgs {
    /// The share of packets sent twice.
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

impl DuplicateArgs {
    fn wish(&self, seed: u64) -> Wish<'_> {
        let share = share(self.percent, self.correlation);
        let shape = Shape { duplicate: Some(share), limit: limit(std::time::Duration::ZERO, None), seed, ..Shape::default() };
        let action = Action::Shape { shape: Box::new(shape) };
        Wish { scope: &self.scope, usually: Direction::Out, action, mechanism: self.mechanism }
    }
}

impl Fault for Duplicate {
    type Args = DuplicateArgs;
    type Undo = NetworkUndo;

    const META: Meta = Meta {
        name: "network.duplicate",
        family: "network",
        summary: "Sends packets twice",
        example: "\
fault: network.duplicate
target: { process: { name: payments } }
with: { percent: 5%, scope: { peers: [10.0.0.0/8] } }
for: 30s
",
        targets: &super::TARGETS,
        needs: &["nf-tables", "nfqueue"],
        undone: Undone::Depends,
        lasting: true,
    };

    fn check(&self, args: &DuplicateArgs) -> Vec<ArgError> {
        let mut errors = args.scope.check();
        errors.extend(check_share("percent", args.percent));
        errors.extend(check_correlation(args.correlation));
        if args.scope.direction.is_some_and(Direction::is_in) {
            let path = squall_model::Path::default().key("scope").key("direction");
            let message = "packets that arrive cannot be sent twice".to_owned();
            errors.push(ArgError { path, message, hint: Some("write `direction: out`, or break the other side".into()) });
        }
        errors
    }

    fn plan(&self, args: &DuplicateArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        args.wish(0).plan(target, host)
    }

    async fn inject(&self, args: &DuplicateArgs, target: &Target, cx: &Cx<'_, NetworkUndo>) -> Result<(), InjectError> {
        args.wish(cx.seed).inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &NetworkUndo) -> Result<Effect, VerifyError> {
        carried::verify(undo).await
    }

    async fn revert(&self, undo: &NetworkUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        carried::revert(undo, armed).await
    }
}
