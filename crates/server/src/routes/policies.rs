//! A team's policies.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::json;
use squall_api::policies::{NewPolicy, Policy};
use squall_api::{Page, PageQuery, Problem};
use squall_store::{Batch, Document, StoreError, Write};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::auth::{Admin, Outcome, Viewer, audit};
use crate::error::unusable;
use crate::policy::{KIND, Saved};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one, save, remove))
}

fn seen(document: &Document) -> Result<Policy, StoreError> {
    let Saved { policy, by } = document.decode()?;
    Ok(Policy { name: document.id.clone(), policy, by, version: document.version, updated: document.updated })
}

/// List policies
#[utoipa::path(get, path = "/policies", tag = "policies", params(PageQuery), responses(
    (status = 200, description = "Policies, by name", body = Page<Policy>),
))]
async fn list(_: Viewer, State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<Policy>>, ApiError> {
    Ok(Json(paging::documents(&app, KIND, &page, seen).await?))
}

/// See a policy
#[utoipa::path(get, path = "/policies/{name}", tag = "policies", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The policy", body = Policy),
    (status = 404, description = "There is no such policy", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(name): Path<String>) -> Result<Json<Policy>, ApiError> {
    let found = app.db.get(KIND, &name).await?.ok_or_else(|| Problem::not_found("policy", &name))?;
    Ok(Json(seen(&found)?))
}

/// Save a policy
///
/// It applies to every run that starts from now on, and to every step of those under way.
#[utoipa::path(put, path = "/policies/{name}", tag = "policies", request_body = NewPolicy, params(
    ("name" = String, Path, description = "Its name, as in `metadata.name`"),
), responses(
    (status = 200, description = "It is saved", body = Policy),
    (status = 422, description = "The policy is wrong", body = Problem, content_type = "application/problem+json"),
))]
async fn save(
    Admin(caller): Admin,
    State(app): State<App>,
    Path(name): Path<String>,
    Json(new): Json<NewPolicy>,
) -> Result<Json<Policy>, ApiError> {
    let (policy, _) = squall_model::parse_policy(&new.policy).map_err(|found| unusable("the policy", &found))?;
    if policy.metadata.name != name {
        return Err(Problem::invalid(format!("the policy's `metadata.name` is `{}`, and not `{name}`", policy.metadata.name)).into());
    }
    let body = serde_json::to_value(Saved { policy: new.policy, by: caller.name.clone() }).unwrap_or_default();
    let put = Write::Put { kind: KIND.into(), id: name.clone(), body };
    let row = audit(&app, &caller, "policy.save", &format!("policy/{name}"), Outcome::Ok, json!({}));
    app.db.commit(Batch::new(vec![put, row])).await?;
    let saved = app.db.get(KIND, &name).await?.ok_or_else(|| Problem::not_found("policy", &name))?;
    Ok(Json(seen(&saved)?))
}

/// Remove a policy
#[utoipa::path(delete, path = "/policies/{name}", tag = "policies", params(("name" = String, Path, description = "Its name")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such policy", body = Problem, content_type = "application/problem+json"),
))]
async fn remove(Admin(caller): Admin, State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let delete = Write::Delete { kind: KIND.into(), id: name.clone(), version: None };
    let row = audit(&app, &caller, "policy.remove", &format!("policy/{name}"), Outcome::Ok, json!({}));
    app.db.commit(Batch::new(vec![delete, row])).await?;
    Ok(StatusCode::NO_CONTENT)
}
