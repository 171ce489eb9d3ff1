//! The limits of this host: policy files, and what is protected anyway.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use squall_engine::{Denied, Gate, GateRequest, RunFacts, Target};
use squall_model::{Diagnostics, Policy};

use crate::context::CliError;
use crate::diagnostics;

/// The host's own policy. It cannot be switched off from the command line.
const HOST_POLICY: &str = "/etc/squall/policy.yaml";

/// Every policy that applies. Each has to agree.
#[derive(Debug, Default)]
pub struct Policies {
    policies: Vec<(PathBuf, Policy)>,
    run: RunFacts,
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
        Ok(Self { policies, run: RunFacts { cause: "agent".into(), ..RunFacts::default() } })
    }

    /// As they apply to this run.
    pub fn of(self, run: RunFacts) -> Self {
        Self { run, ..self }
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

    fn allow(&self, request: &GateRequest<'_>) -> Result<(), Denied> {
        for (path, policy) in &self.policies {
            squall_engine::within_policy(&policy.spec, request, &self.run)
                .map_err(|denied| denied.by(&policy.metadata.name, &format!(", {}", path.display())))?;
        }
        Ok(())
    }
}
