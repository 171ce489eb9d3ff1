//! Kinds of target on this host.

mod host;
mod process;

use std::sync::Arc;

use squall_engine::AnyTargetKind;

pub use host::Host;
pub use process::{Process, ProcessSelector, is_protected};

/// Every kind of target here.
pub fn all() -> Vec<Arc<dyn AnyTargetKind>> {
    vec![Arc::new(Process), Arc::new(Host)]
}
