//! Saved experiments, and those of the library.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An experiment to be saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewExperiment {
    /// The manifest, YAML or JSON as a text. Its `metadata.name` has to be the experiment's.
    pub manifest: String,
}

/// A saved experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// The manifest.
    pub manifest: String,
    /// Grows with every change; the `ETag` is made of it.
    pub version: u64,
    /// Who changed it last.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Timestamp,
}

/// An experiment of the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LibraryEntry {
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub description: String,
    /// For searching.
    pub tags: Vec<String>,
    /// What can be set.
    pub parameters: Vec<LibraryParameter>,
}

/// The text of an experiment of the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LibraryExperiment {
    /// Its name.
    pub name: String,
    /// The manifest, with its parameters as they are written.
    pub manifest: String,
}

/// A parameter of an experiment of the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LibraryParameter {
    /// Its name.
    pub name: String,
    /// What it means.
    pub meaning: String,
    /// What it is where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}
