//! `http.delay`: the answer comes late.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::{Action, Settings};
use crate::http::plan::{Asked, Draw, Plan};

/// Waits before the request is passed on, or before its response is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// How long.
    #[serde(rename = "delay")]
    length: Time,
    /// The delay is uniform in [delay − jitter, delay + jitter).
    #[serde(default)]
    jitter: Option<Time>,
    /// What waits; the request by default.
    #[serde(default)]
    at: Side,
}

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// The request: the upstream begins late.
    #[default]
    Request,
    /// The response: the upstream has done its work, and nobody knows yet.
    Response,
}

impl Settings for Delay {}

impl Action for Delay {
    fn plan(&self, _asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        let jitter = self.jitter.map_or(0.0, Time::seconds);
        let seconds = (self.length.seconds() + jitter * (2.0 * draw.uniform() - 1.0)).max(0.0);
        let delay = Duration::from_secs_f64(seconds);
        match self.at {
            Side::Request => plan.delay += delay,
            Side::Response => plan.response_delay += delay,
        }
    }
}
