//! What a fault is to the engine: plan, inject, verify, revert. One implementation is one file in `squall-faults`.

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_model::{InjectionId, Path, RunId, Time};
use squall_undo::{ArmError, Armed};

use crate::{HostFacts, Target};

/// A kind of failure. Adding one is one file with this implementation and one entry in its family's list; schema, help,
/// reference page and conformance tests come from it.
pub trait Fault: Send + Sync + 'static {
    /// What the user writes under `with`. The doc comments of its fields are the user's documentation.
    type Args: DeserializeOwned + JsonSchema + Send + Sync;
    /// All that is needed to put things back, from a fresh process.
    type Undo: Serialize + DeserializeOwned + Send + Sync;

    /// Name, family, summary, example.
    const META: Meta;

    /// Checks what the types cannot say. Each error names the argument by its path within `with`.
    fn check(&self, args: &Self::Args) -> Vec<ArgError> {
        let _ = args;
        Vec::new()
    }

    /// What would be done to the target, and how it would be undone. Pure: reads what it is given and changes nothing.
    fn plan(&self, args: &Self::Args, target: &Target, host: &HostFacts) -> Result<Plan, PlanError>;

    /// Puts the fault in force. Arms its undo first, through the context; may arm again as it learns more. An error after
    /// arming is reverted by the engine like a success.
    fn inject(&self, args: &Self::Args, target: &Target, cx: &Cx<'_, Self::Undo>) -> impl Future<Output = Result<(), InjectError>> + Send;

    /// Looks on the target whether the fault is really in force. `undo` is the last one that was armed.
    fn verify(&self, undo: &Self::Undo) -> impl Future<Output = Result<Effect, VerifyError>> + Send;

    /// Puts things back. Idempotent, and works from a fresh process: a thing that is already back, or gone, is a success.
    fn revert(&self, undo: &Self::Undo, armed: &Armed) -> impl Future<Output = Result<Reverted, RevertError>> + Send;
}

/// What is said of a fault everywhere: lists, help, schema, reference.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Meta {
    /// `family.fault`.
    pub name: &'static str,
    /// `process`, `cpu`, `memory`, `custom`…
    pub family: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// One step of a method, in YAML, that works when the named target exists.
    pub example: &'static str,
    /// Kinds of target that it can be applied to.
    pub targets: &'static [&'static str],
    /// Features of the host that it needs, by their names in [`HostFacts`].
    pub needs: &'static [&'static str],
    /// The way back.
    pub undone: Undone,
    /// Whether it stays in force until reverted, and so needs a `for`.
    pub lasting: bool,
}

/// The way back, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undone {
    /// The kernel removes it when Squall's process ends.
    Kernel,
    /// A child of Squall carries it; the kernel kills the child when Squall ends.
    Child,
    /// An undo in the ledger, done by the engine, the watchdog, the next start or `squall recover`.
    Ledger,
    /// Somebody else brings it back (systemd, a container runtime); Squall checks that they did.
    Supervisor,
    /// It depends on the arguments; the plan says.
    Depends,
    /// Never. A manifest has to accept this in writing.
    Irreversible,
}

/// An argument that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgError {
    /// Within the arguments.
    pub path: Path,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl ArgError {
    /// An error at one field of the arguments.
    pub fn field(name: &str, message: impl Into<String>, hint: impl Into<Option<String>>) -> Self {
        Self { path: Path::default().key(name), message: message.into(), hint: hint.into() }
    }
}

/// What would be done to one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Each thing that would change.
    pub changes: Vec<PlannedChange>,
    /// What nobody else may use at the same time.
    pub claims: Vec<Claim>,
    /// No way back: the manifest must accept that.
    pub irreversible: bool,
}

/// One thing that would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedChange {
    /// What is touched: `process 1234 (payments)`.
    pub what: String,
    /// With which mechanism: `SIGSTOP through a pidfd`.
    pub mechanism: String,
    /// How it is undone: `SIGCONT, by the engine, the watchdog or squall recover`.
    pub undo: String,
}

/// A resource that one injection at a time may hold: `process:1234:5678`, `host:cpu`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claim(pub String);

/// What an injection is given besides its arguments and target.
pub struct Cx<'a, U> {
    /// The run.
    pub run: &'a RunId,
    /// Number of the injection within the run.
    pub injection: InjectionId,
    /// `squall-<run>-<injection>`: part of the name of everything that the fault makes (argv, files, cgroups, tables).
    pub marker: &'a str,
    /// The time box.
    pub duration: Option<Time>,
    /// When the time box ends on `CLOCK_BOOTTIME`: for children, which must end by themselves then.
    pub deadline: Option<Duration>,
    /// Decides the fault's own random choices.
    pub seed: u64,
    /// Where the fault may put files: the run's own directory.
    pub directory: &'a std::path::Path,
    recorder: &'a (dyn Fn(serde_json::Value) -> Result<Armed, ArmError> + Send + Sync),
    undo: PhantomData<fn(U)>,
}

impl<'a, U: Serialize> Cx<'a, U> {
    /// Writes the undo to the ledger and waits until it is on disk. Only what this returns unlocks changing anything.
    /// Arming again adds to what was armed before: on revert each is undone, the last first.
    pub fn arm(&self, undo: &U) -> Result<Armed, ArmError> {
        (self.recorder)(serde_json::to_value(undo).map_err(|e| ArmError::Encode(e.to_string()))?)
    }

    /// Put together by whoever runs injections.
    #[expect(clippy::too_many_arguments, reason = "made in two places: the driver and the conformance bench")]
    pub fn new(
        run: &'a RunId,
        injection: InjectionId,
        marker: &'a str,
        duration: Option<Time>,
        deadline: Option<Duration>,
        seed: u64,
        directory: &'a std::path::Path,
        recorder: &'a (dyn Fn(serde_json::Value) -> Result<Armed, ArmError> + Send + Sync),
    ) -> Self {
        Self { run, injection, marker, duration, deadline, seed, directory, recorder, undo: PhantomData }
    }
}

impl<'a, U> Cx<'a, U> {
    /// The same context for another type of undo.
    pub(crate) fn retype<V>(self) -> Cx<'a, V> {
        let Self { run, injection, marker, duration, deadline, seed, directory, recorder, undo: _ } = self;
        Cx { run, injection, marker, duration, deadline, seed, directory, recorder, undo: PhantomData }
    }
}

/// What `verify` saw on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Whether the fault is really there.
    pub in_force: bool,
    /// What was looked at and what it said: `state of process 1234 is T (stopped)`.
    pub evidence: String,
}

/// What `revert` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverted {
    /// In words: `sent SIGCONT to process 1234`, or `process 1234 is gone, nothing to do`.
    pub how: String,
}

/// The fault cannot be planned for this target on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    /// What stands in the way.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The fault could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The undo could not be made durable: nothing was touched.
    #[error(transparent)]
    Arm(#[from] ArmError),
    /// The target is no longer there.
    #[error("{0} is gone")]
    TargetGone(String),
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

impl From<PlanError> for InjectError {
    /// What was not to be seen when it was planned.
    fn from(error: PlanError) -> Self {
        let PlanError { message, hint } = error;
        Self::Failed(hint.map_or_else(|| message.clone(), |hint| format!("{message}; {hint}")))
    }
}

/// The target could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct VerifyError(pub String);

/// Things could not be put back. Tried again, and reported if it stays so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RevertError(pub String);
