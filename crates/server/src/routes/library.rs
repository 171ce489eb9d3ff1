//! The text of an experiment of the library: to look at, and to begin one's own with.

use axum::extract::{Path, State};
use squall_api::Problem;
use squall_api::experiments::LibraryExperiment;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Viewer;
use crate::{ApiError, App, Json};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(one))
}

/// See an experiment of the library
#[utoipa::path(get, path = "/library/{name}", tag = "experiments", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The experiment", body = LibraryExperiment),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(name): Path<String>) -> Result<Json<LibraryExperiment>, ApiError> {
    let manifest = app.runs.library_text(&name).ok_or_else(|| Problem::not_found("experiment of the library", &name))?;
    Ok(Json(LibraryExperiment { name, manifest }))
}
