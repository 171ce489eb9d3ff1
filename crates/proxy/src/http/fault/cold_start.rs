//! `function.coldStart`: the first call after a silence takes longer.

use std::sync::Mutex;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::{Action, Settings};
use crate::http::plan::{Asked, Draw, Plan};
use crate::time;

/// Delays a call that comes after a time without any, and those that come while it starts, as a function does whose instances
/// were taken away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ColdStart {
    /// How long starting takes.
    delay: Time,
    /// The silence after which it is cold; 5 min by default.
    #[serde(default = "five_minutes")]
    idle: Time,
    #[serde(skip)]
    #[schemars(skip)]
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it will have started.
    ready: Option<Duration>,
    last: Option<Duration>,
}

fn five_minutes() -> Time {
    Time::from_secs(300)
}

impl ColdStart {
    /// How long a call at this time waits.
    fn wait(&self, now: Duration) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let cold = state.last.is_none_or(|last| now.saturating_sub(last) >= self.idle.std());
        if cold {
            state.ready = Some(now + self.delay.std());
        }
        let wait = state.ready.map_or(Duration::ZERO, |ready| ready.saturating_sub(now));
        state.last = Some(now + wait);
        wait
    }
}

impl Settings for ColdStart {}

impl Action for ColdStart {
    fn wants(&self, _asked: &Asked<'_>) -> bool {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = time::now();
        let warm =
            state.last.is_some_and(|last| now.saturating_sub(last) < self.idle.std()) && state.ready.is_none_or(|ready| ready <= now);
        drop(state);
        if warm {
            // It stays warm by being called.
            self.wait(now);
        }
        !warm
    }

    fn plan(&self, _asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        plan.delay += self.wait(draw.now);
    }
}
