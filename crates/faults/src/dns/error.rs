//! `dns.error`: an error as the answer.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use super::DnsUndo;
use super::carried::Wish;
use super::job::Treatment;
use super::queries::Queries;
use crate::carried::{Carried, Wanted};

/// Answers queries with an error.
pub type DnsError = Carried<DnsErrorArgs>;

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

impl Wanted for DnsErrorArgs {
    type Undo = DnsUndo;
    type Wish<'a> = Wish<'a>;

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

    fn check(&self) -> Vec<ArgError> {
        self.queries.check()
    }

    fn wish(&self, _: u64) -> Wish<'_> {
        let treatment = Treatment::Answer { code: self.answer.number() };
        let does = format!("answered with {}", self.answer.words());
        Wish { queries: &self.queries, usually: &[], treatment, does }
    }
}
