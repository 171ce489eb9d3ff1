//! Approvals: ask for one, give it, refuse it.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use squall_api::approvals::{Approval, ApprovalRule, ApprovalState, Decision, NewApproval, NewDecision};
use squall_api::{Page, PageQuery, Problem};
use squall_model::Time;
use squall_notify::{EventKind, Notice};
use squall_store::{Batch, Document, List, Write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::approvals::{KIND, Saved, subject};
use crate::auth::{Approver, Caller, Operator, Outcome, Role, Viewer, audit};
use crate::error::json_of;
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, ask)).routes(routes!(one, withdraw)).routes(routes!(approve)).routes(routes!(refuse))
}

/// How long an approval is good for.
const LASTS: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(30 * 24);
const LASTS_BY_DEFAULT: Duration = Duration::from_hours(24);

fn seen(app: &App, document: &Document) -> Result<Approval, ApiError> {
    let saved: Saved = document.decode()?;
    let state = saved.state(app.wall.now());
    let Saved { experiment, manifest, from, by, why, created, until, rules, decisions } = saved;
    Ok(Approval { id: document.id.clone(), experiment, manifest, from, by, why, created, until, state, rules, decisions })
}

/// Which to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApprovalQuery {
    /// At most so many: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Only those of this state.
    state: Option<ApprovalState>,
}

/// List approvals
///
/// The newest first.
#[utoipa::path(get, path = "/approvals", tag = "approvals", params(ApprovalQuery), responses(
    (status = 200, description = "Approvals", body = Page<Approval>),
))]
async fn list(_: Viewer, State(app): State<App>, Query(query): Query<ApprovalQuery>) -> Result<Json<Page<Approval>>, ApiError> {
    let mut items =
        app.db.list(KIND, &List::default()).await?.iter().map(|document| seen(&app, document)).collect::<Result<Vec<_>, _>>()?;
    items.retain(|approval| query.state.is_none_or(|state| approval.state == state));
    // Their ids say what is approved, and not when it was asked for.
    items.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    let after = paging::after(query.after.as_deref())?;
    let from = after.and_then(|after| items.iter().position(|approval| approval.id == after)).map_or(0, |index| index + 1);
    let limit = PageQuery { limit: query.limit, after: None }.items();
    items.drain(..from);
    items.truncate(limit + 1);
    Ok(Json(paging::of_one_more(items, limit, |approval| approval.id.clone())))
}

/// Ask others to approve a run
///
/// Where a rule of a policy wants approvals for it. When enough people have given theirs, the run may be started, by hand or by a schedule,
/// until the approval ends. Nobody approves what they asked for, and an approval of whoever starts the run does not count.
#[utoipa::path(post, path = "/approvals", tag = "approvals", request_body = NewApproval, responses(
    (status = 201, description = "Others can approve it", body = Approval, headers(("Location" = String, description = "Its path"))),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It was asked for already", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The manifest is wrong, or nothing wants an approval", body = Problem, content_type = "application/problem+json"),
))]
async fn ask(Operator(caller): Operator, State(app): State<App>, Json(new): Json<NewApproval>) -> Result<Response, ApiError> {
    if new.why.trim().is_empty() || new.why.len() > 2000 {
        return Err(Problem::invalid("`why` is empty, or longer than 2000 bytes").hint("say to those who are asked what it is for").into());
    }
    let lasts = match &new.lasts {
        None => LASTS_BY_DEFAULT,
        Some(text) => text.parse::<Time>().map_err(|e| Problem::invalid(format!("`lasts`: {e}")))?.std(),
    };
    if !LASTS.contains(&lasts) {
        return Err(Problem::invalid("`lasts` is not within 1m and 30d").into());
    }
    let request = app.runs.read(&new.run, &caller, serde_json::Value::Null).await?;
    let rules = wanted(&app, &request).await?;
    let now = app.wall.now();
    let subject = subject(&request);
    let before = app.db.list(KIND, &List::prefix(&subject)).await?;
    for document in &before {
        let state = document.decode::<Saved>()?.state(now);
        if matches!(state, ApprovalState::Pending | ApprovalState::Approved) {
            let problem = Problem::conflict(format!("this run was asked for already: approval {} is {}", document.id, name(state)));
            return Err(problem.hint("wait for it, or withdraw it first").into());
        }
    }
    let id = format!("{subject}{:04}", before.last().map_or(1, |last| number(&last.id) + 1));
    let until = now.checked_add(lasts).map_err(|e| Problem::invalid(format!("`lasts`: {e}")))?;
    let saved = Saved {
        experiment: request.experiment.metadata.name.clone(),
        manifest: request.text,
        from: request.from,
        by: caller.name.clone(),
        why: new.why,
        created: now,
        until,
        rules,
        decisions: Vec::new(),
    };
    let body = json_of(&saved)?;
    let put = Write::Create { kind: KIND.into(), id: id.clone(), body };
    let detail = json!({ "why": saved.why, "experiment": saved.experiment });
    let row = audit(&app, &caller, "approval.ask", &format!("approval/{id}"), Outcome::Ok, detail);
    app.db.commit(Batch::new(vec![put, row])).await?;
    let subject = format!("approval:{id}");
    app.notifications.tell(Notice {
        experiment: Some(saved.experiment),
        labels: request.experiment.metadata.labels,
        reason: Some(saved.why),
        by: Some(caller.name),
        url: Some(app.notifications.link(&format!("/approvals/{id}"))),
        ..Notice::new(&subject, EventKind::ApprovalWanted, now, &subject)
    });
    let location = HeaderValue::from_str(&format!("/api/v1/approvals/{id}")).map_err(|e| Problem::internal(e.to_string()))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(seen(&app, &known(&app, &id).await?)?)).into_response())
}

/// The rules that want approvals for a run.
async fn wanted(app: &App, request: &crate::runs::RunRequest) -> Result<Vec<ApprovalRule>, ApiError> {
    let mut rules: Vec<ApprovalRule> = Vec::new();
    for need in app.runs.plan(request).await?.steps.into_iter().filter_map(|step| step.approvals) {
        let rule = ApprovalRule { policy: need.policy, rule: need.rule, wanted: need.wanted };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    if rules.is_empty() {
        return Err(Problem::invalid("no rule wants an approval for this run")
            .hint("start it; the plan says what else may stand against it")
            .into());
    }
    Ok(rules)
}

/// See an approval
#[utoipa::path(get, path = "/approvals/{id}", tag = "approvals", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The approval", body = Approval),
    (status = 404, description = "There is no such approval", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(id): Path<String>) -> Result<Json<Approval>, ApiError> {
    Ok(Json(seen(&app, &known(&app, &id).await?)?))
}

/// Withdraw a request for approval
///
/// By who asked for it, or by an admin. Runs under way go on.
#[utoipa::path(delete, path = "/approvals/{id}", tag = "approvals", params(("id" = String, Path, description = "Its id")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such approval", body = Problem, content_type = "application/problem+json"),
))]
async fn withdraw(Operator(caller): Operator, State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let document = known(&app, &id).await?;
    if document.decode::<Saved>()?.by != caller.name && !caller.may(Role::Admin) {
        return Err(Problem::forbidden("only who asked for it, or an admin, can withdraw it").into());
    }
    let delete = Write::Delete { kind: KIND.into(), id: id.clone(), version: Some(document.version) };
    let row = audit(&app, &caller, "approval.withdraw", &format!("approval/{id}"), Outcome::Ok, json!({}));
    app.db.commit(Batch::new(vec![delete, row])).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Approve a run
#[utoipa::path(post, path = "/approvals/{id}/approve", tag = "approvals", request_body = Option<NewDecision>, params(
    ("id" = String, Path, description = "Its id"),
), responses(
    (status = 200, description = "It is noted", body = Approval),
    (status = 404, description = "There is no such approval", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is refused or over, or you have approved it", body = Problem, content_type = "application/problem+json"),
))]
async fn approve(
    Approver(caller): Approver,
    State(app): State<App>,
    Path(id): Path<String>,
    body: Option<Json<NewDecision>>,
) -> Result<Json<Approval>, ApiError> {
    decide(&app, &caller, &id, body, true).await
}

/// Refuse to approve a run
///
/// One refusal is enough, also after approvals: the run may not be started on this request any more.
#[utoipa::path(post, path = "/approvals/{id}/refuse", tag = "approvals", request_body = Option<NewDecision>, params(
    ("id" = String, Path, description = "Its id"),
), responses(
    (status = 200, description = "It is noted", body = Approval),
    (status = 404, description = "There is no such approval", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is refused already, or over", body = Problem, content_type = "application/problem+json"),
))]
async fn refuse(
    Approver(caller): Approver,
    State(app): State<App>,
    Path(id): Path<String>,
    body: Option<Json<NewDecision>>,
) -> Result<Json<Approval>, ApiError> {
    decide(&app, &caller, &id, body, false).await
}

async fn decide(app: &App, caller: &Caller, id: &str, body: Option<Json<NewDecision>>, approve: bool) -> Result<Json<Approval>, ApiError> {
    let document = known(app, id).await?;
    let mut saved: Saved = document.decode()?;
    let now = app.wall.now();
    let state = saved.state(now);
    if matches!(state, ApprovalState::Refused | ApprovalState::Expired) {
        return Err(Problem::conflict(format!("the approval is {}", name(state))).hint("ask for another").into());
    }
    if approve && saved.by == caller.name {
        let problem = Problem::forbidden("nobody approves what they asked for themselves");
        return Err(problem.hint("it takes four eyes: ask somebody else").into());
    }
    if saved.decisions.iter().any(|decision| decision.by == caller.name && decision.approve == approve) {
        return Err(Problem::conflict("you have said so already").into());
    }
    let comment = body.and_then(|Json(body)| body.comment);
    if comment.as_ref().is_some_and(|comment| comment.len() > 2000) {
        return Err(Problem::invalid("`comment` is longer than 2000 bytes").into());
    }
    saved.decisions.push(Decision { by: caller.name.clone(), approve, comment: comment.clone(), at: now });
    let body = json_of(&saved)?;
    let update = Write::Replace { kind: KIND.into(), id: id.to_owned(), version: document.version, body };
    let action = if approve { "approval.approve" } else { "approval.refuse" };
    let row = audit(app, caller, action, &format!("approval/{id}"), Outcome::Ok, json!({ "comment": comment }));
    app.db.commit(Batch::new(vec![update, row])).await?;
    Ok(Json(seen(app, &known(app, id).await?)?))
}

async fn known(app: &App, id: &str) -> Result<Document, ApiError> {
    Ok(app.db.get(KIND, id).await?.ok_or_else(|| Problem::not_found("approval", id))?)
}

fn name(state: ApprovalState) -> &'static str {
    match state {
        ApprovalState::Pending => "pending",
        ApprovalState::Approved => "approved",
        ApprovalState::Refused => "refused",
        ApprovalState::Expired => "expired",
    }
}

/// The number of a request among those for the same run.
fn number(id: &str) -> u32 {
    id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
