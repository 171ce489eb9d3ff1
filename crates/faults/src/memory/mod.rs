//! Faults on memory.

pub mod leak;
pub mod pressure;
mod rate;
mod resident;
pub mod spike;

use std::sync::Arc;

use squall_engine::AnyFault;

pub use rate::ByteRate;

/// Every fault of the family.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    vec![Arc::new(pressure::MemoryPressure::default()), Arc::new(leak::MemoryLeak::default()), Arc::new(spike::MemorySpike::default())]
}
