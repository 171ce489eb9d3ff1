//! Whether the server works.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{ApiError, App, Json};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(described))
}

/// The server works.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Health {
    /// Always `ok`; anything else is an error.
    status: &'static str,
    /// Version of the server.
    squall: &'static str,
}

/// Whether the server works
///
/// Answers without authentication, so that load balancers can ask. 503 where the database cannot be reached.
#[utoipa::path(get, path = "/health", tag = "server", security(()), responses(
    (status = 200, description = "It works", body = Health),
    (status = 503, description = "The database cannot be used", body = squall_api::Problem, content_type = "application/problem+json"),
))]
async fn health(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    app.db.ping().await?;
    Ok(Json(Health { status: "ok", squall: env!("CARGO_PKG_VERSION") }))
}

/// The description of the API
///
/// This document, as `OpenAPI`.
#[utoipa::path(get, path = "/openapi.json", tag = "server", security(()), responses(
    (status = 200, description = "The description", body = Object),
))]
async fn described() -> Response {
    static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| serde_json::to_string(&super::openapi()).unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
