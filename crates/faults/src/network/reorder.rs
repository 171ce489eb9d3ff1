//! `network.reorder`: packets overtake others.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_undo::Armed;

use squall_model::{Percent, Time};

use super::carried::{self, NetworkUndo, Wish};
use super::holding::{check_correlation, check_share, limit, share};
use super::job::{Action, Mechanism};
use super::scope::{Direction, Scope};
use super::shape::{Delay, Distribution, Reorder, Shape};
use crate::stressor::Launcher;

/// Lets packets overtake others.
#[derive(Debug, Clone, Default)]
pub struct NetworkReorder {
    launcher: Launcher,
}

impl NetworkReorder {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

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

impl NetworkReorderArgs {
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

impl Fault for NetworkReorder {
    type Args = NetworkReorderArgs;
    type Undo = NetworkUndo;

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

    fn check(&self, args: &NetworkReorderArgs) -> Vec<ArgError> {
        let mut errors = args.scope.check();
        errors.extend(check_share("percent", args.percent));
        errors.extend(check_correlation(args.correlation));
        let error = |name: &str, message: &str, hint: &str| ArgError::field(name, message, Some(hint.to_owned()));
        if args.percent.0 >= 100.0 {
            errors.push(error("percent", "where all overtake, none does", "write a share below 100%"));
        }
        if args.delay == Time::ZERO {
            errors.push(error("delay", "nothing is held, so nothing is overtaken", "write a time such as `20ms`"));
        }
        if args.gap == 0 {
            errors.push(error("gap", "no packet would be a candidate", "write 1 for each packet"));
        }
        errors
    }

    fn plan(&self, args: &NetworkReorderArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        args.wish(0).plan(target, host)
    }

    async fn inject(&self, args: &NetworkReorderArgs, target: &Target, cx: &Cx<'_, NetworkUndo>) -> Result<(), InjectError> {
        args.wish(cx.seed).inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &NetworkUndo) -> Result<Effect, VerifyError> {
        carried::verify(undo).await
    }

    async fn revert(&self, undo: &NetworkUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        carried::revert(undo, armed).await
    }
}
