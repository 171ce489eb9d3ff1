//! Probes, which measure one value each, and the load generator.
#![forbid(unsafe_code)]

mod load;
mod wire;

use std::sync::Arc;

use squall_engine::AnyProbe;

pub use load::{LONGEST_WINDOW, LoadGenerator, Pacer};

/// Every kind of probe.
pub fn all() -> Vec<Arc<dyn AnyProbe>> {
    Vec::new()
}
