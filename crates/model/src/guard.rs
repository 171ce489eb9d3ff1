//! Conditions that abort a run while it is under way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Expectation, Time};

/// Watches one probe of the hypothesis and aborts the run when its condition is met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The name of a probe in `hypothesis.probes`.
    pub probe: String,
    /// Abort when the value satisfies this (so `gt: 5%` aborts above 5%), for as long as its `for` says.
    pub abort: Abort,
    /// What to do when the probe cannot be measured, by default abort after three samples in a row.
    #[serde(default)]
    pub unmeasurable: Unmeasurable,
}

/// The condition of a guard: an [`Expectation`] read the other way round. It is met, not broken.
pub type Abort = Expectation;

/// What a guard does when its probe cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Unmeasurable {
    /// Abort once this has lasted so long; `0s` aborts at the first.
    AbortAfter(Time),
    /// Carry on without this guard's eyes. Say why in a comment.
    Ignore,
    /// Abort at the third sample in a row that could not be measured.
    #[default]
    AbortAtThird,
}
