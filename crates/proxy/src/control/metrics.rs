//! What has passed, by proxy and address.

use crate::http::Arms;
use crate::server::Counters;

/// What has passed a proxy while it had these addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyMetrics {
    /// Its name.
    pub proxy: String,
    /// Where it listened.
    pub listen: String,
    /// Where it connected to.
    pub upstream: String,
    /// What has passed, as of now.
    pub counters: Counters,
    /// What its rules on requests did, by their names, since they were last changed.
    pub rules: Vec<(String, Arms)>,
}
