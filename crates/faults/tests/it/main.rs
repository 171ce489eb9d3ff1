//! The faults against real processes.

mod conformance;
mod stressor;
