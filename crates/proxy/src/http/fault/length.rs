//! `http.length`: a length that is wrong.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Action, Settings};
use crate::http::plan::{Asked, Draw, Plan};

/// Claims another `Content-Length` than the body has, and closes after it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Length {
    /// Bytes that are claimed on top, or fewer where it is below zero.
    by: i64,
}

impl Settings for Length {
    fn check(&self) -> Result<(), String> {
        if self.by == 0 { Err("by: 0 is the right length".into()) } else { Ok(()) }
    }
}

impl Action for Length {
    fn plan(&self, _asked: &Asked<'_>, _draw: &Draw, plan: &mut Plan) {
        plan.claimed_length = Some(self.by);
    }
}
