//! `http.encoding`: a content coding that is wrong.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Action, Settings, check_value};
use crate::http::plan::{Asked, Draw, FieldEdit, Plan};

/// Claims a `Content-Encoding` that the body does not have.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Encoding {
    /// `gzip`, `br`, or one that nobody knows; gzip by default.
    #[serde(default = "gzip")]
    claim: String,
}

fn gzip() -> String {
    "gzip".into()
}

impl Settings for Encoding {
    fn check(&self) -> Result<(), String> {
        check_value(&self.claim)
    }
}

impl Action for Encoding {
    fn plan(&self, _asked: &Asked<'_>, _draw: &Draw, plan: &mut Plan) {
        // The upstream must not do what is claimed.
        plan.request_fields.push(FieldEdit::Remove("accept-encoding".into()));
        plan.response_fields.push(FieldEdit::Set("content-encoding".into(), self.claim.clone()));
    }
}
