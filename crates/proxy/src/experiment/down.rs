//! `proxy.down`: nothing listens any more.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use squall_engine::{
    Claim, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, Undone,
    VerifyError,
};
use squall_undo::Armed;

use super::placed::{Placed, What};
use super::target::ProxyFacts;

/// Disables the proxy.
#[derive(Debug)]
pub(super) struct Down;

/// Nothing to choose.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DownArgs {}

impl Fault for Down {
    type Args = DownArgs;
    type Undo = Placed;

    const META: Meta = Meta {
        name: "proxy.down",
        family: "proxy",
        summary: "Drops every connection of the proxy and refuses new ones",
        example: "\
fault: proxy.down
target: { proxy: { name: payments } }
for: 30s
",
        targets: &["proxy"],
        needs: &[],
        undone: Undone::Ledger,
        lasting: true,
    };

    fn plan(&self, _: &DownArgs, target: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let facts = ProxyFacts::of(target)?;
        let mechanism = format!("disables it through {}", facts.api);
        let change = PlannedChange { what: facts.edge(), mechanism, undo: "enables it again, at the same address".into() };
        Ok(Plan { changes: vec![change], claims: vec![Claim(format!("{}:enabled", target.id))], irreversible: false })
    }

    async fn inject(&self, _: &DownArgs, target: &Target, cx: &Cx<'_, Placed>) -> Result<(), InjectError> {
        let facts = ProxyFacts::of(target).map_err(|error| InjectError::Failed(error.message))?;
        let placed = Placed::on(&facts, What::Disabled);
        if placed.look().await.is_ok_and(|effect| effect.in_force) {
            // Enabling it in the end would not put back what was there.
            return Err(InjectError::Failed(format!("proxy `{}` is disabled already", facts.name)));
        }
        let _armed = cx.arm(&placed)?;
        placed.place(&json!({ "enabled": false })).await
    }

    async fn verify(&self, undo: &Placed) -> Result<Effect, VerifyError> {
        undo.look().await
    }

    async fn revert(&self, undo: &Placed, _: &Armed) -> Result<Reverted, RevertError> {
        undo.remove().await
    }
}
