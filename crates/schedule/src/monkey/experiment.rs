//! A kill as an experiment, so that it is judged, recorded and reverted like any other.

use std::collections::BTreeMap;

use squall_model::{Experiment, HostSelector, Metadata, Spec, Step, Target};

use super::{Kill, Monkey};

impl Monkey {
    /// The experiment that does a kill, to be run on its target. None for a monkey without a hypothesis (which is on the leash),
    /// and for a kill of a fault or a group that this monkey no longer has.
    pub fn experiment(&self, kill: &Kill) -> Option<Experiment> {
        let hypothesis = self.spec.hypothesis.clone()?;
        let rule = kill.group.split('/').next().and_then(|name| self.spec.groups.iter().find(|rule| rule.name == name))?;
        let fault = if rule.faults.is_empty() { &self.spec.faults } else { &rule.faults }.get(kill.fault)?.clone();
        let hosts = HostSelector { names: vec![kill.target.clone()], ..HostSelector::default() };
        let step = Step {
            name: Some(format!("{} on {}", fault.fault, kill.target)),
            fault: Some(fault.fault),
            target: Some(Target { hosts: Some(hosts), ..fault.target }),
            with: fault.with,
            duration: fault.duration,
            accept_irreversible: fault.accept_irreversible,
            ..Step::default()
        };
        let labels = BTreeMap::from([
            ("squall.dev/monkey".to_owned(), self.metadata.name.clone()),
            ("squall.dev/monkey-group".to_owned(), kill.group.clone()),
        ]);
        Some(Experiment {
            api_version: self.api_version.clone(),
            kind: "Experiment".into(),
            metadata: Metadata { name: self.metadata.name.clone(), labels, annotations: BTreeMap::new() },
            spec: Spec {
                hypothesis,
                traffic: Vec::new(),
                steady: self.spec.steady.clone(),
                method: vec![step],
                observe: None,
                guards: self.spec.guards.clone(),
                compare: Vec::new(),
                timeout: None,
                rollback: None,
                recovery: self.spec.recovery.clone(),
                seed: None,
                schedule: None,
            },
        })
    }
}
