//! `dns.wrong-answer`: addresses of the user's choice.

use std::net::{Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_model::Time;
use squall_undo::Armed;

use super::DnsUndo;
use super::address::Address;
use super::carried::{WITH_ADDRESSES, Wish, check_ttl, list, revert, seconds, ttl, verify};
use super::job::Treatment;
use super::queries::Queries;
use crate::stressor::Launcher;

/// Answers queries with addresses that the user gives.
#[derive(Debug, Clone, Default)]
pub struct DnsWrongAnswer {
    launcher: Launcher,
}

impl DnsWrongAnswer {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }

    fn wish(args: &DnsWrongAnswerArgs) -> Wish<'_> {
        let treatment = Treatment::Addresses {
            v4: args.a.iter().map(|address| address.0).collect(),
            v6: args.aaaa.iter().map(|address| address.0).collect(),
            ttl: seconds(args.ttl),
        };
        let does = format!("answered with A {}, AAAA {}", list(&args.a), list(&args.aaaa));
        Wish { queries: &args.queries, usually: WITH_ADDRESSES, treatment, does }
    }
}

/// Which addresses, for which queries.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsWrongAnswerArgs {
    /// Which queries.
    pub queries: Queries,
    /// IPv4 addresses, for queries of type A. Without any, those are answered with no data.
    #[serde(default)]
    pub a: Vec<Address<Ipv4Addr>>,
    /// IPv6 addresses, for queries of type AAAA. Without any, those are answered with no data.
    #[serde(default)]
    pub aaaa: Vec<Address<Ipv6Addr>>,
    /// How long clients may keep the answer, in whole seconds. Short, so that little of it outlives the fault.
    #[serde(default = "ttl")]
    pub ttl: Time,
}

/// The most addresses of a type: with IPv6 and the longest name that is just within a message.
const MOST: usize = 1000;

impl Fault for DnsWrongAnswer {
    type Args = DnsWrongAnswerArgs;
    type Undo = DnsUndo;

    const META: Meta = Meta {
        name: "dns.wrong-answer",
        family: "dns",
        summary: "Answers DNS queries for chosen names with wrong addresses",
        example: "\
fault: dns.wrong-answer
target: { host: {} }
with: { queries: { names: [\"db.example.com\"] }, a: [192.0.2.1], aaaa: [\"2001:db8::1\"] }
for: 30s
",
        targets: super::carried::TARGETS,
        needs: super::carried::NEEDS,
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &DnsWrongAnswerArgs) -> Vec<ArgError> {
        let mut errors = args.queries.check();
        if args.a.is_empty() && args.aaaa.is_empty() {
            let hint = "write addresses such as `a: [192.0.2.1]`; for no data at all there is `dns.error` with `answer: noData`";
            errors.push(ArgError::field("a", "no address at all", Some(hint.to_owned())));
        }
        for (name, count) in [("a", args.a.len()), ("aaaa", args.aaaa.len())] {
            if count > MOST {
                errors.push(ArgError::field(name, format!("{count} addresses are more than {MOST}"), Some("give fewer".to_owned())));
            }
        }
        if let Some(error) = check_ttl(args.ttl) {
            errors.push(error);
        }
        errors
    }

    fn plan(&self, args: &DnsWrongAnswerArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        Self::wish(args).plan(target, host)
    }

    async fn inject(&self, args: &DnsWrongAnswerArgs, target: &Target, cx: &Cx<'_, DnsUndo>) -> Result<(), InjectError> {
        Self::wish(args).inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &DnsUndo) -> Result<Effect, VerifyError> {
        verify(undo).await
    }

    async fn revert(&self, undo: &DnsUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        revert(undo, armed).await
    }
}
