//! `stream.fragment`

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Step, Steps};

/// Sends a stream in small pieces with time between them, so that events, lines and characters arrive in parts. No byte changes.
/// Finds clients that take what one read gives them for an event.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fragment {
    /// Bytes in a piece; 1 by default.
    #[serde(default = "one")]
    pub bytes: usize,
    /// Time between pieces, so that they are not put together again on the way; 1 ms by default.
    #[serde(default = "millisecond")]
    pub every: Time,
}

fn one() -> usize {
    1
}

fn millisecond() -> Time {
    Time::from_millis(1)
}

impl Settings for Fragment {
    fn check(&self) -> Result<(), String> {
        if self.bytes == 0 { Err("bytes: expected at least 1".into()) } else { Ok(()) }
    }
}

impl OnBody for Fragment {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        body.framing()?;
        Some(Box::new(Fragmenting { settings: *self, sent: 0 }))
    }
}

struct Fragmenting {
    settings: Fragment,
    /// Bytes in the piece that is being sent.
    sent: usize,
}

impl BodyFault for Fragmenting {
    fn piece(&mut self, mut piece: Bytes, out: &mut Steps) {
        while !piece.is_empty() {
            if self.sent == self.settings.bytes {
                out.push(Step::Wait(self.settings.every.std()));
                self.sent = 0;
            }
            let next = piece.split_to(piece.len().min(self.settings.bytes - self.sent));
            self.sent += next.len();
            out.send(next);
        }
    }

    fn end(&mut self, _out: &mut Steps) {}

    fn length(&self, original: u64) -> Option<u64> {
        Some(original)
    }
}
