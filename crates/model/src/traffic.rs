//! Load that Squall makes: an open model with a set arrival rate.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Dimension, Rate, Time};

/// A stream of requests at a set rate. Arrivals are scheduled in advance and latency counts from the scheduled moment, so
/// a server that stalls is seen to stall in full (no coordinated omission).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Traffic {
    /// Unique within the experiment; `traffic` probes name it.
    pub name: String,
    /// One kind of request. Write this or `mix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTraffic>,
    /// Several kinds of request with weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mix: Vec<HttpTraffic>,
    /// Arrivals a second.
    pub rate: Rate,
    /// Grow linearly from one rate to `rate`, from the start of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<RateRamp>,
    /// Arrivals spaced evenly (the default) or by chance (a Poisson process).
    #[serde(default)]
    pub arrivals: Arrivals,
    /// When a request counts as failed with `timeout`.
    #[serde(default = "default_timeout")]
    pub timeout: Time,
    /// The most requests under way at once; a request that would be one more fails at once with `overload` and counts.
    #[serde(default = "default_in_flight")]
    pub max_in_flight: u32,
}

fn default_timeout() -> Time {
    Time::from_secs(10)
}

fn default_in_flight() -> u32 {
    10_000
}

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Constant,
    /// By chance, with exponential gaps from the run's seed.
    Poisson,
}

/// A rate that grows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateRamp {
    /// Where it starts.
    pub from: Rate,
    /// How long it takes to reach `rate`.
    pub over: Time,
}

/// One kind of HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpTraffic {
    /// GET by default.
    #[serde(default = "default_method")]
    pub method: String,
    /// `http://` or `https://`.
    pub url: String,
    /// Sent with each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Sent with each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Share of this kind in a `mix`, against the other kinds' weights; 1 by default.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Statuses that count as success; 200 to 399 by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success: Vec<u16>,
    /// Protocol version: HTTP/1.1 by default, or HTTP/2 (by ALPN with TLS, with prior knowledge in clear text).
    #[serde(default)]
    pub version: HttpVersion,
}

fn default_method() -> String {
    "GET".into()
}

fn default_weight() -> u32 {
    1
}

/// Version of HTTP that the load generator speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// HTTP/1.1 with keep-alive.
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "2")]
    Http2,
}

/// What a `traffic` probe reads off the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Median latency.
    P50,
    /// 90th percentile of latency.
    P90,
    /// 95th percentile of latency.
    P95,
    /// 99th percentile of latency.
    P99,
    /// 99.9th percentile of latency.
    #[serde(rename = "p99.9")]
    P999,
    /// Mean latency.
    Mean,
    /// Largest latency.
    Max,
    /// Successful answers a second.
    Throughput,
    /// Failed requests as a share of all.
    ErrorRate,
    /// Successful requests as a share of all.
    Availability,
}

impl Measure {
    /// The dimension of its values.
    pub const fn dimension(self) -> Dimension {
        match self {
            Self::Throughput => Dimension::Rate,
            Self::ErrorRate | Self::Availability => Dimension::Ratio,
            _ => Dimension::Time,
        }
    }
}
