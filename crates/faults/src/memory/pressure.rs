//! `memory.pressure`: memory held at a size or a share.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_model::{Bytes, Percent};
use squall_undo::Armed;

use super::resident;
use crate::stressor::{self, Carried, Launcher, Meaning, Shape};

/// Holds memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryPressure {
    launcher: Launcher,
}

impl MemoryPressure {
    /// With another program as the stressor.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

/// How much to hold: exactly one of `size` and `percent`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryPressureArgs {
    /// An amount, such as `512MiB`.
    #[serde(default)]
    pub size: Option<Bytes>,
    /// A share of the host's memory, or of the target process's control-group limit where it has one, such as `30%`.
    #[serde(default)]
    pub percent: Option<Percent>,
    /// `own`: the fault holds this much by itself. `host`: the host's use (all but what is available) is brought to this
    /// much; the fault holds only what is missing, and gives way when others use more.
    #[serde(default)]
    pub meaning: Meaning,
    /// What always stays available on the host; the larger of 256 MiB and 5% by default. A plan that would leave less is
    /// refused.
    #[serde(default)]
    pub leave_free: Option<Bytes>,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an amount is within the amount")]
fn share(percent: Percent, whole: u64) -> u64 {
    (whole as f64 * percent.share()) as u64
}

impl MemoryPressureArgs {
    /// In bytes, of a whole.
    fn amount(&self, whole: u64) -> u64 {
        self.size.map_or_else(|| self.percent.map_or(0, |percent| share(percent, whole)), |size| size.0)
    }

    fn describe(&self) -> String {
        self.size.map_or_else(|| self.percent.unwrap_or_default().to_string(), |size| size.to_string())
    }
}

impl Fault for MemoryPressure {
    type Args = MemoryPressureArgs;
    type Undo = Carried;

    const META: Meta = Meta {
        name: "memory.pressure",
        family: "memory",
        summary: "Holds memory at a size or a share, on the host or in a process's memory control group",
        example: "\
fault: memory.pressure
target: { host: {} }
with: { size: 256MiB }
for: 30s
",
        targets: &["host", "process"],
        needs: &["pidfd"],
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &MemoryPressureArgs) -> Vec<ArgError> {
        let hint = || Some("write one of them, such as `size: 512MiB` or `percent: 30%`".to_owned());
        match (args.size, args.percent) {
            (Some(Bytes(0)), None) => vec![ArgError::field("size", "holding nothing does nothing", hint())],
            (None, Some(percent)) if percent.0 <= 0.0 => vec![ArgError::field("percent", "holding nothing does nothing", hint())],
            (Some(_), None) | (None, Some(_)) => Vec::new(),
            (Some(_), Some(_)) => vec![ArgError::field("percent", "`size` and `percent` are two ways to say how much", hint())],
            (None, None) => {
                vec![ArgError { path: squall_model::Path::default(), message: "`size` or `percent` is missing".into(), hint: hint() }]
            }
        }
    }

    fn plan(&self, args: &MemoryPressureArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let process = target.kind == "process";
        if process && args.meaning == Meaning::Host {
            return Err(PlanError {
                message: "`meaning: host` is about the whole host, and the target is a process".into(),
                hint: Some("write `meaning: own`, or `target: { host: {} }`".into()),
            });
        }
        // A share of a process's limit is known when it is looked at, and checked then.
        let known = !(process && args.percent.is_some());
        let amount = args.amount(host.memory.0);
        let used = host.memory.0.saturating_sub(host.memory_available.0);
        let (most, how) = match args.meaning {
            Meaning::Own => (amount, format!("holds {} resident by itself", args.describe())),
            Meaning::Host => {
                (amount.saturating_sub(used), format!("holds what is missing until {} of the host are in use", args.describe()))
            }
        };
        resident::plan(known.then_some(most), &how, args.leave_free, target, host)
    }

    async fn inject(&self, args: &MemoryPressureArgs, target: &Target, cx: &Cx<'_, Carried>) -> Result<(), InjectError> {
        let place = resident::place(target)?;
        let amount = args.amount(place.whole);
        let shape = match args.meaning {
            Meaning::Own => Shape::Hold { size: amount },
            Meaning::Host => Shape::Bring { used: amount },
        };
        resident::hold(&self.launcher, cx, place, shape, args.leave_free).await
    }

    async fn verify(&self, undo: &Carried) -> Result<Effect, VerifyError> {
        resident::verify(undo).await
    }

    async fn revert(&self, undo: &Carried, armed: &Armed) -> Result<Reverted, RevertError> {
        stressor::reverted(undo, armed, "memory").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_of_size_and_percent_says_how_much() {
        let check = |json| MemoryPressure::default().check(&serde_json::from_value(json).expect("arguments"));
        assert!(check(serde_json::json!({ "size": "1MiB" })).is_empty());
        assert!(check(serde_json::json!({ "percent": 5 })).is_empty());
        for bad in [
            serde_json::json!({}),
            serde_json::json!({ "size": "1MiB", "percent": "5%" }),
            serde_json::json!({ "size": 0 }),
            serde_json::json!({ "percent": 0 }),
        ] {
            let errors = check(bad.clone());
            assert!(errors.len() == 1 && errors[0].hint.is_some(), "{bad}: {errors:?}");
        }
    }
}
