//! The host's own limits, which no server can widen: they are looked at here, with what the agent itself has found and has in force.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use squall_api::link::Inject;
use squall_engine::{Gate, GateRequest, Target};

/// Targets that are remembered as found.
const FOUND: usize = 8192;

/// The targets that this agent has found, which alone can be broken: what a server says of them counts for nothing.
#[derive(Default)]
pub(super) struct Found {
    /// By id; with how many were found together with it.
    targets: HashMap<String, (Target, usize)>,
    order: VecDeque<String>,
}

impl Found {
    pub fn remember(&mut self, targets: &[Target]) {
        for target in targets {
            if self.targets.insert(target.id.clone(), (target.clone(), targets.len())).is_none() {
                self.order.push_back(target.id.clone());
            }
        }
        while self.order.len() > FOUND {
            if let Some(oldest) = self.order.pop_front() {
                self.targets.remove(&oldest);
            }
        }
    }

    pub fn get(&self, id: &str) -> Option<(Target, usize)> {
        self.targets.get(id).cloned()
    }
}

/// What is in force on this host.
pub(super) struct InForce {
    /// Of the same run and kind of fault.
    pub alike: usize,
    /// All, of every run.
    pub all: usize,
}

/// How long after the end of its time box a fault may still be there before the agent itself puts it back.
const AFTER_ITS_TIME: Duration = Duration::from_secs(2);

/// How long a fault may stay at most: a policy that allows so long a time box is not widened by what else the server says.
pub(super) fn longest(inject: &Inject) -> Duration {
    let boxed = inject.duration.map(|duration| duration.std() + AFTER_ITS_TIME);
    boxed.map_or(inject.latest.std(), |boxed| boxed.min(inject.latest.std() + AFTER_ITS_TIME))
}

/// Whether the host's policies let a fault in. The targets that a run has under the same kind of fault count as those of one step.
pub(super) fn allow(gate: &dyn Gate, inject: &Inject, target: &Target, matched: usize, now: &InForce) -> Result<(), String> {
    if let Some(why) = gate.protected(target) {
        return Err(format!("{} must not be touched: {why}", target.label));
    }
    let chosen = now.alike + 1;
    let request = GateRequest {
        fault: &inject.fault,
        targets: std::slice::from_ref(target),
        matched: matched.max(chosen),
        chosen,
        duration: Some(inject.duration.unwrap_or(inject.latest)),
        in_force: now.all - now.alike,
    };
    gate.allow(&request).map_err(|denied| denied.message)
}
