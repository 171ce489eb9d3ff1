//! `dns.random`: addresses drawn by chance.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};
use squall_model::{Path, Time};

use super::DnsUndo;
use super::carried::{WITH_ADDRESSES, Wish, check_ttl, seconds, ttl};
use super::job::Treatment;
use super::queries::Queries;
use crate::carried::{Carried, Wanted};

/// Answers queries with addresses that are drawn anew for each answer.
pub type DnsRandom = Carried<DnsRandomArgs>;

/// Which queries, and out of which addresses their answers are drawn.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsRandomArgs {
    /// Which queries.
    pub queries: Queries,
    /// Out of these CIDR blocks. Without this, those that are set aside for documentation, so that no stranger is reached:
    /// `192.0.2.0/24`, `198.51.100.0/24`, `203.0.113.0/24` and `2001:db8::/32`. Queries of a type without a block are answered with no
    /// data.
    #[serde(default)]
    pub from: Vec<String>,
    /// How many addresses an answer has, 1 to 16.
    #[serde(default = "one")]
    pub count: u8,
    /// How long clients may keep the answer, in whole seconds. Short, so that little of it outlives the fault.
    #[serde(default = "ttl")]
    pub ttl: Time,
}

fn one() -> u8 {
    1
}

/// RFC 5737 and RFC 3849.
const DOCUMENTATION: [&str; 4] = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"];

/// A network and the length of its prefix.
fn block(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
    (bits <= most).then_some((address, bits))
}

impl Wanted for DnsRandomArgs {
    type Undo = DnsUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "dns.random",
        family: "dns",
        summary: "Answers DNS queries for chosen names with random addresses",
        example: "\
fault: dns.random
target: { host: {} }
with: { queries: { names: [\"*.example.com\"] }, count: 2 }
for: 30s
",
        targets: super::carried::TARGETS,
        needs: super::carried::NEEDS,
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.queries.check();
        for (i, text) in self.from.iter().enumerate() {
            if block(text).is_none() {
                let hint = Some("write it like `10.1.0.0/16`, `fd00::/64`, or a single address".to_owned());
                errors.push(ArgError { path: Path::default().key("from").index(i), message: format!("`{text}` is no CIDR block"), hint });
            }
        }
        if !(1..=16).contains(&self.count) {
            errors.push(ArgError::field("count", "an answer has 1 to 16 addresses", Some("write `count: 1`, or leave it out".to_owned())));
        }
        if let Some(error) = check_ttl(self.ttl) {
            errors.push(error);
        }
        errors
    }

    fn wish(&self, _: u64) -> Wish<'_> {
        let texts: Vec<&str> = if self.from.is_empty() { DOCUMENTATION.to_vec() } else { self.from.iter().map(String::as_str).collect() };
        let treatment =
            Treatment::Random { blocks: texts.iter().filter_map(|b| block(b)).collect(), count: self.count, ttl: seconds(self.ttl) };
        let does = format!("answered with random addresses out of {}", texts.join(", "));
        Wish { queries: &self.queries, usually: WITH_ADDRESSES, treatment, does }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_an_address_with_or_without_a_length() {
        assert!(DOCUMENTATION.iter().all(|text| block(text).is_some()));
        assert_eq!(block("10.0.0.1"), Some(("10.0.0.1".parse().expect("an address"), 32)));
        assert!(["10.0.0.1/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/", ""].iter().all(|bad| block(bad).is_none()));
    }
}
