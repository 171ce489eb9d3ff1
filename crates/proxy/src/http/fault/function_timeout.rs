//! `function.timeout`: the gateway gives up on the function.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::{Action, Settings};
use crate::http::plan::{Asked, Draw, OwnAnswer, Plan};

/// Answers 504 after a time, as a gateway does before a function that takes too long. The function is not called.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FunctionTimeout {
    /// How long the gateway waits; 30 s by default.
    #[serde(default = "half_a_minute")]
    after: Time,
    /// The status; 504 by default (some gateways answer 502).
    #[serde(default = "gateway_timeout")]
    status: u16,
}

fn half_a_minute() -> Time {
    Time::from_secs(30)
}

fn gateway_timeout() -> u16 {
    504
}

impl Settings for FunctionTimeout {
    fn check(&self) -> Result<(), String> {
        if (500..=599).contains(&self.status) { Ok(()) } else { Err(format!("status: {} is not from 500 to 599", self.status)) }
    }
}

impl Action for FunctionTimeout {
    fn plan(&self, _asked: &Asked<'_>, _draw: &Draw, plan: &mut Plan) {
        plan.delay += self.after.std();
        let fields = vec![("content-type".into(), "application/json".into())];
        plan.answer.get_or_insert(OwnAnswer { status: self.status, fields, body: "{\"message\":\"Endpoint request timed out\"}".into() });
    }
}
