//! `dns.latency`: the real answer, later.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_model::Time;
use squall_undo::Armed;

use super::DnsUndo;
use super::carried::{Wish, revert, verify};
use super::job::Treatment;
use super::queries::Queries;
use crate::stressor::Launcher;

/// Delays answers.
#[derive(Debug, Clone, Default)]
pub struct DnsLatency {
    launcher: Launcher,
}

impl DnsLatency {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }

    fn wish(args: &DnsLatencyArgs) -> Wish<'_> {
        let treatment = Treatment::Delay { delay: args.delay.std(), jitter: args.jitter.std() };
        let jitter = if args.jitter == Time::ZERO { String::new() } else { format!(" ± {}", args.jitter) };
        let does = format!("answered by the real server, {}{jitter} later,", args.delay);
        Wish { queries: &args.queries, usually: &[], treatment, does }
    }
}

/// Which answers come later, and by how much.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsLatencyArgs {
    /// Which queries.
    pub queries: Queries,
    /// Added to the time that the real server takes.
    pub delay: Time,
    /// Up to so much more or less, each answer by itself, uniformly.
    #[serde(default)]
    pub jitter: Time,
}

/// The longest delay: every client has given up long before.
const LONGEST: Time = Time::from_secs(60);

impl Fault for DnsLatency {
    type Args = DnsLatencyArgs;
    type Undo = DnsUndo;

    const META: Meta = Meta {
        name: "dns.latency",
        family: "dns",
        summary: "Delays the answers to DNS queries for chosen names",
        example: "\
fault: dns.latency
target: { host: {} }
with: { queries: { names: [\"*\"] }, delay: 300ms, jitter: 50ms }
for: 30s
",
        targets: super::carried::TARGETS,
        needs: super::carried::NEEDS,
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &DnsLatencyArgs) -> Vec<ArgError> {
        let mut errors = args.queries.check();
        if args.delay == Time::ZERO || args.delay > LONGEST {
            let message = format!("a delay is from more than 0 to {LONGEST}");
            errors.push(ArgError::field("delay", message, Some("for no answer at all there is `dns.timeout`".to_owned())));
        }
        if args.jitter > args.delay {
            let message = format!("a jitter of {} is more than the delay of {}", args.jitter, args.delay);
            errors.push(ArgError::field("jitter", message, Some("no answer can come before its query: write less".to_owned())));
        }
        errors
    }

    fn plan(&self, args: &DnsLatencyArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        Self::wish(args).plan(target, host)
    }

    async fn inject(&self, args: &DnsLatencyArgs, target: &Target, cx: &Cx<'_, DnsUndo>) -> Result<(), InjectError> {
        Self::wish(args).inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &DnsUndo) -> Result<Effect, VerifyError> {
        verify(undo).await
    }

    async fn revert(&self, undo: &DnsUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        revert(undo, armed).await
    }
}
