//! `http.truncate`: the rest of the body is missing.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Bytes as Size;

use super::{Action, Settings};
use crate::body::{BodyFault, Cut, Step, Steps};
use crate::http::plan::{Asked, Draw, Plan};
use crate::stream::{Body, OnBody};

/// Ends the response after so many bytes of its body.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Truncate {
    /// Bytes of the body that are sent.
    after: Size,
    /// Whether the message ends properly: a length that fits, or a last chunk. By default the connection is closed in the
    /// middle of the message, so that a client that looks can tell.
    #[serde(default)]
    proper: bool,
}

impl Settings for Truncate {}

impl Action for Truncate {
    fn plan(&self, _asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        let end = if self.proper { Step::Finish } else { Step::Cut(Cut::Close) };
        plan.bodies.push((std::sync::Arc::new(Ending { after: self.after.0, end }), draw.seed));
    }
}

/// Ends a body after so many bytes.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) after: u64,
    pub(super) end: Step,
}

impl OnBody for Ending {
    fn fault(&self, _body: &Body) -> Option<Box<dyn BodyFault>> {
        Some(Box::new(Counting { left: self.after, end: self.end.clone(), after: self.after, over: false }))
    }
}

struct Counting {
    after: u64,
    left: u64,
    end: Step,
    over: bool,
}

impl BodyFault for Counting {
    fn piece(&mut self, piece: Bytes, out: &mut Steps) {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
        out.send(piece.slice(..count));
        self.left -= count as u64;
        // Only a body that goes on is cut.
        if count < piece.len() && !std::mem::replace(&mut self.over, true) {
            out.push(self.end.clone());
        }
    }

    fn end(&mut self, _out: &mut Steps) {}

    fn length(&self, original: u64) -> Option<u64> {
        Some(if self.end == Step::Finish { original.min(self.after) } else { original })
    }
}
