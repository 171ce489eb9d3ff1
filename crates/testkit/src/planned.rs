//! Plans of faults on this host.

use futures_util::FutureExt;
use serde_json::Value as Json;
use squall_engine::{AnyFault, HostFacts, Plan, PlanError, Target};

/// What a fault plans. On this host that is known at once.
pub fn planned(fault: &dyn AnyFault, args: &Json, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
    fault.plan(args, target, host).now_or_never().expect("a plan is ready at once")
}
