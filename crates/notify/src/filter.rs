//! Which notices a channel wants.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Verdict;
use utoipa::ToSchema;

use crate::channel::Mistake;
use crate::{EventKind, Notice};

/// Which notices a channel wants. Every part that is set must match; an empty filter wants everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ChannelFilter)]
pub struct Filter {
    /// These events. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventKind>,
    /// Of `run.ended`, only those with one of these verdicts. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub verdicts: Vec<Verdict>,
    /// Names of experiments; `*` stands for any characters. A notice that is about no experiment does not match. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub experiments: Vec<String>,
    /// Labels of the experiment (of the host, for events of hosts), all of which must be there; `*` in a value stands for any
    /// characters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Filter {
    /// Whether the notice passes. A test always does.
    pub fn wants(&self, notice: &Notice) -> bool {
        if notice.event == EventKind::Test {
            return true;
        }
        let verdict = notice.event != EventKind::RunEnded
            || self.verdicts.is_empty()
            || notice.verdict.is_some_and(|verdict| self.verdicts.contains(&verdict));
        let experiment = self.experiments.is_empty()
            || notice.experiment.as_ref().is_some_and(|name| self.experiments.iter().any(|pattern| matches(pattern, name)));
        let labels = self.labels.iter().all(|(key, pattern)| notice.labels.get(key).is_some_and(|value| matches(pattern, value)));
        (self.events.is_empty() || self.events.contains(&notice.event)) && verdict && experiment && labels
    }

    pub(crate) fn check(&self) -> Vec<Mistake> {
        let never = !self.verdicts.is_empty() && !self.events.is_empty() && !self.events.contains(&EventKind::RunEnded);
        let mut mistakes = Vec::new();
        if never {
            mistakes.push(Mistake::new("filter.verdicts", "verdicts say nothing about these events", "add `run.ended` to `filter.events`"));
        }
        mistakes
    }
}

/// Whether a text is like a pattern in which `*` stands for any characters, none among them.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn ended(verdict: Verdict) -> Notice {
        let mut notice = Notice::new("r.9", EventKind::RunEnded, Timestamp::UNIX_EPOCH, "r");
        (notice.verdict, notice.experiment) = (Some(verdict), Some("slow-payments".into()));
        notice.labels.insert("team".into(), "payments".into());
        notice
    }

    #[test]
    fn every_part_that_is_set_must_match() {
        let filter = |json| serde_json::from_value::<Filter>(json).expect("a filter");
        let all = [
            (serde_json::json!({}), true),
            (serde_json::json!({ "events": ["run.ended"] }), true),
            (serde_json::json!({ "events": ["run.started"] }), false),
            (serde_json::json!({ "verdicts": ["deviated", "failed"] }), true),
            (serde_json::json!({ "verdicts": ["held"] }), false),
            (serde_json::json!({ "experiments": ["slow-*"] }), true),
            (serde_json::json!({ "experiments": ["fast-*", "x"] }), false),
            (serde_json::json!({ "labels": { "team": "pay*" } }), true),
            (serde_json::json!({ "labels": { "team": "payments", "tier": "*" } }), false),
        ];
        for (json, wanted) in all {
            assert_eq!(filter(json.clone()).wants(&ended(Verdict::Deviated)), wanted, "{json}");
        }
        let none = filter(serde_json::json!({ "experiments": ["nothing"], "events": ["run.started"] }));
        assert!(none.wants(&Notice::new("t", EventKind::Test, Timestamp::UNIX_EPOCH, "test")));
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, same) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "a", true),
            ("*b", "ab", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), same, "{pattern} {text}");
        }
    }
}
