//! Which hosts of a fleet an experiment is about.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, SeqAccess};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::Select;

/// Hosts with an agent, by name and label. Everything that is given must match; nothing given is every host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HostSelector {
    /// Names, each with `*` for any characters.
    pub names: Vec<String>,
    /// Labels and the values that are meant, such as `{ role: web, zone: [a, b] }`.
    pub labels: BTreeMap<String, OneOf>,
    /// How many of the hosts that match, all by default; chosen by the seed.
    pub select: Option<Select>,
}

impl HostSelector {
    /// Whether a host is meant, `select` aside.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|pattern| like(pattern, name));
        named && self.labels.iter().all(|(key, wanted)| labels.get(key).is_some_and(|value| wanted.0.iter().any(|one| like(one, value))))
    }
}

/// A pattern with `*` for any characters.
fn like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// One text, or any of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OneOf(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = OneOf;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOf, E> {
                Ok(OneOf(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOf, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = seq.next_element()? {
                    all.push(one);
                }
                Ok(OneOf(all))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for OneOf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            all => all.serialize(serializer),
        }
    }
}

impl JsonSchema for OneOf {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOf".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One text, or any of a list.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn hosts_are_meant_by_name_and_by_every_label() {
        let selector: HostSelector =
            serde_json::from_value(serde_json::json!({ "names": ["web-*", "db"], "labels": { "zone": ["a", "b"], "role": "w*b" } }))
                .expect("read");
        assert!(selector.matches("web-1", &labels(&[("zone", "b"), ("role", "web"), ("more", "x")])));
        assert!(!selector.matches("web-1", &labels(&[("zone", "c"), ("role", "web")])));
        assert!(!selector.matches("web-1", &labels(&[("zone", "a")])), "a label that is not there is no match");
        assert!(!selector.matches("dbx", &labels(&[("zone", "a"), ("role", "web")])));
        assert!(HostSelector::default().matches("any", &BTreeMap::new()));
    }

    #[test]
    fn a_star_stands_for_any_characters_and_for_none() {
        for (pattern, text, is) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("*", "", true),
            ("*b*", "abc", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
        ] {
            assert_eq!(like(pattern, text), is, "{pattern} {text}");
        }
    }
}
