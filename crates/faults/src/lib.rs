//! The faults: one file each, and one entry in the list of its family.
//!
//! ```
//! let names: Vec<_> = squall_faults::all().iter().map(|fault| fault.meta().name).collect();
//! assert!(names.contains(&"process.pause"));
//! ```
#![forbid(unsafe_code)]

pub mod app;
pub mod carried;
pub mod cpu;
pub mod custom;
pub mod dns;
pub mod memory;
pub mod network;
pub mod process;
pub mod stressor;
pub mod target;

use std::sync::Arc;

use squall_engine::{AnyFault, AnyTargetKind};

pub use target::is_protected;

/// Every fault, family by family.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    [process::all(), cpu::all(), memory::all(), network::all(), dns::all(), app::all(), custom::all()].concat()
}

/// Every kind of target.
pub fn targets() -> Vec<Arc<dyn AnyTargetKind>> {
    target::all()
}
