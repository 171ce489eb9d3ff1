//! `http.drop`: the connection ends.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Bytes as Size;

use super::truncate::Ending;
use super::{Action, Settings};
use crate::body::{Cut, Step};
use crate::http::plan::{Asked, Draw, Plan};

/// Ends the connection: instead of an answer, or at a byte of the response's body.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drop {
    /// How; closed in order by default.
    #[serde(default = "close")]
    cut: Cut,
    /// Bytes of the body that are sent before. Without it nothing of the response is sent, and the upstream is not asked.
    #[serde(default)]
    after: Option<Size>,
}

fn close() -> Cut {
    Cut::Close
}

impl Settings for Drop {}

impl Action for Drop {
    fn plan(&self, _asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        match self.after {
            None => plan.cut = Some(self.cut),
            Some(after) => plan.bodies.push((std::sync::Arc::new(Ending { after: after.0, end: Step::Cut(self.cut) }), draw.seed)),
        }
    }
}
