//! Saved experiments, and those of the library.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use squall_api::experiments::{Experiment, LibraryEntry, NewExperiment};
use squall_api::{Page, PageQuery, Problem};
use squall_store::{Batch, Document, Write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::auth::{Operator, Outcome, Viewer, audit};
use crate::experiments::{self, KIND, Saved, view};
use crate::versions::{expected, key, put, tagged};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, save, remove))
        .routes(routes!(versions))
        .routes(routes!(version))
        .routes(routes!(library))
}

/// List saved experiments
#[utoipa::path(get, path = "/experiments", tag = "experiments", params(PageQuery), responses(
    (status = 200, description = "Experiments, by name", body = Page<Experiment>),
))]
async fn list(_: Viewer, State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<Experiment>>, ApiError> {
    Ok(Json(paging::documents(&app, KIND, &page, view).await?))
}

/// See a saved experiment
#[utoipa::path(get, path = "/experiments/{name}", tag = "experiments", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The experiment", body = Experiment, headers(("ETag" = String, description = "Its version"))),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    Ok(shown(StatusCode::OK, view(&known(&app, &name).await?)?))
}

async fn known(app: &App, name: &str) -> Result<Document, ApiError> {
    Ok(app.db.get(KIND, key("experiment", name)?).await?.ok_or_else(|| Problem::not_found("experiment", name))?)
}

fn shown(status: StatusCode, experiment: Experiment) -> Response {
    tagged(status, experiment.version, experiment)
}

/// Save an experiment
///
/// With `If-Match`, only if it is still of that version. What it was before is kept as a version.
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
    let read = app.runs.check(&new.manifest)?;
    if read.metadata.name != name {
        return Err(Problem::invalid(format!("the manifest's `metadata.name` is `{}`, and not `{name}`", read.metadata.name)).into());
    }
    let was = app.db.get(KIND, &name).await?;
    if let Some(same) = unchanged(&headers, was.as_ref(), &new.manifest)? {
        return Ok(shown(StatusCode::OK, same));
    }
    let body = serde_json::to_value(Saved { manifest: new.manifest, by: caller.name.clone() }).unwrap_or_default();
    let mut writes = vec![put(&headers, was.as_ref(), KIND, &name, body)?];
    writes.extend(was.as_ref().map(experiments::keep).transpose()?);
    writes.push(audit(&app, &caller, "experiment.save", &format!("experiment/{name}"), Outcome::Ok, json!({ "new": was.is_none() })));
    app.db.commit(Batch::new(writes)).await?;
    Ok(shown(if was.is_some() { StatusCode::OK } else { StatusCode::CREATED }, view(&known(&app, &name).await?)?))
}

/// What is there, if that is what is to be saved: no version is made of nothing.
fn unchanged(headers: &HeaderMap, was: Option<&Document>, manifest: &str) -> Result<Option<Experiment>, ApiError> {
    let Some(now) = was.map(view).transpose()? else { return Ok(None) };
    let meant = expected(headers)?.is_none_or(|version| version == now.version);
    Ok(Some(now).filter(|now| meant && now.manifest == manifest))
}

/// Versions of a saved experiment
///
/// The newest first, which is what it is now. `next` and `after` are numbers of versions.
#[utoipa::path(get, path = "/experiments/{name}/versions", tag = "experiments", params(("name" = String, Path, description = "Its name"), PageQuery), responses(
    (status = 200, description = "Versions", body = Page<Experiment>),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
))]
async fn versions(
    _: Viewer,
    State(app): State<App>,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Experiment>>, ApiError> {
    let (now, limit) = (view(&known(&app, &name).await?)?, page.items());
    let after = page.after.as_deref().map(|after| after.parse().map_err(|_| Problem::bad_request("`after` is not from the page before")));
    let items = if let Some(after) = after.transpose()? {
        experiments::before(&app, &name, after, limit + 1).await?
    } else {
        let former = experiments::before(&app, &name, now.version, limit).await?;
        std::iter::once(now).chain(former).collect()
    };
    Ok(Json(paging::of_one_more(items, limit, |one| one.version.to_string())))
}

/// See what a saved experiment was at a version
#[utoipa::path(get, path = "/experiments/{name}/versions/{version}", tag = "experiments", params(
    ("name" = String, Path, description = "Its name"),
    ("version" = u64, Path, description = "The version"),
), responses(
    (status = 200, description = "The experiment, as it was", body = Experiment),
    (status = 404, description = "There is no such version", body = Problem, content_type = "application/problem+json"),
))]
async fn version(_: Viewer, State(app): State<App>, Path((name, version)): Path<(String, u64)>) -> Result<Json<Experiment>, ApiError> {
    let now = view(&known(&app, &name).await?)?;
    let found = if now.version == version { Some(now) } else { experiments::at(&app, &name, version).await? };
    Ok(Json(found.ok_or_else(|| Problem::not_found("version", &format!("{name}/{version}")))?))
}

/// Remove a saved experiment
///
/// Its runs stay. Its versions go with it.
#[utoipa::path(delete, path = "/experiments/{name}", tag = "experiments", params(("name" = String, Path, description = "Its name")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
))]
async fn remove(Operator(caller): Operator, State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let was = known(&app, &name).await?;
    let mut writes = vec![Write::Delete { kind: KIND.into(), id: name.clone(), version: Some(was.version) }];
    writes.extend(experiments::forget(&app, &name).await?);
    writes.push(audit(&app, &caller, "experiment.remove", &format!("experiment/{name}"), Outcome::Ok, serde_json::Value::Null));
    app.db.commit(Batch::new(writes)).await?;
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
