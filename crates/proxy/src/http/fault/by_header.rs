//! `http.byHeader`: the caller asks for the fault.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::{Action, Settings};
use crate::http::plan::{Asked, Draw, OwnAnswer, Plan};

/// Lets a caller ask for a fault by the request headers that Envoy's fault filter knows: `x-envoy-fault-delay-request`
/// (milliseconds), `x-envoy-fault-abort-request` (a status), `x-envoy-fault-abort-grpc-request` (a gRPC status), each with
/// `x-envoy-fault-delay-request-percentage` or `x-envoy-fault-abort-request-percentage` (0 to 100) beside it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ByHeader {
    /// The longest delay that may be asked for; 30 s by default.
    #[serde(default = "half_a_minute")]
    longest: Time,
}

fn half_a_minute() -> Time {
    Time::from_secs(30)
}

const DELAY: &str = "x-envoy-fault-delay-request";
const ABORT: &str = "x-envoy-fault-abort-request";
const GRPC: &str = "x-envoy-fault-abort-grpc-request";

fn number(asked: &Asked<'_>, name: &str) -> Option<u64> {
    std::str::from_utf8((asked.field)(name)?).ok()?.trim().parse().ok()
}

impl Settings for ByHeader {}

impl Action for ByHeader {
    fn wants(&self, asked: &Asked<'_>) -> bool {
        [DELAY, ABORT, GRPC].iter().any(|name| number(asked, name).is_some())
    }

    fn plan(&self, asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        let hit = |name: &str| number(asked, name).is_none_or(|percent| draw.uniform() * 100.0 < percent as f64);
        if let Some(delay) = number(asked, DELAY).filter(|_| hit("x-envoy-fault-delay-request-percentage")) {
            plan.delay += Duration::from_millis(delay).min(self.longest.std());
        }
        if !hit("x-envoy-fault-abort-request-percentage") {
            return;
        }
        let status = number(asked, ABORT).and_then(|status| u16::try_from(status).ok()).filter(|status| (200..600).contains(status));
        let grpc = number(asked, GRPC).filter(|status| *status <= 16);
        let answer = match (status, grpc) {
            (Some(status), _) => {
                OwnAnswer { status, fields: vec![("content-type".into(), "text/plain".into())], body: "fault filter abort".into() }
            }
            (None, Some(grpc)) => OwnAnswer {
                status: 200,
                fields: vec![("content-type".into(), "application/grpc".into()), ("grpc-status".into(), grpc.to_string())],
                body: bytes::Bytes::new(),
            },
            (None, None) => return,
        };
        plan.answer.get_or_insert(answer);
    }
}
