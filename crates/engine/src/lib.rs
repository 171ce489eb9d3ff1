//! The loop: a pure state machine that says what to do next, its one driver, and the traits that faults, probes and
//! targets implement. No Linux and no sockets here.
#![forbid(unsafe_code)]

mod check;
mod clock;
mod compare;
mod driver;
mod evidence;
mod fault;
mod host;
mod journal;
pub mod marks;
mod policy;
mod preview;
mod probe;
mod program;
mod registry;
mod schema;
mod sequential;
mod state;
mod target;
mod traffic;

pub use check::{check, validate_experiment};
pub use clock::{BoxFuture, Clock};
pub use driver::{Control, Gate, GateRequest, Outcome, Setup, StartWatchdog, chance, drive, keyed_hash};
pub use evidence::{ComparedEvidence, Evidence, Numbers, ProbeEvidence, SampleEvidence, StageEvidence};
pub use fault::{
    ArgError, Claim, Cx, Effect, Fault, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Undone, VerifyError,
};
pub use host::{Feature, HostFacts};
pub use journal::{Journal, JournalError};
pub use policy::{ApprovalNeed, Denied, RunFacts, within_policy};
pub use preview::{Preview, StepPreview, TargetPreview};
pub use probe::{Measure, Probe, ProbeCx, ProbeMeta};
pub use program::{CompareSpec, FaultNode, GuardSpec, Node, NodeKind, ProbeSpec, Program, ProgramError};
pub use registry::{AnyFault, AnyProbe, AnyTargetKind, ErasedCx, KindError, Registry, RegistryUndoer};
pub use schema::{document_schema, experiment_schema, policy_schema};
pub use sequential::{Answers, difference, evidence, is_worse};
pub use state::{
    Command, ComparisonState, GuardState, InjectionPhase, InjectionState, Judgement, Micros, NodePhase, NodeState, Phase, ProbeState,
    Sample, State, Stop, Tally,
};
pub use target::{FindError, Placed, Target, TargetKind, TargetMeta, Variable};
pub use traffic::{TrafficControl, TrafficError};
