//! The faults against real processes.

mod stressor;
