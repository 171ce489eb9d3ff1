//! `dns.timeout`: no answer at all.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use super::DnsUndo;
use super::carried::Wish;
use super::job::Treatment;
use super::queries::Queries;
use crate::carried::{Carried, Wanted};

/// Leaves queries without an answer.
pub type DnsTimeout = Carried<DnsTimeoutArgs>;

/// Which queries stay without an answer. A connection over TCP is accepted and stays open.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsTimeoutArgs {
    /// Which queries.
    pub queries: Queries,
}

impl Wanted for DnsTimeoutArgs {
    type Undo = DnsUndo;
    type Wish<'a> = Wish<'a>;

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

    fn check(&self) -> Vec<ArgError> {
        self.queries.check()
    }

    fn wish(&self, _: u64) -> Wish<'_> {
        let (treatment, does) = (Treatment::Silence, "left without an answer".to_owned());
        Wish { queries: &self.queries, usually: &[], treatment, does }
    }
}
