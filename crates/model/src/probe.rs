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
                let mut parts = Parts::default();
                while let Some(key) = map.next_key::<String>()? {
                    parts.take(key, &mut map)?;
                }
                parts.probe("a probe")
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The fields of a probe as they are read, also where it is a part of something with fields of its own.
#[derive(Default)]
pub(crate) struct Parts {
    name: Option<String>,
    expect: Option<Expectation>,
    every: Option<Time>,
    timeout: Option<Time>,
    kinds: Vec<(String, Value)>,
}

impl Parts {
    /// Reads the value of a key: of one of a probe's fields, or of a kind.
    pub(crate) fn take<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        match key.as_str() {
            "name" => self.name = Some(map.next_value()?),
            "expect" => self.expect = Some(map.next_value()?),
            "every" => self.every = Some(map.next_value()?),
            "timeout" => self.timeout = Some(map.next_value()?),
            _ => self.kinds.push((key, map.next_value()?)),
        }
        Ok(())
    }

    /// The probe; `what` is what it is part of.
    pub(crate) fn probe<E: de::Error>(self, what: &str) -> Result<Probe, E> {
        let kinds = "`http`, `tcp`, `tls`, `command`, `prometheus`, `process`, `file`, `log` or `traffic`";
        let (kind, with) = one_kind(what, kinds, self.kinds)?;
        let name = self.name.ok_or_else(|| de::Error::missing_field("name"))?;
        Ok(Probe { name, kind, with, expect: self.expect, every: self.every, timeout: self.timeout })
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

impl Probe {
    /// Its fields as entries of a map.
    pub(crate) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
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
        Ok(())
    }
}

impl Serialize for Probe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write(&mut map)?;
        map.end()
    }
}
