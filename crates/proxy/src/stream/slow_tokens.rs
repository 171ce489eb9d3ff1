//! `stream.slowTokens`

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::edit::{Editor, Event, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use crate::body::{BodyFault, Step, Steps};
use crate::decide::{Decider, Purpose};

/// Sends tokens slowly. The time is put before each event with text or a tool call but the first: a stream that comes faster than
/// that gets exactly this pace. Finds timeouts on whole answers, and screens that redraw with each token.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlowTokens {
    /// Time before each token. Either this or `perSecond`.
    #[serde(default)]
    pub every: Option<Time>,
    /// Tokens a second, above 0. Either this or `every`.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// Up to so much more or less, uniformly, decided token by token; none by default.
    #[serde(default)]
    pub jitter: Option<Time>,
}

impl SlowTokens {
    fn gap(&self) -> Option<Duration> {
        match (self.every, self.per_second) {
            (Some(every), None) => Some(every.std()),
            (None, Some(rate)) if rate > 0.0 => Duration::try_from_secs_f64(1.0 / rate).ok(),
            _ => None,
        }
    }
}

impl Settings for SlowTokens {
    fn check(&self) -> Result<(), String> {
        self.gap().map(|_| ()).ok_or_else(|| "expected either `every` (as 200ms) or `perSecond` above 0 (as 5)".into())
    }
}

impl OnBody for SlowTokens {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        let jitter = self.jitter.map_or(Duration::ZERO, Time::std);
        on_stream(body, Slow { gap: self.gap()?, jitter, decider: Decider::new(body.seed, "stream.slowTokens"), tokens: 0 })
    }
}

struct Slow {
    gap: Duration,
    jitter: Duration,
    decider: Decider,
    tokens: u64,
}

impl Editor for Slow {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if event.meaning.token {
            if self.tokens > 0 {
                let uniform = self.decider.uniform(Purpose::Magnitude, &self.tokens.to_be_bytes(), 0);
                let gap = (self.gap + self.jitter.mul_f64(2.0 * uniform)).saturating_sub(self.jitter);
                out.push(Step::Wait(gap));
            }
            self.tokens += 1;
        }
        out.send(event.raw());
        Then::GoOn
    }

    fn keeps_bytes(&self) -> bool {
        true
    }
}
