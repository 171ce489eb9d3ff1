//! The red button.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use squall_api::Problem;
use squall_api::runs::{EmergencyStop, Stopped};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Operator, Outcome, Viewer, audit};
use crate::{ApiError, App, Json};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(seen, press, lift))
}

/// Whether everything is stopped.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StopState {
    /// Who stopped everything; absent where nothing is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

/// See whether everything is stopped
#[utoipa::path(get, path = "/stop", tag = "stop", responses((status = 200, description = "Whether it is", body = StopState)))]
async fn seen(_: Viewer, State(app): State<App>) -> Result<Json<StopState>, ApiError> {
    Ok(Json(StopState { by: app.runs.stopped().await? }))
}

/// Stop everything everywhere
///
/// Every run of every server is stopped, and every host puts back whatever is in force, whoever drives it. With `block`, nothing can start
/// until the stop is lifted.
#[utoipa::path(post, path = "/stop", tag = "stop", request_body = Option<EmergencyStop>, responses(
    (status = 200, description = "What was put back, host by host", body = Stopped),
))]
async fn press(Operator(caller): Operator, State(app): State<App>, body: Option<Json<EmergencyStop>>) -> Result<Json<Stopped>, ApiError> {
    let stop = body.map(|Json(stop)| stop).unwrap_or_default();
    let by = stop.reason.as_ref().map_or_else(|| caller.name.clone(), |reason| format!("{} ({reason})", caller.name));
    let row = audit(&app, &caller, "stop.press", "stop", Outcome::Ok, json!({ "reason": stop.reason, "block": stop.block }));
    Ok(Json(app.runs.stop_all(&by, stop.block, row).await?))
}

/// Lift the stop
#[utoipa::path(delete, path = "/stop", tag = "stop", responses(
    (status = 204, description = "Runs may start again"),
    (status = 404, description = "Nothing is stopped", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Somebody else has just changed it", body = Problem, content_type = "application/problem+json"),
))]
async fn lift(Operator(caller): Operator, State(app): State<App>) -> Result<StatusCode, ApiError> {
    app.runs.lift_stop(audit(&app, &caller, "stop.lift", "stop", Outcome::Ok, serde_json::Value::Null)).await?;
    Ok(StatusCode::NO_CONTENT)
}
