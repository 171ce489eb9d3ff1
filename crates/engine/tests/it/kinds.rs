//! Kinds for tests of the engine alone: they have arguments and types, and touch nothing.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    Cx, Effect, Fault, FindError, HostFacts, InjectError, Measure, Meta, Plan, PlanError, Probe, ProbeCx, ProbeMeta, Registry, RevertError,
    Reverted, Target, TargetKind, TargetMeta, Undone, VerifyError,
};
use squall_model::Dimension;
use squall_undo::Armed;

/// No arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct None {}

/// Nothing to undo.
#[derive(Debug, Serialize, Deserialize)]
pub struct Nothing {}

struct Lasting;

impl Fault for Lasting {
    type Args = None;
    type Undo = Nothing;
    const META: Meta = Meta {
        name: "test.lasting",
        family: "test",
        summary: "Stays until reverted.",
        example: "fault: test.lasting",
        targets: &["thing"],
        needs: &[],
        undone: Undone::Ledger,
        lasting: true,
    };

    fn plan(&self, _: &None, _: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        Ok(Plan { changes: Vec::new(), claims: Vec::new(), irreversible: false })
    }
    async fn inject(&self, _: &None, _: &Target, _: &Cx<'_, Nothing>) -> Result<(), InjectError> {
        Ok(())
    }
    async fn verify(&self, _: &Nothing) -> Result<Effect, VerifyError> {
        Ok(Effect { in_force: true, evidence: String::new() })
    }
    async fn revert(&self, _: &Nothing, _: &Armed) -> Result<Reverted, RevertError> {
        Ok(Reverted { how: String::new() })
    }
}

struct Number;

impl Probe for Number {
    type Args = None;
    const META: ProbeMeta = ProbeMeta { name: "number", summary: "A number.", from_anywhere: true, example: "number: {}" };

    fn dimension(&self, _: &None) -> Dimension {
        Dimension::Number
    }
    fn describe(&self, _: &None) -> String {
        "a number".into()
    }
    fn open(&self, _: None, _: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        Err("only for state tests".into())
    }
}

struct Thing;

impl TargetKind for Thing {
    type Selector = None;
    const META: TargetMeta = TargetMeta { name: "thing", summary: "A thing.", variables: &[], example: "thing: {}" };

    async fn find(&self, _: &None) -> Result<Vec<Target>, FindError> {
        Ok(Vec::new())
    }
}

/// A registry of these.
pub fn registry() -> Registry {
    Registry { faults: vec![Arc::new(Lasting)], probes: vec![Arc::new(Number)], targets: vec![Arc::new(Thing)] }
}
