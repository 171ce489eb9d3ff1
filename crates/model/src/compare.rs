//! A comparison of a step's targets with its control group: the same question to each of both, and a test of the answers that may be
//! read at any time.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::probe::Parts;
use crate::{Percent, Probe};

/// The same question to each target of a step and to each of its control group. Written as a probe with a few more fields.
///
/// In the arguments of the kind, `{{target.port}}` and the like stand for what is known of the one that is asked.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compare {
    /// What is asked, and what a good answer is. One that is not good, or does not come in time, counts as a bad one.
    #[schemars(flatten)]
    pub probe: Probe,
    /// The name of the step, which has a target with `control: true`. May be left out where there is one such step.
    pub step: Option<String>,
    /// How much larger the share of bad answers may be under the fault than in the control group: `5%` are five points. 0 by default.
    pub margin: Percent,
    /// How sure to be before the one is called worse than the other, however often one looks. 99% by default.
    pub confidence: Percent,
    /// What to do once it is shown to be worse. By default the run is aborted and everything reverted.
    #[schemars(rename = "whenWorse")]
    pub when_worse: WhenWorse,
}

/// What to do when a step's targets are shown to be worse off than its control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenWorse {
    /// Abort the run and revert everything.
    #[default]
    Abort,
    /// Carry on; the verdict is `deviated`.
    Continue,
}

impl Compare {
    /// The fields that are not kinds.
    pub const FIELDS: [&'static str; 8] = ["name", "expect", "every", "timeout", "step", "margin", "confidence", "whenWorse"];

    /// How sure to be where nothing is said.
    pub const CONFIDENCE: Percent = Percent(99.0);
}

impl<'de> Deserialize<'de> for Compare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Compare;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a probe: `name`, a kind such as `http`, and `expect`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Compare, A::Error> {
                let (mut parts, mut step, mut margin, mut confidence, mut when_worse) = (Parts::default(), None, None, None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "step" => step = Some(map.next_value()?),
                        "margin" => margin = Some(map.next_value()?),
                        "confidence" => confidence = Some(map.next_value()?),
                        "whenWorse" => when_worse = Some(map.next_value()?),
                        _ => parts.take(key, &mut map)?,
                    }
                }
                Ok(Compare {
                    probe: parts.probe("a comparison")?,
                    step,
                    margin: margin.unwrap_or_default(),
                    confidence: confidence.unwrap_or(Compare::CONFIDENCE),
                    when_worse: when_worse.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl Serialize for Compare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.probe.write(&mut map)?;
        if let Some(step) = &self.step {
            map.serialize_entry("step", step)?;
        }
        map.serialize_entry("margin", &self.margin)?;
        map.serialize_entry("confidence", &self.confidence)?;
        map.serialize_entry("whenWorse", &self.when_worse)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_comparison_is_written_as_it_was_read() {
        let text = json!({ "name": "up", "http": { "url": "http://h/" }, "expect": { "eq": 200 }, "step": "half", "margin": "5%" });
        let read: Compare = serde_json::from_value(text).expect("a comparison");
        assert_eq!((read.margin, read.confidence, read.when_worse), (Percent(5.0), Percent(99.0), WhenWorse::Abort));
        assert_eq!((read.probe.kind.as_str(), read.step.as_deref()), ("http", Some("half")));
        let again: Compare = serde_json::from_value(serde_json::to_value(&read).expect("json")).expect("a comparison");
        assert_eq!(read, again);
    }
}
