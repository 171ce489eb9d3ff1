//! Runs as traces of OpenTelemetry: one trace a run, with a span for each phase and for each fault on each target.
//!
//! The trace is made from the [`Report`](squall_report::Report) when the run is over, so it says what the report says, and a collector
//! that is slow or gone holds up nothing. Where it is sent, the variables of the OpenTelemetry specification say.
#![forbid(unsafe_code)]

mod collector;
mod trace;

pub use collector::{Collector, CollectorError};
pub use trace::{trace, trace_id};
