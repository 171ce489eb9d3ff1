//! Game days: plan, run, mark, note, report.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseResponse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use squall_api::gamedays::{Changed, DaySummary, DayView, NewNote, Reason, Words};
use squall_api::{Page, PageQuery, Problem};
use squall_gameday::{DayReport, DayStep, Entry, Marked, NewActionItem, Plan};
use squall_store::{Change, Changes};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::after;
use crate::auth::{Operator, Viewer};
use crate::gamedays::{self as days, ENTRY, Right};
use crate::versions::{expected, tagged};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, replan, remove))
        .routes(routes!(start))
        .routes(routes!(finish))
        .routes(routes!(cancel))
        .routes(routes!(start_scenario))
        .routes(routes!(skip))
        .routes(routes!(detected, not_detected))
        .routes(routes!(resolved, not_resolved))
        .routes(routes!(actual))
        .routes(routes!(note))
        .routes(routes!(lesson))
        .routes(routes!(add_action))
        .routes(routes!(change_action))
        .routes(routes!(timeline))
        .routes(routes!(follow))
        .routes(routes!(report))
}

fn done(changed: Changed) -> Response {
    tagged(StatusCode::OK, changed.view.version, changed)
}

/// List game days
///
/// The newest first.
#[utoipa::path(get, path = "/gamedays", tag = "game days", params(PageQuery), responses(
    (status = 200, description = "Game days", body = Page<DaySummary>),
))]
async fn list(_: Viewer, State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<DaySummary>>, ApiError> {
    let limit = page.items();
    let items = days::list(&app, after(page.after.as_deref())?, limit + 1).await?;
    Ok(Json(super::paging::of_one_more(items, limit, |one| one.id.clone())))
}

/// Plan a game day
#[utoipa::path(post, path = "/gamedays", tag = "game days", request_body = Plan, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key is done once"),
), responses(
    (status = 201, description = "It is planned", body = DayView, headers(("Location" = String, description = "Its path"))),
))]
async fn create(Operator(caller): Operator, State(app): State<App>, Json(plan): Json<Plan>) -> Result<Response, ApiError> {
    let known = days::create(&app, &caller, plan).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/gamedays/{}", known.id)).map_err(|e| Problem::internal(e.to_string()))?;
    let mut response = tagged(StatusCode::CREATED, known.version, known.view(app.wall.now()));
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// See a game day
#[utoipa::path(get, path = "/gamedays/{id}", tag = "game days", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The game day", body = DayView, headers(("ETag" = String, description = "Its version"))),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let known = days::get(&app, &id).await?;
    Ok(tagged(StatusCode::OK, known.version, known.view(app.wall.now())))
}

/// Change a plan
///
/// Until the game day starts. With `If-Match`, only if it is still of that version.
#[utoipa::path(put, path = "/gamedays/{id}", tag = "game days", request_body = Plan, params(
    ("id" = String, Path, description = "Its id"),
    ("If-Match" = Option<String>, Header, description = "The `ETag` that the change was made from"),
), responses(
    (status = 200, description = "It was changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn replan(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(plan): Json<Plan>,
) -> Result<Response, ApiError> {
    let step = DayStep::Replan(Box::new(plan));
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, expected(&headers)?, step).await?))
}

/// Remove a game day
///
/// One that was never started.
#[utoipa::path(delete, path = "/gamedays/{id}", tag = "game days", params(("id" = String, Path, description = "Its id")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn remove(Operator(caller): Operator, State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    days::remove(&app, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Start a game day
#[utoipa::path(post, path = "/gamedays/{id}/start", tag = "game days", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn start(Operator(caller): Operator, State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(done(days::start(&app, &caller, &id).await?))
}

/// End a game day
///
/// Every scenario's run has to be over. Lessons and action items can still be added.
#[utoipa::path(post, path = "/gamedays/{id}/finish", tag = "game days", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn finish(Operator(caller): Operator, State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(done(days::finish(&app, &caller, &id).await?))
}

/// Call a game day off
///
/// A run that is under way is stopped, and what it did is put back.
#[utoipa::path(post, path = "/gamedays/{id}/cancel", tag = "game days", request_body = Reason, params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn cancel(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
    Json(why): Json<Reason>,
) -> Result<Response, ApiError> {
    Ok(done(days::cancel(&app, &caller, &id, why.reason).await?))
}

/// Start a scenario
///
/// Starts its run, as any other: policies, windows and the stop count. One at a time.
#[utoipa::path(post, path = "/gamedays/{id}/scenarios/{scenario}/start", tag = "game days", params(("id" = String, Path, description = "Its id"), ("scenario" = usize, Path, description = "Which scenario, from 0")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn start_scenario(
    Operator(caller): Operator,
    State(app): State<App>,
    Path((id, scenario)): Path<(String, usize)>,
) -> Result<Response, ApiError> {
    Ok(done(days::start_scenario(&app, &caller, &id, scenario).await?))
}

/// Leave a scenario out
#[utoipa::path(post, path = "/gamedays/{id}/scenarios/{scenario}/skip", tag = "game days", request_body = Reason, params(("id" = String, Path, description = "Its id"), ("scenario" = usize, Path, description = "Which scenario, from 0")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn skip(
    Operator(caller): Operator,
    State(app): State<App>,
    Path((id, scenario)): Path<(String, usize)>,
    Json(why): Json<Reason>,
) -> Result<Response, ApiError> {
    let step = DayStep::Skip { scenario, reason: why.reason };
    Ok(done(days::change(&app, &caller, Right::Lead, &id, None, step).await?))
}

/// Say that somebody has noticed
///
/// The server's time counts, and the first who says it. Later ones change nothing, and get who was first.
#[utoipa::path(post, path = "/gamedays/{id}/scenarios/{scenario}/detected", tag = "game days", params(("id" = String, Path, description = "Its id"), ("scenario" = usize, Path, description = "Which scenario, from 0")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn detected(
    Viewer(caller): Viewer,
    State(app): State<App>,
    Path((id, scenario)): Path<(String, usize)>,
) -> Result<Response, ApiError> {
    let step = DayStep::Mark { scenario, mark: Marked::Detected };
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, step).await?))
}

/// Take back that it was detected
#[utoipa::path(delete, path = "/gamedays/{id}/scenarios/{scenario}/detected", tag = "game days", params(("id" = String, Path, description = "Its id"), ("scenario" = usize, Path, description = "Which scenario, from 0")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn not_detected(
    Operator(caller): Operator,
    State(app): State<App>,
    Path((id, scenario)): Path<(String, usize)>,
) -> Result<Response, ApiError> {
    let step = DayStep::Unmark { scenario, mark: Marked::Detected };
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, step).await?))
}

/// Say that the service is well again
///
/// The server's time counts, and the first who says it. Later ones change nothing, and get who was first.
#[utoipa::path(post, path = "/gamedays/{id}/scenarios/{scenario}/resolved", tag = "game days", params(("id" = String, Path, description = "Its id"), ("scenario" = usize, Path, description = "Which scenario, from 0")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn resolved(
    Viewer(caller): Viewer,
    State(app): State<App>,
    Path((id, scenario)): Path<(String, usize)>,
) -> Result<Response, ApiError> {
    let step = DayStep::Mark { scenario, mark: Marked::Resolved };
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, step).await?))
}

/// Take back that it was resolved
#[utoipa::path(delete, path = "/gamedays/{id}/scenarios/{scenario}/resolved", tag = "game days", params(("id" = String, Path, description = "Its id"), ("scenario" = usize, Path, description = "Which scenario, from 0")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn not_resolved(
    Operator(caller): Operator,
    State(app): State<App>,
    Path((id, scenario)): Path<(String, usize)>,
) -> Result<Response, ApiError> {
    let step = DayStep::Unmark { scenario, mark: Marked::Resolved };
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, step).await?))
}

/// Say what people and systems did
#[utoipa::path(put, path = "/gamedays/{id}/scenarios/{scenario}/actual", tag = "game days", request_body = Words, params(("id" = String, Path, description = "Its id"), ("scenario" = usize, Path, description = "Which scenario, from 0")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn actual(
    Viewer(caller): Viewer,
    State(app): State<App>,
    Path((id, scenario)): Path<(String, usize)>,
    Json(words): Json<Words>,
) -> Result<Response, ApiError> {
    let step = DayStep::Actual { scenario, text: words.text };
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, step).await?))
}

/// Note something
#[utoipa::path(post, path = "/gamedays/{id}/notes", tag = "game days", request_body = NewNote, params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn note(
    Viewer(caller): Viewer,
    State(app): State<App>,
    Path(id): Path<String>,
    Json(note): Json<NewNote>,
) -> Result<Response, ApiError> {
    let step = DayStep::Note { scenario: note.scenario, text: note.text };
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, step).await?))
}

/// Write down a lesson
#[utoipa::path(post, path = "/gamedays/{id}/lessons", tag = "game days", request_body = Words, params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn lesson(
    Viewer(caller): Viewer,
    State(app): State<App>,
    Path(id): Path<String>,
    Json(words): Json<Words>,
) -> Result<Response, ApiError> {
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, DayStep::Lesson { text: words.text }).await?))
}

/// Add an action item
#[utoipa::path(post, path = "/gamedays/{id}/actions", tag = "game days", request_body = NewActionItem, params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn add_action(
    Viewer(caller): Viewer,
    State(app): State<App>,
    Path(id): Path<String>,
    Json(item): Json<NewActionItem>,
) -> Result<Response, ApiError> {
    let step = DayStep::AddAction(Box::new(item));
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, step).await?))
}

/// Change an action item
#[utoipa::path(put, path = "/gamedays/{id}/actions/{action}", tag = "game days", request_body = NewActionItem, params(("id" = String, Path, description = "Its id"), ("action" = u32, Path, description = "Number of the action item")), responses(
    (status = 200, description = "What has changed", body = Changed),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn change_action(
    Viewer(caller): Viewer,
    State(app): State<App>,
    Path((id, action)): Path<(String, u32)>,
    Json(item): Json<NewActionItem>,
) -> Result<Response, ApiError> {
    let step = DayStep::ChangeAction { id: action, what: Box::new(item) };
    Ok(done(days::change(&app, &caller, Right::TakePart, &id, None, step).await?))
}

/// Which part of a timeline.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimelineQuery {
    /// At most so many: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before: the number of its last entry.
    after: Option<u64>,
}

/// See the timeline of a game day
#[utoipa::path(get, path = "/gamedays/{id}/timeline", tag = "game days", params(("id" = String, Path, description = "Its id"), TimelineQuery), responses(
    (status = 200, description = "Entries, in order", body = Page<Entry>),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn timeline(
    _: Viewer,
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<TimelineQuery>,
) -> Result<Json<Page<Entry>>, ApiError> {
    days::get(&app, &id).await?;
    let limit = PageQuery { limit: query.limit, after: None }.items();
    let items = days::entries(&app, &id, query.after.unwrap_or(0), Some(limit + 1)).await?;
    Ok(Json(super::paging::of_one_more(items, limit, |one| one.seq.to_string())))
}

/// Follow a game day
///
/// Server-sent events, one for each entry of its timeline from the first on; `Last-Event-ID` goes on after that one. The stream ends when
/// the game day is over and everything was sent.
#[utoipa::path(get, path = "/gamedays/{id}/events", tag = "game days", params(
    ("id" = String, Path, description = "Its id"),
    ("Last-Event-ID" = Option<String>, Header, description = "Go on after this entry"),
), responses(
    (status = 200, description = "The timeline", body = String, content_type = "text/event-stream"),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
))]
async fn follow(_: Viewer, State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    // Watched before it is read, so that nothing falls between.
    let changes = app.db.watch();
    days::get(&app, &id).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(SseResponse::new(entries(app, changes, id, last)).keep_alive(KeepAlive::default()).into_response())
}

/// What is sent although nothing seems to have changed: a change that was missed is seen after so long.
const LOOK_EVERY: Duration = Duration::from_secs(15);

fn entries(app: App, changes: Changes, id: String, last: u64) -> impl Stream<Item = Result<Sse, Infallible>> {
    let start = (changes, last, Vec::<Entry>::new().into_iter());
    stream::unfold(start, move |(mut changes, mut last, mut batch)| {
        let (app, id) = (app.clone(), id.clone());
        async move {
            loop {
                if let Some(entry) = batch.next() {
                    last = entry.seq;
                    let event = Sse::default().id(entry.seq.to_string()).event("entry").json_data(&entry).unwrap_or_default();
                    return Some((Ok(event), (changes, last, batch)));
                }
                let known = days::get(&app, &id).await.ok()?;
                let found = days::entries(&app, &id, last, Some(500)).await.ok()?;
                if !found.is_empty() {
                    batch = found.into_iter();
                    continue;
                }
                if days::over(&known.day) && known.day.entries <= last {
                    return None;
                }
                changed(&app, &mut changes, &id).await?;
            }
        }
    })
}

/// Waits until the timeline may have grown. `None`: the database is gone.
async fn changed(app: &App, changes: &mut Changes, id: &str) -> Option<()> {
    let clock = app.notifications.clock();
    let look = clock.sleep_until(clock.now() + LOOK_EVERY);
    let mut look = std::pin::pin!(look);
    loop {
        tokio::select! {
            change = changes.next() => match change? {
                Change::Document { kind, id: of } if kind == ENTRY && of.split('/').next() == Some(id) => return Some(()),
                Change::Missed => return Some(()),
                Change::Document { .. } | Change::Run(_) => {}
            },
            () = &mut look => return Some(()),
        }
    }
}

/// In which format.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReportQuery {
    /// `html` (the default), `md` or `json`.
    format: Option<String>,
}

/// Report of a game day
///
/// As it is now: also before it is over.
#[utoipa::path(get, path = "/gamedays/{id}/report", tag = "game days", params(("id" = String, Path, description = "Its id"), ReportQuery), responses(
    (status = 200, description = "The report", content((String = "text/html"), (String = "text/markdown"), (DayReport = "application/json"))),
    (status = 404, description = "There is no such thing", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The content cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn report(_: Viewer, State(app): State<App>, Path(id): Path<String>, Query(query): Query<ReportQuery>) -> Result<Response, ApiError> {
    let known = days::get(&app, &id).await?;
    let report = DayReport::new(&known.day, days::entries(&app, &id, 0, None).await?, app.wall.now());
    let (kind, text) = match query.format.as_deref().unwrap_or("html") {
        "html" => ("text/html; charset=utf-8", report.html()),
        "md" => ("text/markdown; charset=utf-8", report.markdown()),
        "json" => ("application/json", report.json()),
        other => return Err(Problem::invalid(format!("`format={other}` is none of html, md, json")).into()),
    };
    let text = text.map_err(|e| Problem::internal(e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
