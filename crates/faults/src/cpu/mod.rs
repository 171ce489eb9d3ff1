//! Faults on CPU time.

pub mod load;

use std::sync::Arc;

use squall_engine::AnyFault;

/// Every fault of the family.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    vec![Arc::new(load::CpuLoad::default())]
}
