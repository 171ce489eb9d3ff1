//! What a run ends with, and what a probe answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a run ended. Each has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The steady state held through the fault and after it.
    Held,
    /// It did not: a weakness was found, or the system did not recover in time.
    Deviated,
    /// The system was not steady before: nothing was touched.
    Unsteady,
    /// A guard or a person stopped the run; what had been done was reverted.
    Aborted,
    /// It could not be measured, or the fault had no effect: neither held nor deviated.
    Inconclusive,
    /// Squall itself failed: a fault could not be injected or, worse, reverted.
    Failed,
}

impl Verdict {
    /// Every verdict, in the order of their exit codes.
    pub const ALL: [Self; 6] = [Self::Held, Self::Deviated, Self::Unsteady, Self::Aborted, Self::Inconclusive, Self::Failed];

    /// The process exit code of `squall run`. 2 is left for wrong usage and wrong manifests, as is the custom.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Deviated => 1,
            Self::Unsteady => 3,
            Self::Aborted => 4,
            Self::Inconclusive => 5,
            Self::Failed => 6,
        }
    }

    /// As it is written in JSON and on the terminal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Deviated => "deviated",
            Self::Unsteady => "unsteady",
            Self::Aborted => "aborted",
            Self::Inconclusive => "inconclusive",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A probe's answer in its dimension's base unit. Truths are 1 and 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A number; never written as NaN or infinite: those are "could not measure".
    Number(f64),
    /// A text.
    Text(String),
}

/// What came of asking once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// The value.
    Value(Value),
    /// It could not be measured, and why. Never "fine", never "broken": its own state.
    Unmeasured(String),
}
