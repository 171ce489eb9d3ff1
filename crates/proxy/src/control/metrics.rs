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
    /// What its rules on requests did, by their names, since each was added (or the proxy enabled), in requests.
    pub rules: Vec<(String, Arms)>,
    /// What its rules on TLS did, in connections.
    pub tls_rules: Vec<(String, Arms)>,
}
