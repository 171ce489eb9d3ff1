//! The run's own load, as the engine and the probes see it. The generator is in `squall-probes`.

use squall_model::{Measure, Time, Traffic, TrafficSummary};

use crate::BoxFuture;

/// Starts, reads and stops load.
pub trait TrafficControl: Send + Sync + 'static {
    /// Starts every traffic of a run.
    fn start(&self, traffic: &[Traffic], seed: u64) -> Result<(), TrafficError>;

    /// One measure of one traffic over the last `window`. An error is "could not measure": no such traffic, or no request
    /// was due in that time.
    fn read(&self, name: &str, measure: Measure, window: Time) -> Result<f64, String>;

    /// Stops every traffic, waits for requests under way (no longer than a second), and tells what was seen in all.
    fn stop(&self) -> BoxFuture<'_, Vec<TrafficSummary>>;
}

/// Load cannot be made as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("traffic `{name}`: {message}")]
pub struct TrafficError {
    /// The traffic's name.
    pub name: String,
    /// What is wrong.
    pub message: String,
}
