//! `http.rateLimit`: 429 above a rate.

use std::sync::Mutex;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::{Rate, Time};

use super::{Action, Settings};
use crate::http::plan::{Asked, Draw, OwnAnswer, Plan};
use crate::time;

/// Answers 429 to what comes faster than a rate, all requests of the rule together. The upstream is not asked for them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Requests that pass; `0/s` lets none pass.
    rate: Rate,
    /// Requests that may come at once; 1 by default.
    #[serde(default = "one")]
    burst: u32,
    /// What `Retry-After` says (RFC 9110, section 10.2.3); seconds by default.
    #[serde(default)]
    retry_after: RetryAfter,
    /// The time that it says; 1 s by default.
    #[serde(default = "second")]
    after: Time,
    #[serde(skip)]
    #[schemars(skip)]
    bucket: Bucket,
}

/// What `Retry-After` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RetryAfter {
    /// Whole seconds.
    #[default]
    Seconds,
    /// A date.
    Date,
    /// Nothing: there is no such header.
    Absent,
    /// Something that nobody can follow: a number below zero.
    Negative,
    /// Something that nobody should follow: ten years.
    Absurd,
}

/// A token bucket (RFC 2697).
#[derive(Debug, Default)]
pub(super) struct Bucket(Mutex<Option<(Duration, f64)>>);

impl Bucket {
    /// Whether a request may pass.
    pub(super) fn take(&self, rate: f64, burst: u32, now: Duration) -> bool {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let full = f64::from(burst.max(1));
        let (at, tokens) = state.unwrap_or((now, if rate > 0.0 { full } else { 0.0 }));
        let tokens = (tokens + now.saturating_sub(at).as_secs_f64() * rate).min(full);
        let passes = tokens >= 1.0;
        *state = Some((now, if passes { tokens - 1.0 } else { tokens }));
        passes
    }
}

fn one() -> u32 {
    1
}

fn second() -> Time {
    Time::from_secs(1)
}

impl Settings for RateLimit {}

impl Action for RateLimit {
    fn wants(&self, _asked: &Asked<'_>) -> bool {
        !self.bucket.take(self.rate.0, self.burst, time::now())
    }

    fn plan(&self, _asked: &Asked<'_>, _draw: &Draw, plan: &mut Plan) {
        let after = self.after.std();
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        let value = match self.retry_after {
            RetryAfter::Seconds => Some(seconds.to_string()),
            RetryAfter::Date => Some(http_date(crate::tls::wall() + i64::try_from(seconds).unwrap_or(0))),
            RetryAfter::Absent => None,
            RetryAfter::Negative => Some("-1".into()),
            RetryAfter::Absurd => Some("315360000".into()),
        };
        plan.answer.get_or_insert(too_many(value));
    }
}

/// 429, with this `Retry-After`.
pub(super) fn too_many(retry_after: Option<String>) -> OwnAnswer {
    let mut fields = vec![("content-type".into(), "text/plain; charset=utf-8".into())];
    fields.extend(retry_after.map(|value| ("retry-after".into(), value)));
    OwnAnswer { status: 429, fields, body: "too many requests\n".into() }
}

/// A date as HTTP has it (RFC 9110, section 5.6.7), of seconds since 1970.
pub(super) fn http_date(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
