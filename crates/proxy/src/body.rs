//! A fault on a body: a machine without I/O that turns pieces into steps, which HTTP/1.1 and HTTP/2 carry out alike.
//!
//! ```text
//! upstream ── pieces of the decoded body ──▶ BodyFault ── Step::Send, Wait, Cut … ──▶ client
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// What is to be done next with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send these bytes.
    Send(Bytes),
    /// Send nothing for this long. Pieces that come in the meantime wait.
    Wait(Duration),
    /// Send nothing any more, and keep the connection open until the client leaves or the fault is removed.
    Hang,
    /// End the connection in the middle of the message.
    Cut(Cut),
    /// End the message properly here (last chunk, `END_STREAM`), whatever else upstream sends.
    Finish,
}

/// How a connection ends in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cut {
    /// In order (FIN), so that the client sees a message that is too short.
    Close,
    /// With a reset (RST; `RST_STREAM` on HTTP/2).
    Reset,
}

/// A fault at work on one body.
pub trait BodyFault: Send {
    /// The next piece of the body, as upstream sent it, without its transfer coding.
    fn piece(&mut self, piece: Bytes, out: &mut Steps);
    /// The body ended. What was kept back is sent now, or never.
    fn end(&mut self, out: &mut Steps);
    /// The length that the body will have, if its original length is known and the fault keeps or changes it by a known
    /// amount; `None` sends it chunked (or until the end of the connection for HTTP/1.0).
    fn length(&self, original: u64) -> Option<u64>;
}

/// Steps to be carried out, in order.
#[derive(Debug, Default)]
pub struct Steps(VecDeque<Step>);

impl Steps {
    /// Adds a step. An empty `Send` is left out.
    pub fn push(&mut self, step: Step) {
        if !matches!(&step, Step::Send(bytes) if bytes.is_empty()) {
            self.0.push_back(step);
        }
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl Into<Bytes>) {
        self.push(Step::Send(bytes.into()));
    }

    /// Takes the next step.
    pub fn take(&mut self) -> Option<Step> {
        self.0.pop_front()
    }

    /// Bytes that wait to be sent: who reads pieces reads no more of them while this is large.
    pub fn waiting(&self) -> usize {
        self.0.iter().map(|step| if let Step::Send(bytes) = step { bytes.len() } else { 0 }).sum()
    }
}
