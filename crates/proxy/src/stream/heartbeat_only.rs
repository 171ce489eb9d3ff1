//! `stream.heartbeatOnly`

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::dialect::Dialect;
use super::edit::{Editor, Event, Picker, Then, on_stream};
use super::kind::{Body, OnBody, Settings};
use super::scan::Framing;
use crate::body::{BodyFault, Step, Steps};

/// Steps are made ahead, so that there is an end to them.
const MOST: u128 = 10_000;

/// After some events the stream only shows that it is alive (Anthropic's `ping` events, comments, blank lines) and brings nothing.
/// Finds clients whose timeout starts anew with each byte.
///
/// Heartbeats are planned when it begins: there are 10,000 at most, so that `for` divided by `every` is refused above that, and
/// without `for` the stream falls silent after 10,000 times `every` (2 h 46 min at one a second).
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeartbeatOnly {
    /// Events that pass first. Comments and pings do not count.
    #[serde(default)]
    pub after: u64,
    /// Time between heartbeats, 1 ms at least; 1 s by default.
    #[serde(default = "second")]
    pub every: Time,
    /// For how long; the rest of the stream follows then. Where it is left out, until the client leaves (10,000 heartbeats at
    /// most, and silence then).
    #[serde(default, rename = "for")]
    pub time: Option<Time>,
}

fn second() -> Time {
    Time::from_secs(1)
}

impl Settings for HeartbeatOnly {
    fn check(&self) -> Result<(), String> {
        if self.every.std() < Duration::from_millis(1) {
            return Err("every: expected at least 1ms".into());
        }
        match self.time {
            Some(time) if time.std().as_nanos() / self.every.std().as_nanos() > MOST => {
                Err(format!("for: expected no more than {MOST} heartbeats; write a longer `every`"))
            }
            _ => Ok(()),
        }
    }
}

impl OnBody for HeartbeatOnly {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_stream(body, Beating { picker: Picker::first(self.after), settings: *self })
    }
}

struct Beating {
    picker: Picker,
    settings: HeartbeatOnly,
}

impl Editor for Beating {
    fn event(&mut self, event: &Event, out: &mut Steps) -> Then {
        if !event.counts() || !self.picker.picks() {
            out.send(event.raw());
            return Then::GoOn;
        }
        let every = self.settings.every.std();
        let beat = heartbeat(event);
        let beats = self.settings.time.map_or(MOST, |time| time.std().as_nanos() / every.as_nanos());
        for _ in 0..beats {
            out.push(Step::Wait(every));
            out.send(beat.clone());
        }
        let Some(time) = self.settings.time else {
            out.push(Step::Hang);
            return Then::Ended;
        };
        let rest = time.std().as_nanos() % every.as_nanos();
        if rest > 0 {
            out.push(Step::Wait(Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX))));
        }
        out.send(event.raw());
        Then::GoOn
    }
}

fn heartbeat(event: &Event) -> Bytes {
    let end = event.block.line_end();
    Bytes::from(match (event.block.framing(), event.dialect) {
        (Framing::Lines, _) => end.to_owned(),
        (_, Dialect::Anthropic) => format!("event: ping{end}data: {{\"type\": \"ping\"}}{end}{end}"),
        _ => format!(": ping{end}{end}"),
    })
}
