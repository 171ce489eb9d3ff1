//! Faults of processes.

mod back;
mod crash_loop;
mod kill;
mod pause;
mod restart;
mod signal;

use std::sync::Arc;

use squall_engine::{AnyFault, PlanError, Target};
use squall_sys::process::ProcessFacts;

pub use back::Back;
pub(crate) use back::DIES_WITHIN;
pub use crash_loop::CrashLoop;
pub use kill::Kill;
pub use pause::Pause;
pub use restart::Restart;

/// Every fault of processes.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    vec![Arc::new(Kill), Arc::new(Pause), Arc::new(Restart), Arc::new(CrashLoop)]
}

/// What is known of a target that is a process.
fn facts(target: &Target) -> Result<ProcessFacts, PlanError> {
    serde_json::from_value(target.facts.clone()).map_err(|_| PlanError {
        message: format!("{} is not a process", target.label),
        hint: Some("write `target: { process: { name: … } }`".to_owned()),
    })
}

/// Runs blocking work (waiting for a process, reading `/proc`) beside the loop.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|_| "it was interrupted".to_owned())
}

/// Waits a little between two looks at something outside. It times no fault.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks at a real process; deadlines are on CLOCK_BOOTTIME")]
pub(crate) async fn pause_between_looks() {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
}
