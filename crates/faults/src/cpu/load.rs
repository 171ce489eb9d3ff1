//! `cpu.load`: an exact share of cores, burnt by a stressor.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, Undone,
    VerifyError,
};
use squall_model::Percent;
use squall_sys::cgroup::Group;
use squall_sys::cpu_time;
use squall_undo::Armed;

use crate::stressor::{self, Carried, CpuJob, Job, Launcher, Meaning, TargetProcess, blocking, claim};

/// Loads CPU cores to an exact share.
#[derive(Debug, Clone, Default)]
pub struct CpuLoad {
    launcher: Launcher,
}

impl CpuLoad {
    /// With another program as the stressor.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

/// What to load, and how much.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuLoadArgs {
    /// The share of each chosen core, such as `50%`. In every second after the first it is kept within 2 points, as far as
    /// the core has that much left to give.
    pub load: Percent,
    /// Which cores: `all` (that Squall, or the target process, may run on), `2` (the first two of those), or `[0, 2]` (by
    /// number).
    #[serde(default)]
    pub cores: Cores,
    /// `own`: the fault uses this share by itself, on top of what others use. `host`: each chosen core is brought to this
    /// share in all; the fault adds only what others leave missing, and nothing while they use more.
    #[serde(default)]
    pub meaning: Meaning,
}

/// Which cores: `all`, a number of them, or a list of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cores {
    /// Every core that Squall, or the target process, may run on.
    #[default]
    All,
    /// The first so many of those.
    Count(usize),
    /// These, by their numbers from 0.
    List(Vec<usize>),
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Cores;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, a number of cores such as 2, or a list of core numbers such as [0, 1]")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cores, E> {
                if text == "all" { Ok(Cores::All) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Cores, E> {
                usize::try_from(count).map(Cores::Count).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Cores, A::Error> {
                let mut list = Vec::new();
                while let Some(core) = seq.next_element()? {
                    list.push(core);
                }
                Ok(Cores::List(list))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Cores {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cores".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Which cores: `all`, a number of them, or a list of their numbers from 0.",
            "oneOf": [
                { "const": "all" },
                { "type": "integer", "minimum": 1 },
                { "type": "array", "items": { "type": "integer", "minimum": 0 }, "minItems": 1, "uniqueItems": true }
            ],
            "examples": ["all", 2, [0, 1]]
        })
    }
}

impl Cores {
    fn pick(&self, allowed: &[usize]) -> Result<Vec<usize>, String> {
        let numbers: Vec<String> = allowed.iter().map(usize::to_string).collect();
        match self {
            Self::All => Ok(allowed.to_vec()),
            Self::Count(count) => allowed
                .get(..*count)
                .map(<[usize]>::to_vec)
                .ok_or_else(|| format!("{count} cores were asked for and {} may be used: {}", allowed.len(), numbers.join(", "))),
            Self::List(list) => match list.iter().find(|core| !allowed.contains(core)) {
                Some(core) => Err(format!("core {core} may not be used; those that may: {}", numbers.join(", "))),
                None => Ok(list.clone()),
            },
        }
    }

    fn describe(&self, host: &HostFacts) -> String {
        match self {
            Self::All => format!("all {} cores", host.cores),
            Self::Count(1) => "one core".into(),
            Self::Count(count) => format!("{count} cores"),
            Self::List(list) => format!("core {}", list.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Fault for CpuLoad {
    type Args = CpuLoadArgs;
    type Undo = Carried;

    const META: Meta = Meta {
        name: "cpu.load",
        family: "cpu",
        summary: "Loads CPU cores to an exact share, on the host or in a process's control groups",
        example: "\
fault: cpu.load
target: { host: {} }
with: { load: 50%, cores: all, meaning: own }
for: 30s
",
        targets: &["host", "process"],
        needs: &["pidfd"],
        undone: Undone::Child,
        lasting: true,
    };

    fn check(&self, args: &CpuLoadArgs) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.load.0 <= 0.0 {
            errors.push(ArgError::field("load", "a load of 0% does nothing", Some("write a share such as `50%`".to_owned())));
        }
        let hint = || Some("write `all`, a number of cores such as `2`, or a list such as `[0, 1]`".to_owned());
        match &args.cores {
            Cores::Count(0) => errors.push(ArgError::field("cores", "no core at all", hint())),
            Cores::List(list) if list.is_empty() => errors.push(ArgError::field("cores", "an empty list of cores", hint())),
            Cores::List(list) => {
                if let Some(twice) = list.iter().enumerate().find_map(|(i, core)| list[..i].contains(core).then_some(core)) {
                    errors.push(ArgError::field("cores", format!("core {twice} is listed twice"), Some("name each core once".to_owned())));
                }
            }
            Cores::All | Cores::Count(_) => {}
        }
        errors
    }

    fn plan(&self, args: &CpuLoadArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let plan_error = |message: String, hint: &str| PlanError { message, hint: Some(hint.to_owned()) };
        let process = TargetProcess::of(target).map_err(|message| PlanError { message, hint: None })?;
        if let Cores::Count(count) = args.cores
            && count > host.cores
        {
            return Err(plan_error(format!("{count} cores were asked for and {} may be used", host.cores), "write `cores: all`"));
        }
        if process.is_some() && args.meaning == Meaning::Host {
            let message = "`meaning: host` is about the whole host, and the target is a process".to_owned();
            return Err(plan_error(message, "write `meaning: own`, or `target: { host: {} }`"));
        }
        let cores = args.cores.describe(host);
        let what = match process {
            Some(_) => format!("CPU time of {cores}, within the control groups of {}", target.label),
            None => format!("CPU time of {cores} of this host"),
        };
        let share = match args.meaning {
            Meaning::Own => format!("{} of each core by itself", args.load),
            Meaning::Host => format!("what is missing on each core to {} in all", args.load),
        };
        let mechanism = format!("a child process with one pinned thread a core uses {share}");
        let undo = "the child is killed; it dies with Squall, and ends by itself at the end of `for`".to_owned();
        Ok(Plan { changes: vec![PlannedChange { what, mechanism, undo }], claims: vec![claim(target, "cpu")], irreversible: false })
    }

    async fn inject(&self, args: &CpuLoadArgs, target: &Target, cx: &Cx<'_, Carried>) -> Result<(), InjectError> {
        let process = TargetProcess::of(target).map_err(InjectError::Failed)?;
        let groups = match process {
            Some(process) if !process.is_there() => return Err(InjectError::TargetGone(target.label.clone())),
            Some(process) => process
                .groups(&["cpuset", "cpu", "cpuacct"])
                .map_err(|e| InjectError::Failed(format!("the control groups of {}: {e}", target.label)))?,
            None => Vec::new(),
        };
        let allowed = cpu_time::allowed_cores(process.map(|p| p.pid)).map_err(|e| InjectError::Failed(format!("affinity: {e}")))?;
        let cores = args.cores.pick(&allowed).map_err(InjectError::Failed)?;
        let job = CpuJob { percent: args.load.0, cores, meaning: args.meaning, seed: cx.seed };
        self.launcher.carry(cx, Job::Cpu(job), groups).await
    }

    async fn verify(&self, undo: &Carried) -> Result<Effect, VerifyError> {
        let undo = undo.clone();
        let Job::Cpu(job) = undo.job.clone() else { return Err(VerifyError("the undo is not of a CPU load".into())) };
        let looked = blocking(move || look(&undo.marker, &job)).await.map_err(VerifyError)?;
        looked.map_err(|e| VerifyError(format!("CPU time cannot be read: {e}")))
    }

    async fn revert(&self, undo: &Carried, armed: &Armed) -> Result<Reverted, RevertError> {
        stressor::reverted(undo, armed, "CPU load").await
    }
}

/// How long to watch. 20 to 35 of the stressor's periods.
const WATCH: Duration = Duration::from_millis(250);
/// How far a short look may be from what was asked, as a share of a core.
const SLACK: f64 = 0.05;

/// Measures the stressor and its cores for [`WATCH`].
fn look(marker: &str, job: &CpuJob) -> std::io::Result<Effect> {
    let Some(pid) = squall_sys::stressor::find(marker)?.first().copied() else {
        return Ok(Effect { in_force: false, evidence: format!("there is no stressor {marker}") });
    };
    let mut usage = cpu_time::CoreUsage::open()?;
    let mut busy = || -> std::io::Result<f64> { job.cores.iter().map(|core| Ok(usage.busy(*core)?.as_secs_f64())).sum() };
    let throttled = || Group::governing(pid, "cpu").ok().flatten().map_or(0, |group| group.throttled());
    let (own, all, held_back, start) = (cpu_time::of_process(pid)?, busy()?, throttled(), cpu_time::monotonic());
    std::thread::sleep(WATCH);
    let own = cpu_time::of_process(pid)?.saturating_sub(own).as_secs_f64();
    let (all, held_back) = (busy()? - all, throttled() - held_back);
    let capacity = cpu_time::monotonic().saturating_sub(start).as_secs_f64() * job.cores.len() as f64;
    Ok(judge(job, pid, own / capacity, (all / capacity).min(1.0), held_back))
}

/// What the shares mean: the stressor's own, and the cores' in all.
fn judge(job: &CpuJob, pid: u32, own: f64, all: f64, throttled: u64) -> Effect {
    let asked = job.percent / 100.0;
    let (measured, what) = match job.meaning {
        Meaning::Own => (own, format!("stressor {pid} uses {:.1}% of each of {} cores", own * 100.0, job.cores.len())),
        Meaning::Host => (all, format!("{} cores are {:.1}% busy, {:.1}% by stressor {pid}", job.cores.len(), all * 100.0, own * 100.0)),
    };
    let (in_force, why) = if measured >= asked - SLACK.min(asked / 2.0) {
        (true, String::new())
    } else if all >= 0.95 {
        (true, format!("; no more is to be had, the cores are {:.0}% busy", all * 100.0))
    } else if throttled > 0 {
        (true, "; no more is to be had, its control group is throttled at its limit".into())
    } else {
        (false, String::new())
    };
    Effect { in_force, evidence: format!("{what} (asked for {}%){why}", job.percent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(yaml: serde_json::Value) -> CpuLoadArgs {
        serde_json::from_value(yaml).expect("arguments")
    }

    #[test]
    fn cores_are_all_a_count_or_a_list() {
        let allowed = [1, 2, 5];
        assert_eq!(Cores::All.pick(&allowed), Ok(vec![1, 2, 5]));
        assert_eq!(args(serde_json::json!({ "load": "50%", "cores": 2 })).cores.pick(&allowed), Ok(vec![1, 2]));
        assert_eq!(args(serde_json::json!({ "load": 50, "cores": [5] })).cores.pick(&allowed), Ok(vec![5]));
        assert_eq!(Cores::Count(4).pick(&allowed), Err("4 cores were asked for and 3 may be used: 1, 2, 5".into()));
        assert_eq!(Cores::List(vec![0]).pick(&allowed), Err("core 0 may not be used; those that may: 1, 2, 5".into()));
    }

    #[test]
    fn useless_arguments_are_refused_with_a_hint() {
        for bad in [
            serde_json::json!({ "load": "0%" }),
            serde_json::json!({ "load": 50, "cores": 0 }),
            serde_json::json!({ "load": 50, "cores": [] }),
            serde_json::json!({ "load": 50, "cores": [1, 1] }),
        ] {
            let errors = CpuLoad::default().check(&args(bad.clone()));
            assert!(errors.len() == 1 && errors[0].hint.is_some(), "{bad}: {errors:?}");
        }
    }

    #[test]
    fn a_load_is_in_force_when_it_is_there_or_when_no_more_is_to_be_had() {
        let job = CpuJob { percent: 50.0, cores: vec![0], meaning: Meaning::Own, seed: 0 };
        assert!(judge(&job, 1, 0.48, 0.5, 0).in_force);
        assert!(!judge(&job, 1, 0.30, 0.5, 0).in_force);
        assert!(judge(&job, 1, 0.33, 0.99, 0).in_force, "others take the rest");
        assert!(judge(&job, 1, 0.20, 0.2, 3).in_force, "throttled");
        let host = CpuJob { meaning: Meaning::Host, ..job };
        assert!(judge(&host, 1, 0.05, 0.5, 0).in_force, "others use most of it");
        assert!(!judge(&CpuJob { percent: 4.0, ..host }, 1, 0.0, 0.01, 0).in_force, "the slack never swallows a small load");
    }
}
