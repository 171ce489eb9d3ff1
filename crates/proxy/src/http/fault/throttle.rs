//! `function.throttle`: too many calls at once.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Rate;

use super::rate_limit::Bucket;
use super::{Action, Settings};
use crate::http::plan::{Asked, Draw, OwnAnswer, Plan};
use crate::time;

/// Answers 429 as a provider of functions does that has no instance left, without `Retry-After`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttle {
    /// Calls that pass; none by default.
    #[serde(default = "none")]
    rate: Rate,
    /// Calls that may come at once; 1 by default.
    #[serde(default = "one")]
    burst: u32,
    #[serde(skip)]
    #[schemars(skip)]
    bucket: Bucket,
}

fn none() -> Rate {
    Rate(0.0)
}

fn one() -> u32 {
    1
}

impl Settings for Throttle {}

impl Action for Throttle {
    fn wants(&self, _asked: &Asked<'_>) -> bool {
        !self.bucket.take(self.rate.0, self.burst, time::now())
    }

    fn plan(&self, _asked: &Asked<'_>, _draw: &Draw, plan: &mut Plan) {
        let fields =
            vec![("content-type".into(), "application/json".into()), ("x-amzn-errortype".into(), "TooManyRequestsException".into())];
        plan.answer.get_or_insert(OwnAnswer {
            status: 429,
            fields,
            body: "{\"Reason\":\"ReservedFunctionConcurrentInvocationLimitExceeded\",\"Type\":\"User\",\"message\":\"Rate Exceeded.\"}"
                .into(),
        });
    }
}
