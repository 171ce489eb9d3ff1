//! Findings: search, take on, fix, verify.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::tz::TimeZone;
use serde::Deserialize;
use squall_api::findings::{FindingPatch, FindingView, MaybeReason};
use squall_api::gamedays::Reason;
use squall_api::{Page, PageQuery, Problem};
use squall_gameday::{FindingState, FindingStep, NewActionItem, Priority, Query as Wanted, search};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Operator, Viewer};
use crate::findings::{self, Known};
use crate::versions::{expected, tagged};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, describe))
        .routes(routes!(acknowledge))
        .routes(routes!(fix))
        .routes(routes!(wontfix))
        .routes(routes!(reopen))
        .routes(routes!(add_action))
        .routes(routes!(change_action))
}

fn shown(app: &App, known: Known) -> Response {
    tagged(StatusCode::OK, known.version, known.view(app.wall.now()))
}

/// Which findings to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FindingQuery {
    /// At most so many: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Words that must all be there, as starts of words; in quotes, one after another.
    search: Option<String>,
    /// States, separated by commas: `open`, `acknowledged`, `fixed`, `verified`, `wontfix`.
    state: Option<String>,
    /// Tags that must all be there, separated by commas.
    tag: Option<String>,
    /// The service that it is about.
    service: Option<String>,
    /// The experiment that found it.
    experiment: Option<String>,
    /// Somebody who has something to do about it.
    owner: Option<String>,
    /// `P0`, `P1` or `P2`: of something that is still to be done.
    #[param(value_type = Option<String>)]
    priority: Option<Priority>,
    /// Only those with something that should have been done by now.
    #[serde(default)]
    overdue: bool,
}

/// List findings
///
/// With words to search for, the best first; else in order of their last change of state, the newest first.
#[utoipa::path(get, path = "/findings", tag = "findings", params(FindingQuery), responses(
    (status = 200, description = "Findings", body = Page<FindingView>),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn list(_: Viewer, State(app): State<App>, Query(query): Query<FindingQuery>) -> Result<Json<Page<FindingView>>, ApiError> {
    let split = |text: &Option<String>| {
        let words = text.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let state = |text: String| {
        let state = serde_json::from_value::<FindingState>(text.clone().into());
        state.map_err(|_| Problem::invalid(format!("`state={text}` is none of open, acknowledged, fixed, verified, wontfix")))
    };
    let now = app.wall.now();
    let wanted = Wanted {
        words: query.search.clone().unwrap_or_default(),
        states: split(&query.state).into_iter().map(state).collect::<Result<_, _>>()?,
        tags: split(&query.tag),
        service: query.service,
        experiment: query.experiment,
        owner: query.owner,
        priority: query.priority,
        overdue_on: query.overdue.then(|| now.to_zoned(TimeZone::UTC).date()),
    };
    let mut all = findings::all(&app).await?;
    let found: Vec<String> =
        search(all.iter().map(|known| (known.id.as_str(), &known.finding)), &wanted).into_iter().map(str::to_owned).collect();
    // One that is no longer found is after the last.
    let from = query.after.map_or(0, |after| found.iter().position(|id| *id == after).map_or(found.len(), |at| at + 1));
    let limit = PageQuery { limit: query.limit, after: None }.items();
    let page = &found[from..found.len().min(from + limit)];
    let next = (from + limit < found.len()).then(|| page.last().cloned()).flatten();
    let mut take = |id: &String| all.iter().position(|known| known.id == *id).map(|at| all.swap_remove(at).view(now));
    let items = page.iter().filter_map(&mut take).collect();
    Ok(Json(Page { items, next }))
}

/// See a finding
#[utoipa::path(get, path = "/findings/{id}", tag = "findings", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The finding", body = FindingView, headers(("ETag" = String, description = "Its version"))),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(shown(&app, findings::get(&app, &id).await?))
}

/// Say it better
///
/// Title, service, runbook, tags, notes: what is absent stays. With `If-Match`, only if it is still of that version.
#[utoipa::path(patch, path = "/findings/{id}", tag = "findings", request_body = FindingPatch, params(
    ("id" = String, Path, description = "Its id"),
    ("If-Match" = Option<String>, Header, description = "The `ETag` that the change was made from"),
), responses(
    (status = 200, description = "It was changed", body = FindingView),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn describe(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(patch): Json<FindingPatch>,
) -> Result<Response, ApiError> {
    let FindingPatch { title, service, runbook, tags, notes } = patch;
    let step = FindingStep::Describe { title, service, runbook, tags, notes };
    Ok(shown(&app, findings::change(&app, &caller, &id, expected(&headers)?, step).await?))
}

/// Take a finding on
#[utoipa::path(post, path = "/findings/{id}/acknowledge", tag = "findings", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The finding", body = FindingView),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn acknowledge(Operator(caller): Operator, State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let step = FindingStep::Acknowledge;
    Ok(shown(&app, findings::change(&app, &caller, &id, None, step).await?))
}

/// Say that a finding is fixed
///
/// A later run of its experiment that holds verifies it.
#[utoipa::path(post, path = "/findings/{id}/fix", tag = "findings", request_body = Option<MaybeReason>, params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The finding", body = FindingView),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn fix(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
    body: Option<Json<MaybeReason>>,
) -> Result<Response, ApiError> {
    let step = FindingStep::Fix { reason: body.and_then(|Json(why)| why.reason) };
    Ok(shown(&app, findings::change(&app, &caller, &id, None, step).await?))
}

/// Leave a finding as it is
#[utoipa::path(post, path = "/findings/{id}/wontfix", tag = "findings", request_body = Reason, params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The finding", body = FindingView),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn wontfix(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
    Json(why): Json<Reason>,
) -> Result<Response, ApiError> {
    let step = FindingStep::Wontfix { reason: why.reason };
    Ok(shown(&app, findings::change(&app, &caller, &id, None, step).await?))
}

/// Say that a finding is not over
#[utoipa::path(post, path = "/findings/{id}/reopen", tag = "findings", request_body = Reason, params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The finding", body = FindingView),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn reopen(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
    Json(why): Json<Reason>,
) -> Result<Response, ApiError> {
    let step = FindingStep::Reopen { reason: why.reason };
    Ok(shown(&app, findings::change(&app, &caller, &id, None, step).await?))
}

/// Add an action item
#[utoipa::path(post, path = "/findings/{id}/actions", tag = "findings", request_body = NewActionItem, params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The finding", body = FindingView),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn add_action(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
    Json(item): Json<NewActionItem>,
) -> Result<Response, ApiError> {
    let step = FindingStep::AddAction(Box::new(item));
    Ok(shown(&app, findings::change(&app, &caller, &id, None, step).await?))
}

/// Change an action item
#[utoipa::path(put, path = "/findings/{id}/actions/{action}", tag = "findings", request_body = NewActionItem, params(("id" = String, Path, description = "Its id"), ("action" = u32, Path, description = "Number of the action item")), responses(
    (status = 200, description = "The finding", body = FindingView),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn change_action(
    Operator(caller): Operator,
    State(app): State<App>,
    Path((id, action)): Path<(String, u32)>,
    Json(item): Json<NewActionItem>,
) -> Result<Response, ApiError> {
    let step = FindingStep::ChangeAction { id: action, what: Box::new(item) };
    Ok(shown(&app, findings::change(&app, &caller, &id, None, step).await?))
}
