//! Which hosts a monkey may touch, and how they are grouped.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Labels, MonkeySpec};

/// The label by which a host itself says `on` or `off` to monkeys.
pub const OPT_LABEL: &str = "squall.dev/monkey";

/// A host that a monkey could pick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    /// By which it is known for good.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Hosts of which a monkey picks at most one a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// The rule's name and the labels that the hosts have in common: `services/app=payments,region=eu`.
    pub key: String,
    /// Index of the rule.
    pub rule: usize,
    /// The hosts, in the order given.
    pub members: Vec<&'a Candidate>,
}

/// Whether a host has these labels: all of them.
pub(super) fn has(labels: &BTreeMap<String, String>, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| value == "*" || labels.get(key).map_or("", String::as_str) == value)
}

/// Whether a monkey may touch a host.
fn eligible(spec: &MonkeySpec, candidate: &Candidate) -> bool {
    let labels = &candidate.labels;
    let itself = labels.get(OPT_LABEL).map(|word| word.trim().to_ascii_lowercase());
    let willing = match itself.as_deref() {
        Some("on" | "true" | "yes") => true,
        // Whatever else a host says of itself is no consent.
        Some(_) => false,
        None => !spec.asks_first,
    };
    let asked = spec.opt_in.is_empty() || spec.opt_in.iter().any(|wanted| has(labels, wanted));
    willing && asked && !spec.exceptions.iter().any(|exception| has(labels, exception))
}

/// The groups of a fleet, in order of their keys.
pub(super) fn groups<'a>(spec: &MonkeySpec, fleet: &'a [Candidate]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<String, Group<'a>> = BTreeMap::new();
    for candidate in fleet.iter().filter(|candidate| eligible(spec, candidate)) {
        let Some((rule, by)) = spec.groups.iter().enumerate().find(|(_, rule)| has(&candidate.labels, &rule.select)) else { continue };
        if by.disabled {
            continue;
        }
        let value = |label: &String| format!("{label}={}", candidate.labels.get(label).map_or("", String::as_str));
        let labels: Vec<String> = by.by.iter().map(value).collect();
        let key = if labels.is_empty() { by.name.clone() } else { format!("{}/{}", by.name, labels.join(",")) };
        groups.entry(key.clone()).or_insert_with(|| Group { key, rule, members: Vec::new() }).members.push(candidate);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::super::GroupRule;
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
    }

    fn host(id: &str, text: &str) -> Candidate {
        Candidate { id: id.into(), labels: labels(text) }
    }

    fn shown(spec: &MonkeySpec, fleet: &[Candidate]) -> Vec<String> {
        let members = |group: &Group<'_>| group.members.iter().map(|member| member.id.clone()).collect::<Vec<_>>().join(" ");
        groups(spec, fleet).iter().map(|group| format!("{}: {}", group.key, members(group))).collect()
    }

    fn rule(name: &str, select: &str, by: &[&str]) -> GroupRule {
        GroupRule {
            name: name.into(),
            select: labels(select),
            by: by.iter().map(|&label| label.to_owned()).collect(),
            ..GroupRule::default()
        }
    }

    #[test]
    fn hosts_are_grouped_by_labels_and_by_the_first_rule_that_fits() {
        let spec = MonkeySpec {
            groups: vec![rule("databases", "role=db", &[]), rule("services", "", &["app", "region"])],
            ..MonkeySpec::default()
        };
        let fleet = [
            host("a", "app=pay region=eu"),
            host("b", "app=pay region=eu"),
            host("c", "app=pay region=us"),
            host("d", "app=pay role=db"),
            host("e", ""),
        ];
        assert_eq!(
            shown(&spec, &fleet),
            ["databases: d", "services/app=,region=: e", "services/app=pay,region=eu: a b", "services/app=pay,region=us: c"]
        );
    }

    #[test]
    fn a_disabled_rule_keeps_its_hosts_from_the_next_one() {
        let off = GroupRule { disabled: true, ..rule("databases", "role=db", &[]) };
        let spec = MonkeySpec { groups: vec![off, rule("all", "", &[])], ..MonkeySpec::default() };
        assert_eq!(shown(&spec, &[host("a", ""), host("b", "role=db")]), ["all: a"]);
    }

    #[test]
    fn exceptions_match_as_those_of_chaos_monkey_do() {
        // Netflix, "Configuring behavior via Spinnaker": the first excepts stack `staging` with a blank detail in prod's
        // us-west-2, the second everything in the account `test`.
        let exceptions =
            vec![labels("account=prod region=us-west-2 stack=staging detail="), labels("account=test region=* stack=* detail=*")];
        let spec = MonkeySpec { groups: vec![rule("all", "", &[])], exceptions, ..MonkeySpec::default() };
        let fleet = [
            host("excepted", "account=prod region=us-west-2 stack=staging"),
            host("has-detail", "account=prod region=us-west-2 stack=staging detail=x"),
            host("other-region", "account=prod region=us-east-1 stack=staging"),
            host("test", "account=test region=eu"),
        ];
        assert_eq!(shown(&spec, &fleet), ["all: has-detail other-region"]);
    }

    #[test]
    fn a_host_is_asked_where_the_monkey_asks_and_heard_where_it_does_not() {
        let mut spec = MonkeySpec {
            groups: vec![rule("all", "", &[])],
            opt_in: vec![labels("tier=web"), labels("tier=api")],
            ..MonkeySpec::default()
        };
        let fleet = [
            host("silent", "tier=web"),
            host("on", "tier=api squall.dev/monkey=on"),
            host("off", "tier=web squall.dev/monkey=off"),
            host("unclear", "tier=web squall.dev/monkey=maybe"),
            host("other-tier", "tier=db squall.dev/monkey=on"),
        ];
        assert_eq!(shown(&spec, &fleet), ["all: silent on"]);
        spec.asks_first = true;
        assert_eq!(shown(&spec, &fleet), ["all: on"]);
    }
}
