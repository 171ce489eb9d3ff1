//! Saved experiments, and those of the library.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use squall_api::experiments::{Experiment, LibraryEntry, NewExperiment};
use squall_api::{Page, PageQuery, Problem};
use squall_store::{Batch, Document, StoreError, Write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::auth::{Operator, Outcome, Viewer, audit};
use crate::experiments::{KIND, Saved};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one, save, remove)).routes(routes!(library))
}

fn seen(document: &Document) -> Result<Experiment, StoreError> {
    let Saved { manifest, by } = document.decode()?;
    Ok(Experiment { name: document.id.clone(), manifest, by, version: document.version, updated: document.updated })
}

fn tagged(status: StatusCode, experiment: Experiment) -> Result<Response, ApiError> {
    let tag = HeaderValue::from_str(&format!("\"{}\"", experiment.version)).map_err(|e| Problem::internal(e.to_string()))?;
    Ok((status, [(header::ETAG, tag)], Json(experiment)).into_response())
}

/// List saved experiments
#[utoipa::path(get, path = "/experiments", tag = "experiments", params(PageQuery), responses(
    (status = 200, description = "Experiments, by name", body = Page<Experiment>),
))]
async fn list(_: Viewer, State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<Experiment>>, ApiError> {
    Ok(Json(paging::documents(&app, KIND, &page, seen).await?))
}

/// See a saved experiment
#[utoipa::path(get, path = "/experiments/{name}", tag = "experiments", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The experiment", body = Experiment, headers(("ETag" = String, description = "Its version"))),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let found = app.db.get(KIND, &name).await?.ok_or_else(|| Problem::not_found("experiment", &name))?;
    tagged(StatusCode::OK, seen(&found)?)
}

/// The version that a change was made from; none where anything may be replaced.
fn expected(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let version = value.to_str().ok().and_then(|text| text.trim().trim_matches('"').parse().ok());
    Ok(Some(version.ok_or_else(|| Problem::bad_request("`If-Match` is not the `ETag` of an experiment"))?))
}

/// Save an experiment
///
/// With `If-Match`, only if it is still of that version.
#[utoipa::path(put, path = "/experiments/{name}", tag = "experiments", request_body = NewExperiment, params(
    ("name" = String, Path, description = "Its name, as in `metadata.name`"),
    ("If-Match" = Option<String>, Header, description = "The `ETag` that the change was made from"),
), responses(
    (status = 200, description = "It was changed", body = Experiment),
    (status = 201, description = "It is new", body = Experiment),
    (status = 404, description = "There is none to be changed", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Somebody else has changed it", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The manifest is wrong", body = Problem, content_type = "application/problem+json"),
))]
async fn save(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewExperiment>,
) -> Result<Response, ApiError> {
    let known = app.runs.check(&new.manifest)?;
    if known.metadata.name != name {
        return Err(Problem::invalid(format!("the manifest's `metadata.name` is `{}`, and not `{name}`", known.metadata.name)).into());
    }
    let body = serde_json::to_value(Saved { manifest: new.manifest, by: caller.name.clone() }).unwrap_or_default();
    let (kind, id) = (KIND.to_owned(), name.clone());
    let was = app.db.get(KIND, &name).await?;
    let write = match (expected(&headers)?, &was) {
        (Some(version), _) => Write::Replace { kind, id, version, body },
        (None, Some(was)) => Write::Replace { kind, id, version: was.version, body },
        (None, None) => Write::Create { kind, id, body },
    };
    let row = audit(&app, &caller, "experiment.save", &format!("experiment/{name}"), Outcome::Ok, json!({ "new": was.is_none() }));
    app.db.commit(Batch::new(vec![write, row])).await?;
    let saved = app.db.get(KIND, &name).await?.ok_or_else(|| Problem::not_found("experiment", &name))?;
    tagged(if was.is_some() { StatusCode::OK } else { StatusCode::CREATED }, seen(&saved)?)
}

/// Remove a saved experiment
///
/// Its runs stay.
#[utoipa::path(delete, path = "/experiments/{name}", tag = "experiments", params(("name" = String, Path, description = "Its name")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
))]
async fn remove(Operator(caller): Operator, State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let delete = Write::Delete { kind: KIND.into(), id: name.clone(), version: None };
    let row = audit(&app, &caller, "experiment.remove", &format!("experiment/{name}"), Outcome::Ok, serde_json::Value::Null);
    app.db.commit(Batch::new(vec![delete, row])).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What to look for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LibraryQuery {
    /// Words in name, description or tags.
    search: Option<String>,
}

/// List the library
///
/// Ready experiments, with their parameters. Start one with `library` in place of a manifest.
#[utoipa::path(get, path = "/library", tag = "experiments", params(LibraryQuery), responses(
    (status = 200, description = "Experiments", body = Vec<LibraryEntry>),
))]
async fn library(_: Viewer, State(app): State<App>, Query(query): Query<LibraryQuery>) -> Json<Vec<LibraryEntry>> {
    Json(app.runs.library(query.search.as_deref().unwrap_or_default()))
}
