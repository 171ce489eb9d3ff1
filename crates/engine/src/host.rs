//! What is known of the host: a table of named facts, each probed once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use squall_model::Bytes;

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
