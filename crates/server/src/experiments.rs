//! Saved experiments.

use serde::{Deserialize, Serialize};

/// The kind of their documents; the id is the experiment's name.
pub(crate) const KIND: &str = "experiment";

/// What is kept of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Saved {
    /// Its text, with its parameters as they are written.
    pub manifest: String,
    /// Who changed it last.
    pub by: String,
}
