//! The faults: one file each, and one entry in the list of its family.
#![forbid(unsafe_code)]

pub mod cpu;
pub mod memory;
pub mod stressor;
