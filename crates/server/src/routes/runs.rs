//! Runs: start, plan, watch, stop, report.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseResponse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;
use squall_api::runs::{NewRun, Run, Stop};
use squall_api::{Page, Problem};
use squall_engine::Preview;
use squall_model::{Event, Record, RunId, Verdict};
use squall_store::{Filter, StoreError, StoredRun};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Operator, Outcome, Viewer, audit};
use crate::runs::Wish;
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, start))
        .routes(routes!(plan))
        .routes(routes!(one))
        .routes(routes!(follow))
        .routes(routes!(report))
        .routes(routes!(stop))
        .routes(routes!(go_on))
}

/// Which runs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RunQuery {
    /// At most so many: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Part of the experiment's name.
    experiment: Option<String>,
    /// `held`, `deviated`, `unsteady`, `aborted`, `inconclusive` or `failed`.
    verdict: Option<String>,
    /// Only runs without an end.
    #[serde(default)]
    unfinished: bool,
}

fn seen(stored: StoredRun) -> Run {
    let summary = stored.summary;
    Run {
        run: summary.run,
        experiment: summary.experiment,
        started: summary.started,
        user: summary.user,
        labels: summary.labels,
        verdict: summary.verdict,
        reason: summary.reason,
        lasted_us: summary.lasted_us,
        events: summary.events,
    }
}

pub(super) fn id(text: &str) -> Result<RunId, ApiError> {
    text.parse().map_err(|_| Problem::not_found("run", text).into())
}

pub(super) async fn known(app: &App, run: &RunId) -> Result<StoredRun, ApiError> {
    match app.db.run(run).await {
        Ok(stored) => Ok(stored),
        Err(StoreError::UnknownRun(_)) => Err(Problem::not_found("run", run.as_str()).into()),
        Err(error) => Err(error.into()),
    }
}

/// List runs
///
/// The newest first.
#[utoipa::path(get, path = "/runs", tag = "runs", params(RunQuery), responses(
    (status = 200, description = "Runs", body = Page<Run>),
))]
async fn list(_: Viewer, State(app): State<App>, Query(query): Query<RunQuery>) -> Result<Json<Page<Run>>, ApiError> {
    let wrong = |what: &str, text: &str| Problem::invalid(format!("`{what}={text}` is none"));
    let verdict = query.verdict.as_deref().map(|text| serde_json::from_value::<Verdict>(json!(text)).map_err(|_| wrong("verdict", text)));
    let before = query.after.as_deref().map(|text| text.parse::<RunId>().map_err(|_| wrong("after", text))).transpose()?;
    let limit = squall_api::PageQuery { limit: query.limit, after: None }.items();
    let filter = Filter {
        name: query.experiment,
        verdict: verdict.transpose()?,
        unfinished: query.unfinished,
        limit: Some(limit + 1),
        ..Filter::default()
    };
    let items: Vec<Run> = app.db.runs(&filter, before.as_ref()).await?.into_iter().map(seen).collect();
    Ok(Json(super::paging::of_one_more(items, limit, |run| run.run.to_string())))
}

/// Start a run
///
/// It goes on when this answers; follow it at `/runs/{run}/events`. What stands against it is an error of type `/problems/refused`, and
/// nothing was touched.
#[utoipa::path(post, path = "/runs", tag = "runs", request_body = NewRun, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key is done once"),
), responses(
    (status = 201, description = "It has begun", body = Run, headers(("Location" = String, description = "Its path"))),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The manifest is wrong, or something stands against the run", body = Problem, content_type = "application/problem+json"),
))]
async fn start(Operator(caller): Operator, State(app): State<App>, Json(new): Json<NewRun>) -> Result<Response, ApiError> {
    let request = app.runs.read(&new, &caller, serde_json::Value::Null).await?;
    let name = request.experiment.metadata.name.clone();
    let started = app.runs.start(request).await;
    let (outcome, detail) = match &started {
        Ok(run) => (Outcome::Ok, json!({ "run": run })),
        Err(error) => (Outcome::Refused, json!({ "why": error.0.detail })),
    };
    let row = audit(&app, &caller, "run.start", &format!("experiment/{name}"), outcome, detail);
    app.db.commit(squall_store::Batch::new(vec![row])).await?;
    let run = started?;
    // It is known as soon as its thread has written its first event.
    let mut written = app.runs.written(&run);
    if let Some(written) = &mut written {
        let _ = tokio::time::timeout(Duration::from_secs(10), written.wait_for(|n| *n > 0)).await;
    }
    let body = Json(seen(known(&app, &run).await?));
    let location = HeaderValue::from_str(&format!("/api/v1/runs/{run}")).map_err(|e| Problem::internal(e.to_string()))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body).into_response())
}

/// Plan a run
///
/// What would be touched on which hosts, with which mechanism, how it is undone, and what stands against it. Changes nothing.
#[utoipa::path(post, path = "/runs/plan", tag = "runs", request_body = NewRun, responses(
    (status = 200, description = "The plan", body = Object),
    (status = 404, description = "There is no such experiment", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The manifest is wrong", body = Problem, content_type = "application/problem+json"),
))]
async fn plan(Operator(caller): Operator, State(app): State<App>, Json(new): Json<NewRun>) -> Result<Json<Preview>, ApiError> {
    let request = app.runs.read(&new, &caller, serde_json::Value::Null).await?;
    Ok(Json(app.runs.plan(&request).await?))
}

/// See a run
#[utoipa::path(get, path = "/runs/{run}", tag = "runs", params(("run" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The run", body = Run),
    (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(run): Path<String>) -> Result<Json<Run>, ApiError> {
    Ok(Json(seen(known(&app, &id(&run)?).await?)))
}

/// Follow a run
///
/// Server-sent events, one for each event of the journal from the first on; `Last-Event-ID` goes on after that one. The stream ends after
/// the run's end.
#[utoipa::path(get, path = "/runs/{run}/events", tag = "runs", params(
    ("run" = String, Path, description = "Its id"),
    ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event"),
), responses(
    (status = 200, description = "The journal", body = String, content_type = "text/event-stream"),
    (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
))]
async fn follow(_: Viewer, State(app): State<App>, Path(run): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let run = id(&run)?;
    known(&app, &run).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    let events = journal(app, run, last.map_or(0, |last| last.saturating_add(1)));
    Ok(SseResponse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Events that are read at a time.
const BATCH: usize = 500;
/// How often the journal of a run is looked at that another server drives.
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn journal(app: App, run: RunId, from: u64) -> impl Stream<Item = Result<Sse, Infallible>> {
    let start = (from, Vec::<Record>::new().into_iter(), false);
    stream::unfold(start, move |(mut next, mut batch, mut over)| {
        let (app, run) = (app.clone(), run.clone());
        async move {
            loop {
                if let Some(record) = batch.next() {
                    next = record.seq + 1;
                    over |= matches!(record.event, Event::Ended { .. });
                    let event = Sse::default().id(record.seq.to_string()).event("event").json_data(&record).unwrap_or_default();
                    return Some((Ok(event), (next, batch, over)));
                }
                if over {
                    return None;
                }
                // Taken before reading, so that what is written meanwhile is not waited for.
                let written = app.runs.written(&run);
                match app.db.records_from(&run, next, BATCH).await {
                    Ok(records) if !records.is_empty() => batch = records.into_iter(),
                    Ok(_) => {
                        if let Some(mut written) = written {
                            drop(tokio::time::timeout(LOOK_EVERY, written.wait_for(|n| *n > next)).await);
                        } else {
                            let clock = app.runs.clock();
                            clock.sleep_until(clock.now() + LOOK_EVERY).await;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%run, %error, "a follower of the run was cut off");
                        return None;
                    }
                }
            }
        }
    })
}

/// In which format.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReportQuery {
    /// `html` (by default), `md`, `json` or `junit`.
    format: Option<String>,
}

/// Get the report of a run
#[utoipa::path(get, path = "/runs/{run}/report", tag = "runs", params(("run" = String, Path, description = "Its id"), ReportQuery), responses(
    (status = 200, description = "The report", content(
        (String = "text/html"), (String = "text/markdown"), (Object = "application/json"), (String = "application/xml")
    )),
    (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "There is no such format", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The run has not begun", body = Problem, content_type = "application/problem+json"),
))]
async fn report(
    _: Viewer,
    State(app): State<App>,
    Path(run): Path<String>,
    Query(query): Query<ReportQuery>,
) -> Result<Response, ApiError> {
    let run = id(&run)?;
    known(&app, &run).await?;
    let (program, records) = app.runs.evidence(&run).await?;
    let report = squall_report::build(&program, app.runs.registry(), &records);
    let report = report.ok_or_else(|| Problem::unavailable(format!("run {run} has not begun")).hint("try again in a moment"))?;
    let (kind, text) = match query.format.as_deref().unwrap_or("html") {
        "html" => ("text/html; charset=utf-8", report.html()),
        "md" => ("text/markdown; charset=utf-8", report.markdown()),
        "json" => ("application/json", report.json()),
        "junit" => ("application/xml", report.junit()),
        other => return Err(Problem::invalid(format!("`format={other}` is none of html, md, json, junit")).into()),
    };
    let text = text.map_err(|e| Problem::internal(e.to_string()))?;
    let mut response = ([(header::CONTENT_TYPE, kind)], text).into_response();
    if kind.starts_with("text/html") {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, report_policy()?);
    }
    Ok(response)
}

/// The report as a page may run its one script and nothing else, as a page of nobody: what is written in a run can do nothing in the name of
/// whoever reads it.
fn report_policy() -> Result<HeaderValue, ApiError> {
    let hash = script_hash(squall_report::HTML_SCRIPT);
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src '{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; sandbox allow-scripts allow-popups allow-downloads"
    );
    Ok(HeaderValue::from_str(&policy).map_err(|e| Problem::internal(e.to_string()))?)
}

/// As a content security policy names it (CSP 3, 2.3.1).
fn script_hash(script: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, script.as_bytes());
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(hash))
}

/// Stop a run
///
/// Everything that it did is put back; the verdict is `aborted`.
#[utoipa::path(post, path = "/runs/{run}/stop", tag = "runs", params(("run" = String, Path, description = "Its id")), request_body = Option<Stop>, responses(
    (status = 202, description = "It was asked to stop", body = Run),
    (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is over", body = Problem, content_type = "application/problem+json"),
))]
async fn stop(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(run): Path<String>,
    body: Option<Json<Stop>>,
) -> Result<Response, ApiError> {
    let run = id(&run)?;
    let stored = known(&app, &run).await?;
    let reason = body.and_then(|Json(stop)| stop.reason);
    let by = reason.as_ref().map_or_else(|| caller.name.clone(), |reason| format!("{} ({reason})", caller.name));
    goes_on(&run, &stored)?;
    app.runs.ask(&run, Wish::Stop, &by).await?;
    let row = audit(&app, &caller, "run.stop", &format!("run/{run}"), Outcome::Ok, json!({ "reason": reason }));
    app.db.commit(squall_store::Batch::new(vec![row])).await?;
    Ok((StatusCode::ACCEPTED, Json(seen(stored))).into_response())
}

/// Let a suspended run go on
#[utoipa::path(post, path = "/runs/{run}/continue", tag = "runs", params(("run" = String, Path, description = "Its id")), responses(
    (status = 202, description = "It was told", body = Run),
    (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is over", body = Problem, content_type = "application/problem+json"),
))]
async fn go_on(Operator(caller): Operator, State(app): State<App>, Path(run): Path<String>) -> Result<Response, ApiError> {
    let run = id(&run)?;
    let stored = known(&app, &run).await?;
    goes_on(&run, &stored)?;
    app.runs.ask(&run, Wish::Continue, &caller.name).await?;
    let row = audit(&app, &caller, "run.continue", &format!("run/{run}"), Outcome::Ok, serde_json::Value::Null);
    app.db.commit(squall_store::Batch::new(vec![row])).await?;
    Ok((StatusCode::ACCEPTED, Json(seen(stored))).into_response())
}

/// Nothing can be asked of a run that is over.
fn goes_on(run: &RunId, stored: &StoredRun) -> Result<(), ApiError> {
    match stored.summary.verdict {
        Some(verdict) => Err(Problem::conflict(format!("run {run} is over: {}", verdict.name())).into()),
        None => Ok(()),
    }
}
