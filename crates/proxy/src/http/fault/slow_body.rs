//! `http.slowBody`: so many bytes a second.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Bytes as Size;

use super::{Action, Settings};
use crate::body::{BodyFault, Step, Steps};
use crate::http::plan::{Asked, Draw, Plan};
use crate::stream::{Body, OnBody};

/// Sends the body of the response at a rate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlowBody {
    /// Bytes of each second.
    per_second: Size,
}

impl Settings for SlowBody {
    fn check(&self) -> Result<(), String> {
        if self.per_second.0 == 0 { Err("perSecond: a body that never comes is `stream.stall` or `http.drop`".into()) } else { Ok(()) }
    }
}

impl Action for SlowBody {
    fn plan(&self, _asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        plan.bodies.push((std::sync::Arc::new(self.clone()), draw.seed));
    }
}

impl OnBody for SlowBody {
    fn fault(&self, _body: &Body) -> Option<Box<dyn BodyFault>> {
        Some(Box::new(Pacing { per_second: self.per_second.0 }))
    }
}

struct Pacing {
    per_second: u64,
}

impl BodyFault for Pacing {
    fn piece(&mut self, mut piece: Bytes, out: &mut Steps) {
        // Ten pieces a second, or single bytes.
        let size = usize::try_from(self.per_second / 10).unwrap_or(usize::MAX).max(1);
        while !piece.is_empty() {
            let part = piece.split_to(size.min(piece.len()));
            let time = Duration::from_secs_f64(part.len() as f64 / self.per_second as f64);
            out.send(part);
            out.push(Step::Wait(time));
        }
    }

    fn end(&mut self, _out: &mut Steps) {}

    fn length(&self, original: u64) -> Option<u64> {
        Some(original)
    }
}
