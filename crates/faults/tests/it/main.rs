//! The faults against real processes.

mod conformance;
mod customs;
mod dns;
mod kinds;
mod places;
mod processes;
mod shaper;
mod stressor;
mod targets;
