//! What a policy says of a step, wherever it is asked: on the host of `squall run`, by an agent, by a server.

use squall_model::PolicySpec;

use crate::GateRequest;

/// Whether a policy allows a step. An error says which limit stands in the way.
pub fn within_policy(spec: &PolicySpec, request: &GateRequest<'_>) -> Result<(), String> {
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
        return Err(format!("{} of {} targets are more than the {cap} that are allowed", request.chosen, request.matched));
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
        GateRequest { fault: "process.kill", matched, chosen, duration: Some(Time::from_secs(seconds)), in_force }
    }

    #[test]
    fn every_cap_is_a_limit_that_may_be_reached_but_not_passed() {
        let targets = policy(Caps { targets: Some(2), ..Caps::default() }, &[]);
        assert!(within_policy(&targets, &request(2, 9, 1, 0)).is_ok() && within_policy(&targets, &request(3, 9, 1, 0)).is_err());
        let percent = policy(Caps { percent: Some(Percent(50.0)), ..Caps::default() }, &[]);
        assert!(within_policy(&percent, &request(2, 4, 1, 0)).is_ok() && within_policy(&percent, &request(3, 4, 1, 0)).is_err());
        let duration = policy(Caps { duration: Some(Time::from_secs(5)), ..Caps::default() }, &[]);
        assert!(within_policy(&duration, &request(1, 1, 5, 0)).is_ok() && within_policy(&duration, &request(1, 1, 6, 0)).is_err());
        let faults = policy(Caps { faults: Some(2), ..Caps::default() }, &[]);
        assert!(within_policy(&faults, &request(1, 1, 1, 1)).is_ok() && within_policy(&faults, &request(1, 1, 1, 2)).is_err());
    }

    #[test]
    fn a_family_is_denied_as_a_whole() {
        assert!(within_policy(&policy(Caps::default(), &["process.*"]), &request(1, 1, 1, 0)).is_err());
        assert!(within_policy(&policy(Caps::default(), &["cpu.*", "process.pause"]), &request(1, 1, 1, 0)).is_ok());
    }
}
