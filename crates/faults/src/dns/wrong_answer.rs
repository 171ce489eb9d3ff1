//! `dns.wrong-answer`: addresses of the user's choice.

use std::net::{Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};
use squall_model::Time;

use super::DnsUndo;
use super::address::Address;
use super::carried::{WITH_ADDRESSES, Wish, check_ttl, list, seconds, ttl};
use super::job::Treatment;
use super::queries::Queries;
use crate::carried::{Carried, Wanted};

/// Answers queries with addresses that the user gives.
pub type DnsWrongAnswer = Carried<DnsWrongAnswerArgs>;

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

impl Wanted for DnsWrongAnswerArgs {
    type Undo = DnsUndo;
    type Wish<'a> = Wish<'a>;

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

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.queries.check();
        if self.a.is_empty() && self.aaaa.is_empty() {
            let hint = "write addresses such as `a: [192.0.2.1]`; for no data at all there is `dns.error` with `answer: noData`";
            errors.push(ArgError::field("a", "no address at all", Some(hint.to_owned())));
        }
        for (name, count) in [("a", self.a.len()), ("aaaa", self.aaaa.len())] {
            if count > MOST {
                errors.push(ArgError::field(name, format!("{count} addresses are more than {MOST}"), Some("give fewer".to_owned())));
            }
        }
        if let Some(error) = check_ttl(self.ttl) {
            errors.push(error);
        }
        errors
    }

    fn wish(&self, _: u64) -> Wish<'_> {
        let treatment = Treatment::Addresses {
            v4: self.a.iter().map(|address| address.0).collect(),
            v6: self.aaaa.iter().map(|address| address.0).collect(),
            ttl: seconds(self.ttl),
        };
        let does = format!("answered with A {}, AAAA {}", list(&self.a), list(&self.aaaa));
        Wish { queries: &self.queries, usually: WITH_ADDRESSES, treatment, does }
    }
}
