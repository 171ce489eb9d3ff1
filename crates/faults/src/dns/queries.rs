//! What all DNS faults have in their arguments: which queries.

use std::fmt;
use std::net::IpAddr;

use hickory_proto::rr::RecordType;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use squall_engine::ArgError;
use squall_model::{Path, Percent};

use super::address::Address;
use super::names::Names;

/// Which queries are broken.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queries {
    /// Names, in any case of letters: `db.example.com`, or patterns in which `*` stands for any characters, dots included
    /// (`*.example.com` is every name below `example.com`, without that itself). One with `^` before it is left out. `*` alone is
    /// every name.
    pub names: Vec<String>,
    /// Types of records, such as `A`, `AAAA`, `MX`, `TYPE65`. Without this, every type; for faults that give addresses, `A` and `AAAA`,
    /// and `HTTPS` and `SVCB`, which may hold addresses too and are answered with no data.
    #[serde(default)]
    pub types: Vec<Kind>,
    /// The share of the matching queries that is broken; each is drawn by itself.
    #[serde(default = "all")]
    pub percent: Percent,
    /// Only queries to these name servers, by address. Without this, to every one.
    #[serde(default)]
    pub servers: Vec<Address<IpAddr>>,
    /// The ports of name servers.
    #[serde(default = "standard")]
    pub ports: Vec<u16>,
}

fn all() -> Percent {
    Percent(100.0)
}

fn standard() -> Vec<u16> {
    vec![53]
}

/// A type of records, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub u16);

impl Kind {
    const EXPECTED: &'static str = "a type of DNS records, such as `A`, `AAAA`, `MX` or `TYPE65`";

    fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        if let Some(number) = upper.strip_prefix("TYPE") {
            return number.parse().ok().map(Self);
        }
        upper.parse::<RecordType>().ok().map(|kind| Self(kind.into()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RecordType::from(self.0) {
            RecordType::Unknown(number) => write!(f, "TYPE{number}"),
            known => write!(f, "{known}"),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Kind;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Kind::EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Kind, E> {
                Kind::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RecordType".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9]+$",
            "description": Self::EXPECTED,
            "examples": ["A", "AAAA", "TYPE65"]
        })
    }
}

impl Queries {
    /// What the types cannot say. Paths are within the arguments of a fault, where the queries stand under `queries`.
    pub(super) fn check(&self) -> Vec<ArgError> {
        let base = Path::default().key("queries");
        let error = |path: Path, message: String, hint: &str| ArgError { path, message, hint: Some(hint.to_owned()) };
        let mut errors = Vec::new();
        if self.names.is_empty() {
            errors.push(error(base.key("names"), "no name at all".into(), "write `names: [\"*\"]` for every name"));
        }
        for (i, pattern) in self.names.iter().enumerate() {
            if let Err((message, hint)) = Names::check(pattern) {
                errors.push(error(base.key("names").index(i), message, hint));
            }
        }
        if errors.is_empty() && Names::new(&self.names).example().is_none() {
            let hint = "leave out less: what has `^` before it is left out of the rest";
            errors.push(error(base.key("names"), "these patterns leave no name".into(), hint));
        }
        if self.percent.0 <= 0.0 {
            errors.push(error(base.key("percent"), "0% of the queries is none".into(), "write a share such as `30%`"));
        }
        if self.ports.is_empty() || self.ports.contains(&0) {
            errors.push(error(base.key("ports"), "a port is from 1 to 65535".into(), "leave `ports` out: 53 is the port of DNS"));
        }
        let link_local = |address: &Address<IpAddr>| matches!(address.0, IpAddr::V6(a) if a.is_unicast_link_local());
        if let Some(i) = self.servers.iter().position(link_local) {
            let message = format!("{} is good on one link only, and queries to it are left alone", self.servers[i].0);
            errors.push(error(base.key("servers").index(i), message, "name another address of that server"));
        }
        errors
    }

    /// `30% of the queries for *.example.com (A, AAAA)`.
    pub(super) fn describe(&self) -> String {
        let share = if self.percent.0 < 100.0 { format!("{} of the DNS queries", self.percent) } else { "DNS queries".to_owned() };
        let types: Vec<String> = self.types.iter().map(Kind::to_string).collect();
        let types = if types.is_empty() { String::new() } else { format!(" ({})", types.join(", ")) };
        let servers: Vec<String> = self.servers.iter().map(|server| server.0.to_string()).collect();
        let servers = if servers.is_empty() { String::new() } else { format!(" to {}", servers.join(", ")) };
        format!("{share} for {}{types}{servers}", self.names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(json: serde_json::Value) -> Queries {
        serde_json::from_value(json).expect("queries")
    }

    #[test]
    fn what_can_match_nothing_is_refused_with_a_hint() {
        for bad in [
            serde_json::json!({ "names": [] }),
            serde_json::json!({ "names": ["a b"] }),
            serde_json::json!({ "names": ["a", "^*"] }),
            serde_json::json!({ "names": ["*"], "percent": "0%" }),
            serde_json::json!({ "names": ["*"], "ports": [] }),
            serde_json::json!({ "names": ["*"], "servers": ["fe80::1"] }),
        ] {
            let errors = queries(bad.clone()).check();
            assert!(errors.len() == 1 && errors[0].hint.is_some(), "{bad}: {errors:?}");
        }
        assert_eq!(queries(serde_json::json!({ "names": ["*.a", "^b.a"], "percent": 30 })).check(), []);
    }

    #[test]
    fn types_have_names_and_numbers() {
        let kinds = queries(serde_json::json!({ "names": ["*"], "types": ["a", "AAAA", "HTTPS", "TYPE65", "TYPE64000"] })).types;
        assert_eq!(kinds, [Kind(1), Kind(28), Kind(65), Kind(65), Kind(64000)]);
        assert_eq!(kinds.iter().map(Kind::to_string).collect::<Vec<_>>(), ["A", "AAAA", "HTTPS", "HTTPS", "TYPE64000"]);
        assert!(serde_json::from_value::<Queries>(serde_json::json!({ "names": ["*"], "types": ["AAAAA"] })).is_err());
    }
}
