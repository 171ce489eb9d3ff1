//! Hosts with an agent.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use squall_api::hosts::{Host, JoinToken, NewJoinToken};
use squall_api::{Page, PageQuery, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Admin, Outcome, Viewer, audit};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one, forget)).routes(routes!(token))
}

/// List hosts
///
/// Every host that has joined, by name.
#[utoipa::path(get, path = "/hosts", tag = "hosts", params(PageQuery), responses(
    (status = 200, description = "Hosts", body = Page<Host>),
))]
async fn list(_: Viewer, State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<Host>>, ApiError> {
    let after = page.after.as_deref().unwrap_or_default();
    let limit = page.items();
    let items: Vec<Host> = app.fleet.hosts().await.into_iter().filter(|host| host.name.as_str() > after).take(limit + 1).collect();
    Ok(Json(super::paging::of_one_more(items, limit, |host| host.name.clone())))
}

/// See a host
#[utoipa::path(get, path = "/hosts/{host}", tag = "hosts", params(("host" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The host", body = Host),
    (status = 404, description = "There is no such host", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(host): Path<String>) -> Result<Json<Host>, ApiError> {
    Ok(Json(app.fleet.host(&host).ok_or_else(|| Problem::not_found("host", &host))?))
}

/// Forget a host
///
/// Its certificate is good for nothing any more; what it has in force, it puts back when its leases end.
#[utoipa::path(delete, path = "/hosts/{host}", tag = "hosts", params(("host" = String, Path, description = "Its name")), responses(
    (status = 204, description = "It is forgotten"),
    (status = 404, description = "There is no such host", body = Problem, content_type = "application/problem+json"),
))]
async fn forget(Admin(caller): Admin, State(app): State<App>, Path(host): Path<String>) -> Result<StatusCode, ApiError> {
    if app.fleet.host(&host).is_none() {
        return Err(Problem::not_found("host", &host).into());
    }
    let row = audit(&app, &caller, "host.forget", &format!("host/{host}"), Outcome::Ok, serde_json::Value::Null);
    app.db.commit(squall_store::Batch::new(vec![row])).await?;
    app.fleet.forget(&host).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a token for a new host
///
/// The token is shown once. `command` is the whole line for the new host.
#[utoipa::path(post, path = "/hosts/tokens", tag = "hosts", request_body = NewJoinToken, responses(
    (status = 201, description = "The token", body = JoinToken),
))]
async fn token(Admin(caller): Admin, State(app): State<App>, Json(new): Json<NewJoinToken>) -> Result<Response, ApiError> {
    let detail = json!({ "uses": new.uses, "lasts": new.lasts, "labels": new.labels });
    let token = app.fleet.join_token(new).await?;
    let row = audit(&app, &caller, "host.token", "hosts", Outcome::Ok, detail);
    app.db.commit(squall_store::Batch::new(vec![row])).await?;
    Ok((StatusCode::CREATED, Json(token)).into_response())
}
