//! `dns.error`: an error as the answer.

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

/// Answers queries with an error.
#[derive(Debug, Clone, Default)]
pub struct DnsError {
    launcher: Launcher,
}

impl DnsError {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }

    fn wish(args: &DnsErrorArgs) -> Wish<'_> {
        let treatment = Treatment::Answer { code: args.answer.number() };
        let does = format!("answered with {}", args.answer.words());
        Wish { queries: &args.queries, usually: &[], treatment, does }
    }
}

/// Which error, for which queries.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsErrorArgs {
    /// Which queries.
    pub queries: Queries,
    /// The error; `nxdomain` by default.
    #[serde(default)]
    pub answer: ErrorCode,
}

/// What a name server says when it has no answer (RFC 1035, section 4.1.1; RFC 2308).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorCode {
    /// There is no such name (3).
    #[default]
    Nxdomain,
    /// The server could not find out (2). Clients ask the next server, and again.
    Servfail,
    /// The server does not want to (5).
    Refused,
    /// The server does not understand the query (1).
    Formerr,
    /// The server cannot do this (4).
    Notimp,
    /// The name is there, and has no records of that type (0, without records).
    NoData,
}

impl ErrorCode {
    fn number(self) -> u8 {
        match self {
            Self::NoData => 0,
            Self::Formerr => 1,
            Self::Servfail => 2,
            Self::Nxdomain => 3,
            Self::Notimp => 4,
            Self::Refused => 5,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NoData => "no data (NOERROR without records)",
            Self::Formerr => "FORMERR",
            Self::Servfail => "SERVFAIL",
            Self::Nxdomain => "NXDOMAIN",
            Self::Notimp => "NOTIMP",
            Self::Refused => "REFUSED",
        }
    }
}

impl Fault for DnsError {
    type Args = DnsErrorArgs;
    type Undo = DnsUndo;

    const META: Meta = Meta {
        name: "dns.error",
        family: "dns",
        summary: "Answers DNS queries for chosen names with an error",
        example: "\
fault: dns.error
target: { host: {} }
with: { queries: { names: [\"*.payments.example.com\"] }, answer: servfail }
for: 30s
",
        targets: super::carried::TARGETS,
        needs: super::carried::NEEDS,
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &DnsErrorArgs) -> Vec<ArgError> {
        args.queries.check()
    }

    fn plan(&self, args: &DnsErrorArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        Self::wish(args).plan(target, host)
    }

    async fn inject(&self, args: &DnsErrorArgs, target: &Target, cx: &Cx<'_, DnsUndo>) -> Result<(), InjectError> {
        Self::wish(args).inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &DnsUndo) -> Result<Effect, VerifyError> {
        verify(undo).await
    }

    async fn revert(&self, undo: &DnsUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        revert(undo, armed).await
    }
}
