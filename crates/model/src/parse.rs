//! From text to an [`Experiment`] or a [`Policy`], with everything that can be checked without knowing the kinds.

use crate::{Diagnostics, Document, Experiment, Policy};

/// The one version of the manifest format that there is.
pub const API_VERSION: &str = "squall.dev/v1";

/// Reads and checks an experiment. The kinds of faults, probes and targets are checked by `squall-engine`.
pub fn parse_experiment(text: &str) -> Result<(Experiment, Document), Diagnostics> {
    let document = Document::parse(text)?;
    let _ = &document;
    Err(Vec::new())
}

/// Reads and checks a policy.
pub fn parse_policy(text: &str) -> Result<(Policy, Document), Diagnostics> {
    let document = Document::parse(text)?;
    let _ = &document;
    Err(Vec::new())
}
