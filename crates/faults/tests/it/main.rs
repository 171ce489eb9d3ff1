//! The faults against real processes.

mod apps;
mod conformance;
mod customs;
mod dns;
mod kinds;
mod pairs;
mod places;
mod processes;
mod scopes;
mod shaper;
mod stressor;
mod targets;
