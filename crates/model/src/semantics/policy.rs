//! Policies.

use super::{Checker, metadata};
use crate::{Path, Policy, Rule, calendar};

/// Everything of a policy that needs no kinds.
pub(crate) fn policy(policy: &Policy, checker: &mut Checker<'_>) {
    metadata(&policy.metadata, checker);
    let path = Path::default().key("spec");
    let spec = &policy.spec;
    for (i, window) in spec.windows.iter().enumerate() {
        checker.calendar(&path.key("windows").index(i), calendar::check_window(window));
    }
    for (i, freeze) in spec.freezes.iter().enumerate() {
        let path = path.key("freezes").index(i);
        checker.calendar(&path, calendar::check_freeze(freeze));
        if freeze.reason.trim().is_empty() {
            checker.at(&path.key("reason"), "the reason is empty", "say to whoever is refused why nothing may run");
        }
    }
    let caps = path.key("caps");
    let zero = [
        ("targets", spec.caps.targets == Some(0)),
        ("percent", spec.caps.percent.is_some_and(|percent| percent.0 <= 0.0)),
        ("faults", spec.caps.faults == Some(0)),
    ];
    for (key, _) in zero.into_iter().filter(|(_, zero)| *zero) {
        checker.at(
            &caps.key(key),
            format!("with `{key}` at 0 no experiment could ever run"),
            "to forbid experiments for some days, write a freeze",
        );
    }
    checker.positive(&caps.key("duration"), spec.caps.duration, "5m");
    for (i, process) in spec.protected.iter().enumerate() {
        if process.name.is_none() && process.user.is_none() && process.port.is_none() && process.unit.is_none() {
            checker.at(&path.key("protected").index(i), "this names no process", "give it one or more of `name`, `user`, `port`, `unit`");
        }
    }
    rules(&path.key("rules"), &spec.rules, checker);
    for (key, rules) in [("denyFaults", &spec.deny_faults), ("allowFaults", &spec.allow_faults)] {
        for (i, rule) in rules.iter().enumerate() {
            if !is_rule(rule) {
                let message = format!("`{rule}` is neither a fault nor a family of them");
                checker.at(&path.key(key).index(i), message, "write a name such as `process.kill`, or a family such as `process.*`");
            } else if key == "allowFaults" && spec.deny_faults.contains(rule) {
                checker.at(
                    &path.key(key).index(i),
                    format!("`{rule}` is both denied and allowed"),
                    "remove one of the two; what is denied stays denied",
                );
            }
        }
    }
}

/// The most approvals that a rule may ask for: more than that is a mistake, not a team.
const MOST_APPROVALS: u32 = 20;

fn rules(path: &Path, rules: &[Rule], checker: &mut Checker<'_>) {
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        if rule.name.trim().is_empty() {
            checker.at(&path.key("name"), "the name is empty", "whoever is refused is told the name of the rule");
        } else if rules[..i].iter().any(|other| other.name == rule.name) {
            checker.at(&path.key("name"), format!("there are two rules `{}`", rule.name), "give each rule its own name");
        }
        match (&rule.deny, rule.approvals) {
            (Some(reason), None) if reason.trim().is_empty() => {
                checker.at(&path.key("deny"), "the reason is empty", "say to whoever is refused why");
            }
            (None, Some(n)) if n == 0 || n > MOST_APPROVALS => {
                checker.at(
                    &path.key("approvals"),
                    format!("{n} approvals are not within 1 and {MOST_APPROVALS}"),
                    "write how many people have to agree, such as 2",
                );
            }
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => checker.at(&path, "the rule both denies and asks for approvals", "remove `deny` or `approvals`"),
            (None, None) => {
                checker.at(&path, "the rule says nothing of the steps that it is about", "add `deny: REASON`, or `approvals: 2`");
            }
        }
    }
}

fn is_rule(rule: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty()
            && part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    rule.split_once('.').is_some_and(|(family, fault)| word(family) && (fault == "*" || word(fault)))
}

#[cfg(test)]
mod tests {
    use super::is_rule;

    #[test]
    fn rules_are_names_of_faults_or_families() {
        assert!(["process.kill", "process.crashLoop", "process.*", "memory.pressure"].iter().all(|rule| is_rule(rule)));
        assert!(!["process", "*", "process.", ".kill", "process.k*", "Process.kill", "a.b.c"].iter().any(|rule| is_rule(rule)));
    }
}
