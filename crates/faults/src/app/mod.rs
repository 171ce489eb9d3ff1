//! Faults within a Rust service, done by the service itself: by the layer of the crate `squall-tower`.
//!
//! A fault is a file that the layer reads (see [`squall_tower::file`]). This process holds a lock on it, which ends the fault with the
//! process, whatever it dies of; the layer holds one on another file while it obeys, which is how `verify` knows.

pub mod error;
pub mod latency;
mod requests;
mod setter;

use std::sync::Arc;

use squall_engine::AnyFault;

pub use setter::AppUndo;

/// Every fault of the family.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    vec![Arc::new(latency::AppLatency::default()), Arc::new(error::AppError::default())]
}
