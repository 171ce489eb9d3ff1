//! `dns.latency`: the real answer, later.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};
use squall_model::Time;

use super::DnsUndo;
use super::carried::Wish;
use super::job::Treatment;
use super::queries::Queries;
use crate::carried::{Carried, Wanted};

/// Delays answers.
pub type DnsLatency = Carried<DnsLatencyArgs>;

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

impl Wanted for DnsLatencyArgs {
    type Undo = DnsUndo;
    type Wish<'a> = Wish<'a>;

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

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.queries.check();
        if self.delay == Time::ZERO || self.delay > LONGEST {
            let message = format!("a delay is from more than 0 to {LONGEST}");
            errors.push(ArgError::field("delay", message, Some("for no answer at all there is `dns.timeout`".to_owned())));
        }
        if self.jitter > self.delay {
            let message = format!("a jitter of {} is more than the delay of {}", self.jitter, self.delay);
            errors.push(ArgError::field("jitter", message, Some("no answer can come before its query: write less".to_owned())));
        }
        errors
    }

    fn wish(&self, _: u64) -> Wish<'_> {
        let treatment = Treatment::Delay { delay: self.delay.std(), jitter: self.jitter.std() };
        let jitter = if self.jitter == Time::ZERO { String::new() } else { format!(" ± {}", self.jitter) };
        let does = format!("answered by the real server, {}{jitter} later,", self.delay);
        Wish { queries: &self.queries, usually: &[], treatment, does }
    }
}
