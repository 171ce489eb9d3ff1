//! What a policy says of a step, wherever it is asked: on the host of `squall run`, by an agent, by a server.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use squall_model::{PolicySpec, Rule};

use crate::GateRequest;

/// What the rules of a policy know of a run, beside the step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// Who wants it: the name of a user, or of the schedule that starts it.
    pub who: String,
    /// The roles of a user.
    pub roles: Vec<String>,
    /// What started it: `person`, `schedule`, `monkey`, `gameDay`; `agent` where a host asks itself.
    pub cause: String,
    /// `metadata.name` of the experiment.
    pub experiment: String,
    /// `metadata.labels` of the experiment.
    pub labels: BTreeMap<String, String>,
    /// How many people have approved it; nothing where nobody can.
    pub approvals: Option<u32>,
}

/// People that have to approve a run before it may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalNeed {
    /// The policy, where its name is known.
    pub policy: String,
    /// Its rule.
    pub rule: String,
    /// So many have to.
    pub wanted: u32,
    /// So many have.
    pub have: u32,
}

/// What stands in the way of a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// Which limit, in words.
    pub message: String,
    /// It would not stand in the way if these had approved the run.
    pub approvals: Option<ApprovalNeed>,
}

impl Denied {
    /// With where the limit comes from, such as ` (policy production)`.
    #[must_use]
    pub fn by(self, policy: &str, place: &str) -> Self {
        let approvals = self.approvals.map(|need| ApprovalNeed { policy: policy.to_owned(), ..need });
        Self { message: format!("{} (policy {policy}{place})", self.message), approvals }
    }
}

impl From<String> for Denied {
    fn from(message: String) -> Self {
        Self { message, approvals: None }
    }
}

/// Whether a policy allows a step. An error says which limit stands in the way.
pub fn within_policy(spec: &PolicySpec, request: &GateRequest<'_>, run: &RunFacts) -> Result<(), Denied> {
    within_limits(spec, request)?;
    within_rules(&spec.rules, request, run)
}

fn within_rules(rules: &[Rule], request: &GateRequest<'_>, run: &RunFacts) -> Result<(), Denied> {
    if rules.is_empty() {
        return Ok(());
    }
    let facts = facts(request, run);
    let mut most: Option<ApprovalNeed> = None;
    for rule in rules {
        // One that has no answer is as good as broken: what it guards stays shut.
        if !rule.when.holds(&facts).map_err(|error| format!("rule `{}`: {error}", rule.name))? {
            continue;
        }
        if let Some(reason) = &rule.deny {
            return Err(format!("rule `{}`: {reason}", rule.name).into());
        }
        let (wanted, have) = (rule.approvals.unwrap_or_default(), run.approvals.unwrap_or_default());
        if have < wanted && most.as_ref().is_none_or(|most| most.wanted < wanted) {
            most = Some(ApprovalNeed { policy: String::new(), rule: rule.name.clone(), wanted, have });
        }
    }
    let Some(need) = most else { return Ok(()) };
    let people = if need.wanted == 1 { "1 approval".to_owned() } else { format!("{} approvals", need.wanted) };
    let message = match run.approvals {
        Some(have) => format!("rule `{}` wants {people} and there are {have}", need.rule),
        None => format!("rule `{}` wants {people}, which only a server can collect", need.rule),
    };
    Err(Denied { message, approvals: run.approvals.map(|_| need) })
}

/// What a condition can ask about: see [`squall_model::VARIABLES`].
fn facts(request: &GateRequest<'_>, run: &RunFacts) -> Map<String, Value> {
    let target = |target: &crate::Target| {
        let labels = target.facts.get("labels").filter(|labels| labels.is_object()).cloned().unwrap_or_else(|| json!({}));
        json!({ "id": target.id, "label": target.label, "host": target.label_of_host("host").unwrap_or_default(), "labels": labels })
    };
    let family = request.fault.split('.').next().unwrap_or_default();
    let facts = json!({
        "who": { "name": run.who, "roles": run.roles, "cause": run.cause },
        "experiment": { "name": run.experiment, "labels": run.labels },
        "fault": { "kind": request.fault, "family": family, "seconds": request.duration.map_or(-1.0, |time| time.std().as_secs_f64()) },
        "targets": request.targets.iter().map(target).collect::<Vec<_>>(),
        "matched": request.matched,
        "chosen": request.chosen,
        "inForce": request.in_force,
    });
    let Value::Object(facts) = facts else { unreachable!("it is written as an object above") };
    facts
}

fn within_limits(spec: &PolicySpec, request: &GateRequest<'_>) -> Result<(), String> {
    if let Some(rule) = spec.deny_faults.iter().find(|rule| matches(rule, request.fault)) {
        return Err(format!("`{}` is not allowed: it is denied by `{rule}`", request.fault));
    }
    if !spec.allow_faults.is_empty() && !spec.allow_faults.iter().any(|rule| matches(rule, request.fault)) {
        return Err(format!("`{}` is not allowed: only {} are", request.fault, spec.allow_faults.join(", ")));
    }
    let caps = &spec.caps;
    if let Some(cap) = caps.targets.filter(|cap| request.chosen > *cap as usize) {
        return Err(format!("{} targets are more than the {cap} that are allowed", request.chosen));
    }
    let share = request.chosen as f64 * 100.0 / request.matched.max(1) as f64;
    if let Some(cap) = caps.percent.filter(|cap| share > cap.0 + 1e-9) {
        return Err(format!("{} of {} matches is more than the {cap} that are allowed", request.chosen, request.matched));
    }
    if let (Some(cap), Some(time)) = (caps.duration, request.duration.filter(|time| caps.duration.is_some_and(|cap| *time > cap))) {
        return Err(format!("a time box of {time} is longer than the {cap} that is allowed"));
    }
    if let Some(cap) = caps.faults.filter(|cap| request.in_force + request.chosen > *cap as usize) {
        return Err(format!("{} faults at the same time are more than the {cap} that are allowed", request.in_force + request.chosen));
    }
    Ok(())
}

/// A rule is a name, or a family such as `process.*`.
fn matches(rule: &str, fault: &str) -> bool {
    rule.strip_suffix(".*").map_or(rule == fault, |family| fault.split('.').next() == Some(family))
}

#[cfg(test)]
mod tests {
    use squall_model::{Caps, Percent, PolicySpec, Time};

    use super::*;

    fn policy(caps: Caps, deny: &[&str]) -> PolicySpec {
        PolicySpec { caps, deny_faults: deny.iter().map(|s| (*s).to_owned()).collect(), ..PolicySpec::default() }
    }

    fn request(chosen: usize, matched: usize, seconds: u64, in_force: usize) -> GateRequest<'static> {
        GateRequest { fault: "process.kill", targets: &[], matched, chosen, duration: Some(Time::from_secs(seconds)), in_force }
    }

    #[test]
    fn every_cap_is_a_limit_that_may_be_reached_but_not_passed() {
        let targets = policy(Caps { targets: Some(2), ..Caps::default() }, &[]);
        assert!(within_limits(&targets, &request(2, 9, 1, 0)).is_ok() && within_limits(&targets, &request(3, 9, 1, 0)).is_err());
        let percent = policy(Caps { percent: Some(Percent(50.0)), ..Caps::default() }, &[]);
        assert!(within_limits(&percent, &request(2, 4, 1, 0)).is_ok() && within_limits(&percent, &request(3, 4, 1, 0)).is_err());
        let duration = policy(Caps { duration: Some(Time::from_secs(5)), ..Caps::default() }, &[]);
        assert!(within_limits(&duration, &request(1, 1, 5, 0)).is_ok() && within_limits(&duration, &request(1, 1, 6, 0)).is_err());
        let faults = policy(Caps { faults: Some(2), ..Caps::default() }, &[]);
        assert!(within_limits(&faults, &request(1, 1, 1, 1)).is_ok() && within_limits(&faults, &request(1, 1, 1, 2)).is_err());
    }

    #[test]
    fn a_family_is_denied_as_a_whole() {
        assert!(within_limits(&policy(Caps::default(), &["process.*"]), &request(1, 1, 1, 0)).is_err());
        assert!(within_limits(&policy(Caps::default(), &["cpu.*", "process.pause"]), &request(1, 1, 1, 0)).is_ok());
    }

    fn rule(name: &str, when: &str, approvals: Option<u32>) -> Rule {
        let deny = approvals.is_none().then(|| "no".to_owned());
        Rule { name: name.into(), when: squall_model::Condition::new(when).expect("a condition"), deny, approvals }
    }

    fn ruled(rules: Vec<Rule>) -> PolicySpec {
        PolicySpec { rules, ..PolicySpec::default() }
    }

    fn on_production() -> Vec<crate::Target> {
        let facts = json!({ "host": "h1", "labels": { "env": "production" } });
        vec![crate::Target { kind: "process".into(), id: "p1".into(), label: "payments".into(), facts }]
    }

    #[test]
    fn a_rule_denies_what_its_condition_is_true_of_and_names_itself() {
        let spec = ruled(vec![rule("no kills by schedules", "fault.kind == 'process.kill' && who.cause == 'schedule'", None)]);
        let by = |cause: &str| RunFacts { cause: cause.into(), ..RunFacts::default() };
        assert_eq!(within_policy(&spec, &request(1, 1, 1, 0), &by("person")), Ok(()));
        let denied = within_policy(&spec, &request(1, 1, 1, 0), &by("schedule")).expect_err("denied").by("team", "");
        assert_eq!(denied.to_string(), "rule `no kills by schedules`: no (policy team)");
    }

    #[test]
    fn the_rule_that_wants_the_most_approvals_is_named_until_there_are_enough() {
        let production = "targets.exists(t, has(t.labels.env) && t.labels.env == 'production')";
        let spec = ruled(vec![
            rule("one", "true", Some(1)),
            rule("production", production, Some(2)),
            rule("disks", "fault.family == 'disk'", Some(3)),
        ]);
        let targets = on_production();
        let step = GateRequest { targets: &targets, ..request(1, 1, 1, 0) };
        let with = |approvals: Option<u32>| within_policy(&spec, &step, &RunFacts { approvals, ..RunFacts::default() });
        let denied = with(Some(1)).expect_err("one is not enough");
        assert_eq!(denied.to_string(), "rule `production` wants 2 approvals and there are 1");
        assert_eq!(denied.approvals.map(|need| (need.wanted, need.have)), Some((2, 1)));
        assert_eq!(with(Some(2)), Ok(()));
        let nobody = with(None).expect_err("nobody to ask");
        assert_eq!((nobody.approvals.clone(), nobody.to_string().contains("only a server")), (None, true));
    }

    #[test]
    fn a_rule_without_an_answer_keeps_the_gate_shut() {
        let spec = ruled(vec![rule("label", "experiment.labels.team == 'a'", None)]);
        let denied = within_policy(&spec, &request(1, 1, 1, 0), &RunFacts::default()).expect_err("no such label");
        assert!(denied.to_string().starts_with("rule `label`: the condition"), "{denied}");
    }
}
