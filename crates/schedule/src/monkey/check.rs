//! What can be wrong with a monkey.

use std::collections::BTreeSet;

use squall_model::{Path, Problem};

use super::days::Days;
use super::{Frequency, GroupRule, Labels, Monkey, MonkeyFault};
use crate::document::{at_field, check_head, problem};

impl Monkey {
    /// Everything that is wrong with it; nothing if it is good.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = check_head(&self.api_version, &self.kind, &self.metadata, "Monkey");
        let path = Path::default().key("spec");
        let spec = &self.spec;
        found.extend(Days::new(spec).err());
        frequency(&spec.frequency, &path.key("frequency"), &mut found);
        faults(&spec.faults, &path.key("faults"), &mut found);
        groups(&spec.groups, &path.key("groups"), &mut found);
        for (key, sets) in [("optIn", &spec.opt_in), ("exceptions", &spec.exceptions)] {
            for (i, labels) in sets.iter().enumerate() {
                if matches_all(labels) {
                    let hint = "name a label and its value; to stop the monkey, write `enabled: false`";
                    found.push(problem(&path.key(key).index(i), "this matches every host", hint));
                }
            }
        }
        if !spec.leashed {
            if spec.hypothesis.as_ref().is_none_or(|hypothesis| hypothesis.probes.is_empty()) {
                let message = "a monkey is only let off the leash with a hypothesis and its probes";
                found.push(problem(&path.key("leashed"), message, "say under `hypothesis` what stays true, and how that is measured"));
            }
            let lacks = |rule: &GroupRule| rule.faults.is_empty() && spec.faults.is_empty() && !rule.disabled;
            if spec.groups.iter().any(lacks) {
                let hint = "write one under `faults`, such as `fault: process.kill` with its `target`";
                found.push(problem(&path.key("faults"), "there is no fault that it could inject", hint));
            }
        }
        found
    }
}

fn frequency(given: &Frequency, path: &Path, found: &mut Vec<Problem>) {
    if let Err(error) = given.chance() {
        found.push(at_field(path, error));
    }
}

fn groups(rules: &[GroupRule], path: &Path, found: &mut Vec<Problem>) {
    if rules.is_empty() {
        let hint = "write at least one, such as `- { name: services, by: [app, region] }`";
        found.push(problem(path, "there are no groups, so there is nobody to pick", hint));
    }
    let mut names = BTreeSet::new();
    for (i, rule) in rules.iter().enumerate() {
        let at = path.index(i);
        if rule.name.trim().is_empty() || rule.name.contains(['/', '\n']) {
            found.push(problem(&at.key("name"), format!("`{}` is not a name of a group", rule.name), "write a word without a slash"));
        } else if !names.insert(rule.name.as_str()) {
            found.push(problem(&at.key("name"), format!("two groups are called `{}`", rule.name), "names are how kills refer to them"));
        }
        if let Some(given) = &rule.frequency {
            frequency(given, &at.key("frequency"), found);
        }
        faults(&rule.faults, &at.key("faults"), found);
    }
}

fn faults(faults: &[MonkeyFault], path: &Path, found: &mut Vec<Problem>) {
    for (i, fault) in faults.iter().enumerate() {
        if !(1..=1_000_000).contains(&fault.weight) {
            let message = format!("a weight of {} cannot be", fault.weight);
            found.push(problem(&path.index(i).key("weight"), message, "write from 1 to 1000000; a fault that is not wanted is left out"));
        }
    }
}

fn matches_all(labels: &Labels) -> bool {
    labels.values().all(|value| value == "*")
}

#[cfg(test)]
mod tests {
    use crate::parse_monkey;

    fn errors(spec: &str) -> Vec<String> {
        let text = format!("apiVersion: squall.dev/v1\nkind: Monkey\nmetadata: {{ name: prod }}\nspec: {{ {spec} }}\n");
        match parse_monkey(&text) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(|d| format!("{}: {}", d.path, d.message)).collect(),
        }
    }

    #[test]
    fn a_monkey_that_cannot_be_is_refused_with_its_place() {
        assert_eq!(errors("groups: [{ name: all }]"), Vec::<String>::new());
        assert_eq!(errors("groups: []"), ["spec.groups: there are no groups, so there is nobody to pick"]);
        assert_eq!(errors("groups: [{ name: all }], exceptions: [{ region: '*' }]"), ["spec.exceptions[0]: this matches every host"]);
        assert_eq!(
            errors("groups: [{ name: all, frequency: { mean: 2, minimum: 3 } }]"),
            ["spec.groups[0].frequency.mean: the mean of 2 work days is below the minimum of 3"]
        );
        assert_eq!(errors("groups: [{ name: all }, { name: all }]"), ["spec.groups[1].name: two groups are called `all`"]);
        assert_eq!(
            errors("groups: [{ name: all }], hours: { from: '15:00', to: '09:00' }"),
            ["spec.hours.to: business hours end at 09:00, before they start"]
        );
        assert_eq!(
            errors("groups: [{ name: all }], leashed: false"),
            [
                "spec.faults: there is no fault that it could inject",
                "spec.leashed: a monkey is only let off the leash with a hypothesis and its probes"
            ]
        );
    }
}
