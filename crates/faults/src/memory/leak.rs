//! `memory.leak`: memory that grows at a rate.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_model::Bytes;
use squall_undo::Armed;

use super::{ByteRate, resident};
use crate::stressor::{self, Carried, Launcher, Shape};

/// Leaks memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryLeak {
    launcher: Launcher,
}

impl MemoryLeak {
    /// With another program as the stressor.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

/// How fast, and how far.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryLeakArgs {
    /// How much is leaked a second, such as `10MiB/s`.
    pub rate: ByteRate,
    /// Where the leak ends, such as `1GiB`; what was leaked stays held. By default it goes on for as long as the step, up to
    /// the margin.
    #[serde(default)]
    pub limit: Option<Bytes>,
    /// What always stays available on the host: the leak stops there. The larger of 256 MiB and 5% by default. A plan whose
    /// `limit` would leave less is refused.
    #[serde(default)]
    pub leave_free: Option<Bytes>,
}

impl Fault for MemoryLeak {
    type Args = MemoryLeakArgs;
    type Undo = Carried;

    const META: Meta = Meta {
        name: "memory.leak",
        family: "memory",
        summary: "Leaks memory at a rate, up to a limit, on the host or in a process's memory control group",
        example: "\
fault: memory.leak
target: { host: {} }
with: { rate: 10MiB/s, limit: 256MiB }
for: 1m
",
        targets: &["host", "process"],
        needs: &["pidfd"],
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &MemoryLeakArgs) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.rate.0 == 0 {
            errors.push(ArgError::field("rate", "a leak of nothing does nothing", Some("write a rate such as `10MiB/s`".to_owned())));
        }
        if args.limit == Some(Bytes(0)) {
            let hint = "write an amount such as `1GiB`, or leave `limit` out".to_owned();
            errors.push(ArgError::field("limit", "a leak that ends at nothing does nothing", Some(hint)));
        }
        errors
    }

    fn plan(&self, args: &MemoryLeakArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let end = args.limit.map_or_else(|| "the margin".to_owned(), |limit| limit.to_string());
        let how = format!("takes {} more each second, up to {end}", Bytes(args.rate.0));
        resident::plan(args.limit.map(|limit| limit.0), &how, args.leave_free, target, host)
    }

    async fn inject(&self, args: &MemoryLeakArgs, target: &Target, cx: &Cx<'_, Carried>) -> Result<(), InjectError> {
        let shape = Shape::Leak { rate: args.rate.0, limit: args.limit.map(|limit| limit.0) };
        resident::hold(&self.launcher, cx, resident::place(target)?, shape, args.leave_free).await
    }

    async fn verify(&self, undo: &Carried) -> Result<Effect, VerifyError> {
        resident::verify(undo).await
    }

    async fn revert(&self, undo: &Carried, armed: &Armed) -> Result<Reverted, RevertError> {
        stressor::reverted(undo, armed, "memory").await
    }
}
