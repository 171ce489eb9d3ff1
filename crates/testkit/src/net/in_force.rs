//! A fault in force on hosts, and gone when the test is over.

use std::sync::Arc;

use serde_json::Value as Json;
use squall_engine::{AnyFault, Effect, InjectError, Target};
use tokio::runtime::Runtime;

use crate::Execution;

/// By what packets are held and changed in this run of the tests: `nfqueue`, or what `SQUALL_TEST_MECHANISM` says. The same
/// tests run in a virtual machine with `netem` (`cargo xtask vm-test`).
pub fn mechanism() -> String {
    std::env::var("SQUALL_TEST_MECHANISM").unwrap_or_else(|_| "nfqueue".to_owned())
}

/// An injection. It is reverted when this is dropped.
pub struct InForce {
    runtime: Runtime,
    execution: Execution,
    fault: Arc<dyn AnyFault>,
    undo: Json,
}

impl InForce {
    /// Injects. The calling thread has to outlive it: a carrier ends with the thread that started it.
    pub fn try_new(fault: &Arc<dyn AnyFault>, args: &Json, target: &Target) -> Result<Self, InjectError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let execution = Execution::default();
        let undo = runtime.block_on(execution.inject(fault, args, target));
        let this = |undo| Self { runtime, execution, fault: fault.clone(), undo };
        match undo {
            Ok(undo) => Ok(this(undo)),
            Err(error) => {
                // What it has done until then is undone, as the engine does.
                drop(this(Json::Null));
                Err(error)
            }
        }
    }

    /// The same. Fails if it cannot be done.
    pub fn new(fault: &Arc<dyn AnyFault>, args: &Json, target: &Target) -> Self {
        Self::try_new(fault, args, target).unwrap_or_else(|error| panic!("{} with {args}: {error}", fault.meta().name))
    }

    /// What the fault itself says of its effect: of most, when packets have passed.
    pub fn verify(&self) -> Effect {
        self.runtime.block_on(self.fault.verify(&self.undo)).expect("looked at")
    }

    /// The undo that was armed last.
    pub fn undo(&self) -> &Json {
        &self.undo
    }

    /// Puts things back now.
    pub fn revert(&self) -> String {
        self.runtime.block_on(self.execution.revert(&self.fault)).unwrap_or_else(|error| panic!("{}: {error}", self.fault.meta().name))
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        let reverted = self.runtime.block_on(self.execution.revert(&self.fault));
        if !std::thread::panicking() {
            reverted.expect("reverted");
        }
    }
}
