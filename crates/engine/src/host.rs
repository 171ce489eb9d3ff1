//! What is known of the host: a table of named facts, each probed once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use squall_model::Bytes;

use crate::{Meta, PlanError};

/// What faults may plan with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFacts {
    /// Cores that this process may run on.
    pub cores: usize,
    /// Physical memory.
    pub memory: Bytes,
    /// Memory that can be had without swapping (`MemAvailable`).
    pub memory_available: Bytes,
    /// Effective user id; 0 is root.
    pub uid: u32,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether the host can do something, by name: `pidfd`, `cgroup-v1`, `cgroup-v2`, `systemd`…
    pub features: BTreeMap<String, Feature>,
}

impl HostFacts {
    /// Whether the host has all that a fault needs. The error names the first feature that is missing, with what was found in its
    /// place and what to do about it; a feature that nobody has looked for is missing, too.
    pub fn has_needs_of(&self, meta: &Meta) -> Result<(), PlanError> {
        self.has(meta.name, meta.needs)
    }

    /// The same for needs that depend on a fault's arguments.
    pub fn has(&self, fault: &str, needs: &[&str]) -> Result<(), PlanError> {
        let lacking = |need: &&&str| !self.features.get(**need).is_some_and(|feature| feature.available);
        let Some(need) = needs.iter().find(lacking) else { return Ok(()) };
        let found = self.features.get(*need);
        let detail = found.map_or("nobody has looked whether it is there", |feature| &feature.detail);
        let hint = found.and_then(|feature| feature.hint.clone());
        Err(PlanError {
            message: format!("{fault} needs {need} of the host: {detail}"),
            hint: Some(hint.unwrap_or_else(|| "`squall doctor` says what this host can do".into())),
        })
    }
}

/// Whether the host can do something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// It can.
    pub available: bool,
    /// What was found, or what is missing.
    pub detail: String,
    /// What to do where it is missing and can be had.
    pub hint: Option<String>,
}
