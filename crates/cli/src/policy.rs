//! The limits of this host: policy files, and what is protected anyway.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use squall_engine::{Gate, GateRequest, Target};
use squall_model::{Diagnostics, Policy};

use crate::context::CliError;
use crate::diagnostics;

/// The host's own policy. It cannot be switched off from the command line.
const HOST_POLICY: &str = "/etc/squall/policy.yaml";

/// Every policy that applies. Each has to agree.
#[derive(Debug, Default)]
pub struct Policies {
    policies: Vec<(PathBuf, Policy)>,
}

impl Policies {
    /// The host's policy if there is one, that of `SQUALL_POLICY`, and those of `--policy`.
    pub fn load(more: &[PathBuf]) -> anyhow::Result<Self> {
        let mut policies = Vec::new();
        let host = Path::new(HOST_POLICY);
        let from_env = std::env::var_os("SQUALL_POLICY").filter(|v| !v.is_empty()).map(PathBuf::from);
        let paths = host.exists().then(|| host.to_owned()).into_iter().chain(from_env).chain(more.iter().cloned());
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|e| {
                CliError::usage(
                    format!("the policy {} cannot be read: {e}", path.display()),
                    Some("without it nothing may run; put it back, or fix its permissions".to_owned()),
                )
            })?;
            let (policy, _) = squall_model::parse_policy(&text)
                .map_err(|found: Diagnostics| diagnostics::error(&path.display().to_string(), &text, found))?;
            policies.push((path, policy));
        }
        Ok(Self { policies })
    }

    /// Whether experiments may run at this time. An error says which policy speaks against it, and when they may.
    pub fn allow_now(&self, now: Timestamp) -> Result<(), String> {
        for (path, policy) in &self.policies {
            squall_model::calendar::allowed(&policy.spec, now).map_err(|why| format!("{}: {why}", path.display()))?;
        }
        Ok(())
    }

    /// The names and files of the policies that apply.
    pub fn names(&self) -> Vec<String> {
        self.policies.iter().map(|(path, policy)| format!("{} ({})", policy.metadata.name, path.display())).collect()
    }
}

impl Gate for Policies {
    fn protected(&self, target: &Target) -> Option<String> {
        self.policies.iter().find_map(|(path, policy)| {
            let entry = policy.spec.protected.iter().find(|p| squall_faults::is_protected(p, target))?;
            Some(format!("{} protects {}", path.display(), entry.name.as_deref().unwrap_or(&target.label)))
        })
    }

    fn allow(&self, request: &GateRequest<'_>) -> Result<(), String> {
        for (path, policy) in &self.policies {
            allow(policy, request).map_err(|why| format!("{why} (policy {}, {})", policy.metadata.name, path.display()))?;
        }
        Ok(())
    }
}

fn allow(policy: &Policy, request: &GateRequest<'_>) -> Result<(), String> {
    let spec = &policy.spec;
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
    use squall_model::{Caps, Metadata, Percent, PolicySpec, Time};

    use super::*;

    fn policy(caps: Caps, deny: &[&str]) -> Policy {
        let spec = PolicySpec { caps, deny_faults: deny.iter().map(|s| (*s).to_owned()).collect(), ..PolicySpec::default() };
        Policy { api_version: "squall.dev/v1".into(), kind: "Policy".into(), metadata: Metadata::default(), spec }
    }

    fn request(chosen: usize, matched: usize, seconds: u64, in_force: usize) -> GateRequest<'static> {
        GateRequest { fault: "process.kill", matched, chosen, duration: Some(Time::from_secs(seconds)), in_force }
    }

    #[test]
    fn every_cap_is_a_limit_that_may_be_reached_but_not_passed() {
        let targets = policy(Caps { targets: Some(2), ..Caps::default() }, &[]);
        assert!(allow(&targets, &request(2, 9, 1, 0)).is_ok() && allow(&targets, &request(3, 9, 1, 0)).is_err());
        let percent = policy(Caps { percent: Some(Percent(50.0)), ..Caps::default() }, &[]);
        assert!(allow(&percent, &request(2, 4, 1, 0)).is_ok() && allow(&percent, &request(3, 4, 1, 0)).is_err());
        let duration = policy(Caps { duration: Some(Time::from_secs(5)), ..Caps::default() }, &[]);
        assert!(allow(&duration, &request(1, 1, 5, 0)).is_ok() && allow(&duration, &request(1, 1, 6, 0)).is_err());
        let faults = policy(Caps { faults: Some(2), ..Caps::default() }, &[]);
        assert!(allow(&faults, &request(1, 1, 1, 1)).is_ok() && allow(&faults, &request(1, 1, 1, 2)).is_err());
    }

    #[test]
    fn a_family_is_denied_as_a_whole() {
        assert!(allow(&policy(Caps::default(), &["process.*"]), &request(1, 1, 1, 0)).is_err());
        assert!(allow(&policy(Caps::default(), &["cpu.*", "process.pause"]), &request(1, 1, 1, 0)).is_ok());
    }
}
