//! Which things a fault is applied to: a kind with its selector, and how many of the matches.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::probe::one_kind;
use crate::{HostSelector, Percent};

/// The target of a fault. Its kind is the one key that is not a field of every target: `process`, `host`, `proxy`.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
pub struct Target {
    /// Which kind of target: the manifest's key.
    #[schemars(skip)]
    pub kind: String,
    /// The kind's own selector, checked by the kind.
    #[schemars(skip)]
    pub selector: Value,
    /// How many of the matches, one by default.
    pub select: Select,
    /// Matches of this selector (of the same kind) are left alone.
    pub except: Option<Value>,
    /// Through a server: the hosts that are looked at, all by default.
    pub hosts: Option<HostSelector>,
    /// Through a server: at most so many targets with the same value of a label of their host, such as `{ host: 1, zone: 2 }`.
    /// `host` is the host's name.
    #[schemars(rename = "atMost")]
    pub at_most: BTreeMap<String, u32>,
    /// As many of the other matches are the control group: nothing of this run touches them, and the report names them for comparison.
    pub control: bool,
}

impl Target {
    /// The fields that are not kinds.
    pub const FIELDS: [&'static str; 5] = ["select", "except", "hosts", "atMost", "control"];

    /// The kinds that come with Squall, for messages about targets that name none or several.
    pub const USUAL_KINDS: [&'static str; 3] = ["process", "host", "proxy"];
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Target;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a target such as `process: { name: payments }`, with `select`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Target, A::Error> {
                let (mut select, mut except, mut hosts, mut at_most, mut control) = (None, None, None, None, None);
                let mut kinds: Vec<(String, Value)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "select" => select = Some(map.next_value()?),
                        "except" => except = Some(map.next_value()?),
                        "hosts" => hosts = Some(map.next_value()?),
                        "atMost" => at_most = Some(map.next_value()?),
                        "control" => control = Some(map.next_value()?),
                        _ => kinds.push((key, map.next_value()?)),
                    }
                }
                let (kind, selector) = one_kind("a target", "`process`, `host` or `proxy`", kinds)?;
                let at_most = at_most.unwrap_or_default();
                let (select, control) = (select.unwrap_or_default(), control.unwrap_or_default());
                Ok(Target { kind, selector, select, except, hosts, at_most, control })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(&self.kind, &self.selector)?;
        map.serialize_entry("select", &self.select)?;
        if let Some(except) = &self.except {
            map.serialize_entry("except", except)?;
        }
        if let Some(hosts) = &self.hosts {
            map.serialize_entry("hosts", hosts)?;
        }
        if !self.at_most.is_empty() {
            map.serialize_entry("atMost", &self.at_most)?;
        }
        if self.control {
            map.serialize_entry("control", &self.control)?;
        }
        map.end()
    }
}

/// How many of the matching targets. A selector that matches nothing is an error, never an empty success.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Select {
    /// One, chosen by the seed.
    #[default]
    One,
    /// Every match.
    All,
    /// The selector must match exactly one; more is an error.
    Specific,
    /// So many, chosen by the seed; fewer matches is an error.
    Count(u32),
    /// This share of the matches, rounded up, so never none.
    Percent(Percent),
    /// From one up to this share of the matches, chosen by the seed.
    RandomUpTo(Percent),
}

impl Select {
    /// How many of `matches` this picks, given a number in `0..1` from the seed. `None` where the selection cannot be met.
    ///
    /// A percentage rounds up: 30% of 2 is 1, 50% of 3 is 2, and 0% is none of any (and so cannot be met).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is within the count")]
    pub fn count(self, matches: usize, chance: f64) -> Option<usize> {
        let share = |percent: Percent| ((matches as f64 * percent.share()) - 1e-9).ceil().max(0.0) as usize;
        let picked = match self {
            Self::One => 1,
            Self::All => matches,
            Self::Specific => return (matches == 1).then_some(1),
            Self::Count(count) => count as usize,
            Self::Percent(percent) => share(percent),
            Self::RandomUpTo(percent) => {
                let most = share(percent);
                if most == 0 {
                    return None;
                }
                1 + ((most as f64 * chance) as usize).min(most - 1)
            }
        };
        (picked > 0 && picked <= matches).then_some(picked)
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("one"),
            Self::All => f.write_str("all"),
            Self::Specific => f.write_str("the specific one"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}"),
            Self::RandomUpTo(percent) => write!(f, "random up to {percent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_never_empty_by_accident() {
        for matches in 1..50 {
            for percent in [1.0, 10.0, 33.0, 50.0, 100.0] {
                assert!(Select::Percent(Percent(percent)).count(matches, 0.0).is_some_and(|n| n >= 1 && n <= matches));
                for chance in [0.0, 0.5, 0.999_999] {
                    assert!(Select::RandomUpTo(Percent(percent)).count(matches, chance).is_some_and(|n| n >= 1 && n <= matches));
                }
            }
        }
        assert_eq!(Select::Percent(Percent(0.0)).count(10, 0.0), None);
        assert_eq!(Select::All.count(0, 0.0), None);
        assert_eq!(Select::Count(3).count(2, 0.0), None);
        assert_eq!(Select::Specific.count(2, 0.0), None);
        assert_eq!(Select::Percent(Percent(30.0)).count(10, 0.0), Some(3));
    }

    #[test]
    fn selections_are_written_as_words_or_small_maps() {
        let all: Select = serde_json::from_value(serde_json::json!("all")).expect("all");
        assert_eq!(all, Select::All);
        let percent: Select = serde_json::from_value(serde_json::json!({ "percent": "30%" })).expect("percent");
        assert_eq!(percent, Select::Percent(Percent(30.0)));
    }
}
