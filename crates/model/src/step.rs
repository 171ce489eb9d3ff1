//! The method: faults one after another, in parallel, delayed, repeated, ramped, suspended or on a condition.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Expectation, Percent, Target, Time};

/// One step of the method. Exactly one of `fault`, `parallel`, `sequence`, `wait`, `suspend` says what it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// For people; unique within the experiment. Made from the fault's name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The kind of fault, such as `process.pause`; `squall explain faults` lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What the fault is applied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The fault's own arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Value>,
    /// How long the fault is in force: its time box. Required for every fault that lasts.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Time>,
    /// Accepts, in writing, that this fault cannot be undone.
    #[serde(default, rename = "acceptIrreversible", skip_serializing_if = "std::ops::Not::not")]
    pub accept_irreversible: bool,
    /// Wait this long before the step starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Time>,
    /// Do the step more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
    /// Do the fault with a growing share of the targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// How many of its targets the step needs, all by default. With a part of them, a target where the fault cannot be put in force, has no
    /// effect or is put back before its time is left out, as long as enough others are left; and a step without a time box is over as
    /// soon as enough are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// Do the step only if this holds when its turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// These at the same time; the step ends with the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Vec<Step>>,
    /// These one after another, as one step of a parallel group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Vec<Step>>,
    /// Do nothing for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Time>,
    /// Stop here until a person says go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
}

/// What a step is, once it is known to be exactly one thing.
#[derive(Debug, Clone, Copy)]
pub enum Group<'a> {
    /// A fault.
    Fault(FaultStep<'a>),
    /// Steps at the same time.
    Parallel(&'a [Step]),
    /// Steps one after another.
    Sequence(&'a [Step]),
    /// A pause.
    Wait(Time),
    /// A stop for a person.
    Suspend(&'a Suspend),
}

/// The parts of a step that is a fault.
#[derive(Debug, Clone, Copy)]
pub struct FaultStep<'a> {
    /// The kind of fault.
    pub fault: &'a str,
    /// What it is applied to.
    pub target: Option<&'a Target>,
    /// Its arguments.
    pub with: Option<&'a Value>,
    /// Its time box.
    pub duration: Option<Time>,
}

impl Step {
    /// What the step is. `None` where it is nothing, or more than one thing.
    pub fn group(&self) -> Option<Group<'_>> {
        let mut found = Vec::with_capacity(1);
        if let Some(fault) = &self.fault {
            found.push(Group::Fault(FaultStep { fault, target: self.target.as_ref(), with: self.with.as_ref(), duration: self.duration }));
        }
        if let Some(steps) = &self.parallel {
            found.push(Group::Parallel(steps));
        }
        if let Some(steps) = &self.sequence {
            found.push(Group::Sequence(steps));
        }
        if let Some(time) = self.wait {
            found.push(Group::Wait(time));
        }
        if let Some(suspend) = &self.suspend {
            found.push(Group::Suspend(suspend));
        }
        if found.len() == 1 { found.pop() } else { None }
    }
}

/// How many of the targets of a step have to be under its fault.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Quorum {
    /// Every one.
    All,
    /// So many; all where there are not as many.
    Count(u32),
    /// This share of them, rounded up.
    Percent(Percent),
}

impl Quorum {
    /// How many of so many targets.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is within the count")]
    pub fn of(self, targets: usize) -> usize {
        match self {
            Self::All => targets,
            Self::Count(count) => targets.min(count as usize),
            Self::Percent(percent) => targets.min(((targets as f64 * percent.share()) - 1e-9).ceil().max(1.0) as usize),
        }
    }
}

/// How often a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// In all, from 1.
    pub times: u32,
    /// Time between the end of one and the start of the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Time>,
}

/// Escalation: the fault with a growing share of its targets, each stage adding to the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The share of the matching targets at each stage, growing: `[10%, 50%, 100%]`.
    pub percent: Vec<Percent>,
    /// How long each stage lasts before the next. The last one lasts until the step's `for` is over.
    pub every: Time,
}

/// A stop for a person: the run waits for `squall continue`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Suspend {
    /// What the person should look at.
    pub message: String,
    /// The longest time to wait. Faults of parallel steps keep their own time boxes.
    pub timeout: Time,
    /// What to do then, by default abort.
    #[serde(default)]
    pub on_timeout: SuspendTimeout,
}

/// What to do when nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SuspendTimeout {
    /// Revert everything and end as aborted.
    #[default]
    Abort,
    /// Go on as if somebody had said so.
    Continue,
}

/// A condition on the last value of a probe. "Could not measure" does not satisfy it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The name of a probe in `hypothesis.probes`.
    pub probe: String,
    /// The step is done if the last value satisfies this, and skipped otherwise.
    pub is: Expectation,
}
