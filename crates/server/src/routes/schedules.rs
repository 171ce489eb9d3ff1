//! Schedules: experiments that run by themselves.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use squall_api::problem::FieldError;
use squall_api::schedules::{Firing, FiringState, NewSchedule, NextTime, SavedSchedule};
use squall_api::{Page, PageQuery, Problem};
use squall_schedule::Timetable;
use squall_store::{Batch, CommitError, Document, List, Write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::auth::{Caller, Operator, Outcome, Viewer, audit};
use crate::scheduler::{FIRING, PENDING, SCHEDULE, SCHEDULE_STATE, ScheduleDocument, ScheduleState, firing_id};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, save, remove))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(trigger))
        .routes(routes!(history))
        .routes(routes!(next))
        .routes(routes!(preview))
}

/// Reads a schedule's timetable.
pub(super) fn timetable(document: &ScheduleDocument) -> Result<Timetable, ApiError> {
    Ok(Timetable::new(&document.read()?).map_err(|e| Problem::invalid(format!("{}: {}", e.path, e.message)))?)
}

fn seen(document: &Document, now: Timestamp) -> Result<SavedSchedule, ApiError> {
    let kept: ScheduleDocument = document.decode()?;
    let schedule = kept.read()?;
    let (spec, timetable) = (schedule.spec, timetable(&kept)?);
    let next = timetable.next(now).filter(|_| !spec.paused).map(|occurrence| occurrence.due);
    Ok(SavedSchedule {
        name: document.id.clone(),
        schedule: kept.schedule,
        paused: spec.paused,
        experiment: spec.experiment,
        cron: spec.cron,
        time_zone: spec.time_zone.unwrap_or_else(|| "UTC".into()),
        next,
        version: document.version,
        by: kept.by,
        updated: document.updated,
    })
}

async fn known(app: &App, name: &str) -> Result<Document, ApiError> {
    Ok(app.db.get(SCHEDULE, name).await?.ok_or_else(|| Problem::not_found("schedule", name))?)
}

/// List schedules
#[utoipa::path(get, path = "/schedules", tag = "schedules", params(PageQuery), responses(
    (status = 200, description = "Schedules, by name", body = Page<SavedSchedule>),
    (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
))]
async fn list(_: Viewer, State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<SavedSchedule>>, ApiError> {
    let now = app.wall.now();
    Ok(Json(paging::documents(&app, SCHEDULE, &page, |document| seen(document, now)).await?))
}

/// See a schedule
#[utoipa::path(get, path = "/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The schedule", body = SavedSchedule),
    (status = 404, description = "There is no such schedule", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(name): Path<String>) -> Result<Json<SavedSchedule>, ApiError> {
    Ok(Json(seen(&known(&app, &name).await?, app.wall.now())?))
}

/// Save a schedule
///
/// It applies from now on: times that a changed one would have had before are not made up for.
#[utoipa::path(put, path = "/schedules/{name}", tag = "schedules", request_body = NewSchedule, params(
    ("name" = String, Path, description = "Its name, as in `metadata.name`"),
), responses(
    (status = 200, description = "It was changed", body = SavedSchedule),
    (status = 201, description = "It is new", body = SavedSchedule),
    (status = 400, description = "The request cannot be understood", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Somebody else has changed it just now", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The schedule is wrong", body = Problem, content_type = "application/problem+json"),
))]
async fn save(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(name): Path<String>,
    Json(new): Json<NewSchedule>,
) -> Result<Response, ApiError> {
    let was = app.db.get(SCHEDULE, &name).await?;
    let before = was.as_ref().map(Document::decode::<ScheduleDocument>).transpose()?;
    let kept = ScheduleDocument { schedule: new.schedule, paused: before.is_some_and(|kept| kept.paused), by: caller.name.clone() };
    let schedule = kept.read()?;
    if schedule.metadata.name != name {
        return Err(Problem::invalid(format!("the schedule's `metadata.name` is `{}`, and not `{name}`", schedule.metadata.name)).into());
    }
    if app.db.get(crate::experiments::KIND, &schedule.spec.experiment).await?.is_none() {
        let message = format!("there is no experiment `{}`", schedule.spec.experiment);
        let error = FieldError { place: "spec.experiment".into(), message, hint: Some("save it first".into()) };
        return Err(Problem { errors: vec![error], ..Problem::invalid("the schedule cannot be used") }.into());
    }
    let writes = changed(&app, &name, was.as_ref(), &kept).await?;
    let row = audit(&app, &caller, "schedule.save", &format!("schedule/{name}"), Outcome::Ok, json!({ "new": was.is_none() }));
    app.db.commit(Batch::new(writes.into_iter().chain([row]).collect::<Vec<_>>())).await?;
    let status = if was.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(seen(&known(&app, &name).await?, app.wall.now())?)).into_response())
}

/// What a change of a schedule writes: the schedule, and that nothing before now is due.
async fn changed(app: &App, name: &str, was: Option<&Document>, kept: &ScheduleDocument) -> Result<Vec<Write>, ApiError> {
    let now = app.wall.now();
    let internal = |e: serde_json::Error| Problem::internal(e.to_string());
    let write = |kind: &str, was: Option<&Document>, body| match was {
        Some(was) => Write::Replace { kind: kind.into(), id: name.into(), version: was.version, body },
        None => Write::Create { kind: kind.into(), id: name.into(), body },
    };
    let state = app.db.get(SCHEDULE_STATE, name).await?;
    let before = state.as_ref().map(Document::decode::<ScheduleState>).transpose()?;
    // Set back to now even from a time that is ahead: the wall clock was wrong then. What was fired has its record.
    let after = ScheduleState { decided: now, active: before.map(|state| state.active).unwrap_or_default() };
    Ok(vec![
        write(SCHEDULE, was, serde_json::to_value(kept).map_err(internal)?),
        write(SCHEDULE_STATE, state.as_ref(), serde_json::to_value(&after).map_err(internal)?),
    ])
}

/// Remove a schedule
///
/// Its runs stay, and those under way go on. Its history goes with it.
#[utoipa::path(delete, path = "/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "Its name")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such schedule", body = Problem, content_type = "application/problem+json"),
))]
async fn remove(Operator(caller): Operator, State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    known(&app, &name).await?;
    let delete = |kind: &str, id: &str| Write::Delete { kind: kind.into(), id: id.into(), version: None };
    let mut writes = vec![delete(SCHEDULE, &name)];
    if app.db.get(SCHEDULE_STATE, &name).await?.is_some() {
        writes.push(delete(SCHEDULE_STATE, &name));
    }
    writes.push(audit(&app, &caller, "schedule.remove", &format!("schedule/{name}"), Outcome::Ok, json!({})));
    app.db.commit(Batch::new(writes)).await?;
    forget(&app, &format!("schedule/{name}/")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drops records and notes of what is no more.
pub(super) async fn forget(app: &App, prefix: &str) -> Result<(), ApiError> {
    for kind in [PENDING, FIRING] {
        for document in app.db.list(kind, &List::prefix(prefix)).await? {
            let delete = Write::Delete { kind: kind.into(), id: document.id, version: None };
            match app.db.commit(Batch::new([delete]).unsynced()).await {
                Ok(_) | Err(CommitError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

async fn set_paused(app: &App, caller: &Caller, name: &str, paused: bool) -> Result<Json<SavedSchedule>, ApiError> {
    let was = known(app, name).await?;
    let kept = ScheduleDocument { paused, ..was.decode()? };
    if !paused && kept.read()?.spec.paused {
        return Err(Problem::conflict("the schedule is paused by its own text").hint("remove `paused: true` from it").into());
    }
    let writes = if paused {
        let body = serde_json::to_value(&kept).map_err(|e| Problem::internal(e.to_string()))?;
        vec![Write::Replace { kind: SCHEDULE.into(), id: name.into(), version: was.version, body }]
    } else {
        changed(app, name, Some(&was), &kept).await?
    };
    let action = if paused { "schedule.pause" } else { "schedule.resume" };
    let row = audit(app, caller, action, &format!("schedule/{name}"), Outcome::Ok, json!({}));
    app.db.commit(Batch::new(writes.into_iter().chain([row]).collect::<Vec<_>>())).await?;
    Ok(Json(seen(&known(app, name).await?, app.wall.now())?))
}

/// Pause a schedule
///
/// Its times are recorded as skipped until it is resumed. Runs under way go on.
#[utoipa::path(post, path = "/schedules/{name}/pause", tag = "schedules", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "It is paused", body = SavedSchedule),
    (status = 404, description = "There is no such schedule", body = Problem, content_type = "application/problem+json"),
))]
async fn pause(Operator(caller): Operator, State(app): State<App>, Path(name): Path<String>) -> Result<Json<SavedSchedule>, ApiError> {
    set_paused(&app, &caller, &name, true).await
}

/// Resume a schedule
#[utoipa::path(post, path = "/schedules/{name}/resume", tag = "schedules", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "It goes on", body = SavedSchedule),
    (status = 404, description = "There is no such schedule", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Its own text has it paused", body = Problem, content_type = "application/problem+json"),
))]
async fn resume(Operator(caller): Operator, State(app): State<App>, Path(name): Path<String>) -> Result<Json<SavedSchedule>, ApiError> {
    set_paused(&app, &caller, &name, false).await
}

/// Run a schedule now
///
/// Beside its times, and also when it is paused. It begins within seconds, unless something stands against it.
#[utoipa::path(post, path = "/schedules/{name}/trigger", tag = "schedules", params(
    ("name" = String, Path, description = "Its name"),
    ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key is done once"),
), responses(
    (status = 202, description = "It is about to begin", body = Firing),
    (status = 404, description = "There is no such schedule", body = Problem, content_type = "application/problem+json"),
))]
async fn trigger(Operator(caller): Operator, State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let schedule = known(&app, &name).await?.decode::<ScheduleDocument>()?.read()?;
    let (now, run) = (app.wall.now(), app.runs.new_id());
    let id = format!("{name}-{}-{run}", now.strftime("%Y%m%dt%H%M%Sz"));
    let until = now.checked_add(SignedDuration::from_mins(1)).unwrap_or(now);
    let pending = crate::scheduler::pending(&schedule, &id, run.clone(), until, Vec::new());
    let detail = format!("started by {}", caller.name);
    let firing = Firing { id, due: now, decided: now, state: FiringState::Waiting, run: Some(run), detail, group: None, host: None };
    let document = firing_id("schedule", &name, &firing.id);
    let internal = |e: serde_json::Error| Problem::internal(e.to_string());
    let writes = vec![
        Write::Create { kind: FIRING.into(), id: document.clone(), body: serde_json::to_value(&firing).map_err(internal)? },
        Write::Create { kind: PENDING.into(), id: document, body: serde_json::to_value(&pending).map_err(internal)? },
        audit(&app, &caller, "schedule.trigger", &format!("schedule/{name}"), Outcome::Ok, json!({ "run": firing.run })),
    ];
    app.db.commit(Batch::new(writes)).await?;
    Ok((StatusCode::ACCEPTED, Json(firing)).into_response())
}

/// What became of the times of a schedule
///
/// The newest first: started, refused, skipped or missed, and why.
#[utoipa::path(get, path = "/schedules/{name}/history", tag = "schedules", params(("name" = String, Path, description = "Its name"), PageQuery), responses(
    (status = 200, description = "Times", body = Page<Firing>),
    (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is no such schedule", body = Problem, content_type = "application/problem+json"),
))]
async fn history(
    _: Viewer,
    State(app): State<App>,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Firing>>, ApiError> {
    known(&app, &name).await?;
    firings(&app, "schedule", &name, &page).await
}

/// Records of a schedule or a monkey, the newest first.
pub(super) async fn firings(app: &App, kind: &str, name: &str, page: &PageQuery) -> Result<Json<Page<Firing>>, ApiError> {
    let limit = page.items();
    let after = paging::after(page.after.as_deref())?.map(|id| firing_id(kind, name, &id));
    let list = List { after, limit: Some(limit + 1), descending: true, ..List::prefix(format!("{kind}/{name}/")) };
    let items = app.db.list(FIRING, &list).await?.iter().map(Document::decode).collect::<Result<Vec<Firing>, _>>()?;
    Ok(Json(paging::of_one_more(items, limit, |firing| firing.id.clone())))
}

/// How many times to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Count {
    /// At most so many: 1 to 500, 10 by default.
    #[param(minimum = 1, maximum = 500)]
    count: Option<u32>,
}

fn ahead(timetable: &Timetable, now: Timestamp, count: Option<u32>) -> Vec<NextTime> {
    let count = count.unwrap_or(10).clamp(1, 500) as usize;
    let planned = timetable.between(now, Timestamp::MAX, count);
    let shown = |planned: squall_schedule::Planned| {
        let squall_schedule::Occurrence { id, nominal, due } = planned.occurrence;
        NextTime { id, nominal, due, skipped: planned.skipped }
    };
    planned.into_iter().map(shown).collect()
}

/// The next times of a schedule
#[utoipa::path(get, path = "/schedules/{name}/next", tag = "schedules", params(("name" = String, Path, description = "Its name"), Count), responses(
    (status = 200, description = "Times", body = Vec<NextTime>),
    (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is no such schedule", body = Problem, content_type = "application/problem+json"),
))]
async fn next(
    _: Viewer,
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<Count>,
) -> Result<Json<Vec<NextTime>>, ApiError> {
    let document: ScheduleDocument = known(&app, &name).await?.decode()?;
    Ok(Json(ahead(&timetable(&document)?, app.wall.now(), query.count)))
}

/// The next times of a schedule that is not saved
#[utoipa::path(post, path = "/schedules/preview", tag = "schedules", request_body = NewSchedule, params(Count), responses(
    (status = 200, description = "Times", body = Vec<NextTime>),
    (status = 400, description = "The request cannot be understood", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The schedule is wrong", body = Problem, content_type = "application/problem+json"),
))]
async fn preview(
    _: Viewer,
    State(app): State<App>,
    Query(query): Query<Count>,
    Json(new): Json<NewSchedule>,
) -> Result<Json<Vec<NextTime>>, ApiError> {
    let document = ScheduleDocument { schedule: new.schedule, paused: false, by: String::new() };
    Ok(Json(ahead(&timetable(&document)?, app.wall.now(), query.count)))
}
