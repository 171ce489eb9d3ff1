//! The loop: a pure state machine that says what to do next, its one driver, and the traits that faults, probes and
//! targets implement. No Linux and no sockets here.
#![forbid(unsafe_code)]

mod clock;
mod fault;
mod host;
mod probe;
mod registry;
mod target;
mod traffic;

pub use clock::{BoxFuture, Clock};
pub use fault::{
    ArgError, Claim, Cx, Effect, Fault, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Undone, VerifyError,
};
pub use host::{Feature, HostFacts};
pub use probe::{Measure, Probe, ProbeCx, ProbeMeta};
pub use registry::{AnyFault, AnyProbe, AnyTargetKind, ErasedCx, KindError, Registry};
pub use target::{FindError, Target, TargetKind, TargetMeta};
pub use traffic::{TrafficControl, TrafficError};
