//! `dns.timeout`: no answer at all.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_undo::Armed;

use super::DnsUndo;
use super::carried::{Wish, revert, verify};
use super::job::Treatment;
use super::queries::Queries;
use crate::stressor::Launcher;

/// Leaves queries without an answer.
#[derive(Debug, Clone, Default)]
pub struct DnsTimeout {
    launcher: Launcher,
}

impl DnsTimeout {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }

    fn wish(args: &DnsTimeoutArgs) -> Wish<'_> {
        let (treatment, does) = (Treatment::Silence, "left without an answer".to_owned());
        Wish { queries: &args.queries, usually: &[], treatment, does }
    }
}

/// Which queries stay without an answer. A connection over TCP is accepted and stays open.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsTimeoutArgs {
    /// Which queries.
    pub queries: Queries,
}

impl Fault for DnsTimeout {
    type Args = DnsTimeoutArgs;
    type Undo = DnsUndo;

    const META: Meta = Meta {
        name: "dns.timeout",
        family: "dns",
        summary: "Leaves DNS queries for chosen names without an answer",
        example: "\
fault: dns.timeout
target: { host: {} }
with: { queries: { names: [\"api.example.com\"], types: [A, AAAA] } }
for: 30s
",
        targets: super::carried::TARGETS,
        needs: super::carried::NEEDS,
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &DnsTimeoutArgs) -> Vec<ArgError> {
        args.queries.check()
    }

    fn plan(&self, args: &DnsTimeoutArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        Self::wish(args).plan(target, host)
    }

    async fn inject(&self, args: &DnsTimeoutArgs, target: &Target, cx: &Cx<'_, DnsUndo>) -> Result<(), InjectError> {
        Self::wish(args).inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &DnsUndo) -> Result<Effect, VerifyError> {
        verify(undo).await
    }

    async fn revert(&self, undo: &DnsUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        revert(undo, armed).await
    }
}
