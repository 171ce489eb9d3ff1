//! What a run would touch, found out without touching anything: `squall plan`, and what `squall run` refuses.

use serde::Serialize;
use squall_model::Time;

use crate::driver::{Groups, matches, shuffled, unmet, wanted};
use crate::program::{FaultNode, Node, NodeKind};
use crate::{ApprovalNeed, Gate, GateRequest, HostFacts, PlannedChange, Program, Registry};

/// What a run would touch.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Each fault step, in the order of the manifest.
    pub steps: Vec<StepPreview>,
    /// The longest time that the method takes if nothing hangs.
    pub longest: Time,
}

/// What one step would touch.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepPreview {
    /// The step's name.
    pub name: String,
    /// Its path in the manifest.
    pub path: String,
    /// The kind of fault.
    pub fault: String,
    /// Its time box.
    pub duration: Option<Time>,
    /// How many match its selector.
    pub matched: usize,
    /// Matches that are protected and so left alone.
    pub protected: usize,
    /// What would be touched with what matches now, in the order in which the seed takes them.
    pub targets: Vec<TargetPreview>,
    /// Labels of those that would be its control group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub control: Vec<String>,
    /// What stands in the way. Nothing may, for the run to begin.
    pub refusals: Vec<String>,
    /// Where people have to approve it first: who stands in the way is one of the refusals, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<ApprovalNeed>,
}

/// What would happen to one target.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetPreview {
    /// Its id.
    pub id: String,
    /// For people.
    pub label: String,
    /// Each thing that would change, with which mechanism, and how it is undone.
    pub changes: Vec<PlannedChange>,
    /// What nobody else may use meanwhile.
    pub claims: Vec<String>,
    /// There is no way back.
    pub irreversible: bool,
}

impl Preview {
    /// Everything that stands in the way, with the name of its step.
    pub fn refusals(&self) -> Vec<String> {
        self.steps.iter().flat_map(|s| s.refusals.iter().map(|r| format!("{}: {r}", s.name))).collect()
    }

    /// Looks at the host and plans every fault step. Changes nothing.
    pub async fn make(program: &Program, registry: &Registry, gate: &dyn Gate, host: &HostFacts, seed: u64) -> Self {
        let (mut steps, mut groups) = (Vec::new(), Groups::default());
        for (index, node) in program.nodes.iter().enumerate() {
            if let NodeKind::Fault(fault) = &node.kind {
                let order = Order { program, index, seed, groups: &mut groups };
                steps.push(step(order, node, fault, registry, gate, host).await);
            }
        }
        Self { steps, longest: program.longest() }
    }
}

/// How a step comes to its targets.
struct Order<'a> {
    program: &'a Program,
    index: usize,
    seed: u64,
    groups: &'a mut Groups,
}

async fn step(
    Order { program, index, seed, groups }: Order<'_>,
    node: &Node,
    fault: &FaultNode,
    registry: &Registry,
    gate: &dyn Gate,
    host: &HostFacts,
) -> StepPreview {
    let mut preview = StepPreview {
        name: node.name.clone(),
        path: node.path.clone(),
        fault: fault.fault.clone(),
        duration: fault.duration,
        matched: 0,
        protected: 0,
        targets: Vec::new(),
        control: Vec::new(),
        refusals: Vec::new(),
        approvals: None,
    };
    let Some(kind) = registry.fault(&fault.fault) else {
        preview.refusals.push(format!("`{}` is not a kind of fault", fault.fault));
        return preview;
    };
    let found = match matches(registry, gate, fault).await {
        Ok(found) => found,
        Err(error) => {
            preview.refusals.push(error);
            return preview;
        }
    };
    preview.matched = found.targets.len();
    preview.protected = found.protected;
    // A ramp ends with its last stage; a random count is shown at its most, so that nothing comes as a surprise.
    let percent = fault.stages.last().copied().flatten();
    let most = 1.0 - f64::EPSILON;
    let Some(count) = wanted(fault, percent, preview.matched, most) else {
        preview.refusals.push(unmet(fault, percent, preview.matched, preview.protected));
        return preview;
    };
    let (order, control) = match groups.choose(index, fault, shuffled(found.targets, seed, index, 1), count, count) {
        Ok(chosen) => chosen,
        Err(error) => {
            preview.refusals.push(error);
            return preview;
        }
    };
    if let Err(refusal) = program.questions(index, registry, &order, &control) {
        preview.refusals.push(refusal);
    }
    preview.control = control.into_iter().map(|target| target.label).collect();
    let chosen = order.len();
    let request =
        GateRequest { fault: &fault.fault, targets: &order, matched: preview.matched, chosen, duration: fault.duration, in_force: 0 };
    if let Err(denied) = gate.allow(&request) {
        preview.refusals.push(denied.message);
        preview.approvals = denied.approvals;
    }
    for target in order {
        match kind.plan(&fault.with, &target, host).await {
            Ok(plan) => {
                if plan.irreversible && !fault.accept_irreversible {
                    let refusal =
                        format!("{} cannot be undone on {}; write `acceptIrreversible: true` if that is meant", fault.fault, target.label);
                    preview.refusals.push(refusal);
                }
                let claims = plan.claims.into_iter().map(|c| c.0).collect();
                let (id, label) = (target.id, target.label);
                preview.targets.push(TargetPreview { id, label, changes: plan.changes, claims, irreversible: plan.irreversible });
            }
            Err(error) => {
                let hint = error.hint.map(|h| format!("; {h}")).unwrap_or_default();
                preview.refusals.push(format!("{}: {}{hint}", target.label, error.message));
            }
        }
    }
    preview
}
