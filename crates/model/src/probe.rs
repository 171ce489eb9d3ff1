//! A named measurement. Its kind is the one key that is not a field of the probe itself: `http`, `tcp`, `tls`,
//! `command`, `prometheus`, `process`, `file`, `log`, `traffic`. The list of kinds is in `squall-probes`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Expectation, Time};

/// A probe as a manifest writes it.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
pub struct Probe {
    /// Unique within the experiment.
    pub name: String,
    /// Which kind of probe: the manifest's key.
    #[schemars(skip)]
    pub kind: String,
    /// The kind's own arguments, checked by the kind.
    #[schemars(skip)]
    pub with: Value,
    /// What the value must satisfy. A probe without one is only watched (and may serve a guard).
    pub expect: Option<Expectation>,
    /// How often to ask, instead of `steady.every`.
    pub every: Option<Time>,
    /// When to give up on an answer; then the sample is "could not measure". By default the smaller of `every` and 5 s,
    /// but at least 1 s.
    pub timeout: Option<Time>,
}

impl Probe {
    /// The fields that are not kinds.
    pub const FIELDS: [&'static str; 4] = ["name", "expect", "every", "timeout"];

    /// The kinds that come with Squall, for messages about probes that name none or several.
    pub const USUAL_KINDS: [&'static str; 11] =
        ["http", "tcp", "tls", "dns", "icmp", "command", "prometheus", "process", "file", "log", "traffic"];
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Probe;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a probe: `name`, a kind such as `http`, and `expect`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Probe, A::Error> {
                let (mut name, mut expect, mut every, mut timeout) = (None, None, None, None);
                let mut kinds: Vec<(String, Value)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "name" => name = Some(map.next_value()?),
                        "expect" => expect = Some(map.next_value()?),
                        "every" => every = Some(map.next_value()?),
                        "timeout" => timeout = Some(map.next_value()?),
                        _ => kinds.push((key, map.next_value()?)),
                    }
                }
                let (kind, with) =
                    one_kind("a probe", "`http`, `tcp`, `tls`, `command`, `prometheus`, `process`, `file`, `log` or `traffic`", kinds)?;
                Ok(Probe { name: name.ok_or_else(|| de::Error::missing_field("name"))?, kind, with, expect, every, timeout })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The one pair that names a kind; none or several is an error in words that `diagnostic.rs` knows.
pub(crate) fn one_kind<E: de::Error>(what: &str, kinds: &str, mut found: Vec<(String, Value)>) -> Result<(String, Value), E> {
    match found.len() {
        0 => Err(E::custom(format!("{what} needs a kind; write one of {kinds}"))),
        1 => Ok(found.remove(0)),
        _ => {
            let names: Vec<String> = found.iter().map(|(key, _)| format!("`{key}`")).collect();
            Err(E::custom(format!("{what} has more than one kind: {}", names.join(", "))))
        }
    }
}

impl Serialize for Probe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry(&self.kind, &self.with)?;
        if let Some(expect) = &self.expect {
            map.serialize_entry("expect", expect)?;
        }
        if let Some(every) = &self.every {
            map.serialize_entry("every", every)?;
        }
        if let Some(timeout) = &self.timeout {
            map.serialize_entry("timeout", timeout)?;
        }
        map.end()
    }
}
