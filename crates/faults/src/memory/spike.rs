//! `memory.spike`: memory that goes up, stays, and falls.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_model::{Bytes, Time};
use squall_undo::Armed;

use super::resident;
use crate::stressor::{self, Carried, Launcher, Shape};

/// Spikes of memory.
#[derive(Debug, Clone, Default)]
pub struct MemorySpike {
    launcher: Launcher,
}

impl MemorySpike {
    /// With another program as the stressor.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

/// How high, how steep, how long.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemorySpikeArgs {
    /// How much is held at the top, such as `512MiB`.
    pub size: Bytes,
    /// How long it takes to get there; at once by default.
    #[serde(default)]
    pub rise: Time,
    /// How long it stays at the top before it is given back; until the step ends by default.
    #[serde(default)]
    pub hold: Option<Time>,
    /// From the start of one spike to the start of the next; one spike alone by default. Needs `hold`, and is longer than
    /// `rise` and `hold` together.
    #[serde(default)]
    pub every: Option<Time>,
    /// What always stays available on the host; the larger of 256 MiB and 5% by default. A plan that would leave less is
    /// refused.
    #[serde(default)]
    pub leave_free: Option<Bytes>,
}

impl Fault for MemorySpike {
    type Args = MemorySpikeArgs;
    type Undo = Carried;

    const META: Meta = Meta {
        name: "memory.spike",
        family: "memory",
        summary: "Takes memory in spikes: up within a time, held, given back, on the host or in a process's memory control group",
        example: "\
fault: memory.spike
target: { host: {} }
with: { size: 256MiB, rise: 2s, hold: 5s, every: 10s }
for: 1m
",
        targets: &["host", "process"],
        needs: &["pidfd"],
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &MemorySpikeArgs) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.size.0 == 0 {
            errors.push(ArgError::field("size", "a spike of nothing does nothing", Some("write an amount such as `512MiB`".to_owned())));
        }
        match (args.every, args.hold) {
            (Some(_), None) => {
                let hint = "add `hold`, such as `hold: 5s`".to_owned();
                errors.push(ArgError::field("every", "a spike that is never given back cannot come again", Some(hint)));
            }
            (Some(every), Some(hold)) if every.std() <= args.rise.std() + hold.std() => {
                let shortest = Time::from(args.rise.std() + hold.std());
                let message = format!("a spike every {every} begins before the last one is over");
                errors.push(ArgError::field("every", message, Some(format!("`rise` and `hold` take {shortest}: write more than that"))));
            }
            _ => {}
        }
        errors
    }

    fn plan(&self, args: &MemorySpikeArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let hold = args.hold.map_or_else(|| "held to the end".to_owned(), |hold| format!("held for {hold}"));
        let every = args.every.map_or_else(String::new, |every| format!(", again every {every}"));
        let how = format!("takes {} within {}, {hold}{every}", args.size, args.rise);
        resident::plan(Some(args.size.0), &how, args.leave_free, target, host)
    }

    async fn inject(&self, args: &MemorySpikeArgs, target: &Target, cx: &Cx<'_, Carried>) -> Result<(), InjectError> {
        let shape =
            Shape::Spike { size: args.size.0, rise: args.rise.std(), hold: args.hold.map(Time::std), every: args.every.map(Time::std) };
        resident::hold(&self.launcher, cx, resident::place(target)?, shape, args.leave_free).await
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
    fn spikes_that_cannot_come_again_are_refused_with_a_hint() {
        let check = |json| MemorySpike::default().check(&serde_json::from_value(json).expect("arguments"));
        assert!(check(serde_json::json!({ "size": "1MiB", "rise": "1s", "hold": "1s", "every": "3s" })).is_empty());
        for bad in [
            serde_json::json!({ "size": 0 }),
            serde_json::json!({ "size": "1MiB", "every": "3s" }),
            serde_json::json!({ "size": "1MiB", "rise": "2s", "hold": "1s", "every": "3s" }),
        ] {
            let errors = check(bad.clone());
            assert!(errors.len() == 1 && errors[0].hint.is_some(), "{bad}: {errors:?}");
        }
    }
}
