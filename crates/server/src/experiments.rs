//! Saved experiments, and what they were before.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_api::experiments::Experiment;
use squall_store::{Document, List, StoreError, Write};

use crate::{ApiError, App};

/// The kind of their documents; the id is the experiment's name.
pub(crate) const KIND: &str = "experiment";
/// The kind of the documents of what they were before; the id is the name and the version, so that they are listed in order.
const VERSION: &str = "experiment-version";

/// What is kept of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Saved {
    /// Its text, with its parameters as they are written.
    pub manifest: String,
    /// Who changed it last.
    pub by: String,
}

/// What one was before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Former {
    version: u64,
    manifest: String,
    by: String,
    saved: Timestamp,
}

impl Former {
    fn view(self, name: &str) -> Experiment {
        Experiment { name: name.to_owned(), manifest: self.manifest, version: self.version, by: self.by, updated: self.saved }
    }
}

fn version_id(name: &str, version: u64) -> String {
    format!("{name}/{version:020}")
}

/// As the API shows it.
pub(crate) fn view(document: &Document) -> Result<Experiment, StoreError> {
    let Saved { manifest, by } = document.decode()?;
    Ok(Experiment { name: document.id.clone(), manifest, by, version: document.version, updated: document.updated })
}

/// What a change writes besides: what it was until now.
pub(crate) fn keep(was: &Document) -> Result<Write, StoreError> {
    let Saved { manifest, by } = was.decode()?;
    let former = Former { version: was.version, manifest, by, saved: was.updated };
    let body = serde_json::to_value(former).unwrap_or_default();
    Ok(Write::Put { kind: VERSION.into(), id: version_id(&was.id, was.version), body })
}

/// What it was before a version, the newest first.
pub(crate) async fn before(app: &App, name: &str, version: u64, limit: usize) -> Result<Vec<Experiment>, ApiError> {
    let after = Some(version_id(name, version));
    let list = List { after, limit: Some(limit), descending: true, ..List::prefix(format!("{name}/")) };
    let found = app.db.list(VERSION, &list).await?;
    let former = |document: &Document| Ok(document.decode::<Former>()?.view(name));
    found.iter().map(former).collect::<Result<_, StoreError>>().map_err(ApiError::from)
}

/// What it was at a version.
pub(crate) async fn at(app: &App, name: &str, version: u64) -> Result<Option<Experiment>, ApiError> {
    let found = app.db.get(VERSION, &version_id(name, version)).await?;
    Ok(found.map(|document| document.decode::<Former>()).transpose()?.map(|former| former.view(name)))
}

/// What its end writes besides: the end of all that it was before.
pub(crate) async fn forget(app: &App, name: &str) -> Result<Vec<Write>, ApiError> {
    let found = app.db.list(VERSION, &List::prefix(format!("{name}/"))).await?;
    Ok(found.into_iter().map(|document| Write::Delete { kind: document.kind, id: document.id, version: None }).collect())
}
