//! A run for a page: seen once, or live.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseResponse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use squall_api::Problem;
use squall_model::RunId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::runs::{id, known};
use crate::auth::Viewer;
use crate::run_view::{Built, RunSamples, RunView, Views, part};
use crate::{ApiError, App, Json};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(view)).routes(routes!(live)).layer(Extension(Views::default()))
}

/// See a run as it stands
///
/// Its report without samples, where its steps are, how far guards are from aborting it, and whether it waits for somebody.
#[utoipa::path(get, path = "/runs/{run}/view", tag = "runs", params(("run" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The run", body = RunView),
    (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The run has not begun", body = Problem, content_type = "application/problem+json"),
))]
async fn view(
    _: Viewer,
    State(app): State<App>,
    Extension(views): Extension<Views>,
    Path(run): Path<String>,
) -> Result<Json<RunView>, ApiError> {
    let run = id(&run)?;
    known(&app, &run).await?;
    Ok(Json(views.see(&app, &run).await?.view.clone()))
}

/// Watch a run
///
/// Server-sent events: `view` with the run as it stands (as `/runs/{run}/view` gives it, without its manifest) whenever something has
/// happened, and `samples` with the samples that are new, in columns. The id of an event says what was sent: `Last-Event-ID` goes on after
/// it. The stream ends after the run's end.
#[utoipa::path(get, path = "/runs/{run}/live", tag = "runs", params(
    ("run" = String, Path, description = "Its id"),
    ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event"),
), responses(
    (status = 200, description = "Views and samples", body = RunSamples, content_type = "text/event-stream"),
    (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
))]
async fn live(
    _: Viewer,
    State(app): State<App>,
    Extension(views): Extension<Views>,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let run = id(&run)?;
    known(&app, &run).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let watcher = Watcher { app, views, run, have: last.map(offsets).unwrap_or_default(), seen: None, queue: VecDeque::new(), over: false };
    Ok(SseResponse::new(watcher.events()).keep_alive(KeepAlive::default()).into_response())
}

/// How many samples of each probe somebody has: `12.40.3`.
fn offsets(id: &str) -> Vec<usize> {
    id.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Samples in one event.
const SAMPLES: usize = 4000;
/// How often a run is looked at that another server drives, or of which a view was made a moment ago.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Somebody who watches a run.
struct Watcher {
    app: App,
    views: Views,
    run: RunId,
    have: Vec<usize>,
    /// Events of the view that was sent last.
    seen: Option<u64>,
    queue: VecDeque<Sse>,
    over: bool,
}

impl Watcher {
    fn events(self) -> impl Stream<Item = Result<Sse, Infallible>> {
        stream::unfold(self, |mut watcher| async move {
            loop {
                if let Some(event) = watcher.queue.pop_front() {
                    return Some((Ok(event), watcher));
                }
                if watcher.over {
                    return None;
                }
                watcher.wait().await;
                match watcher.views.see(&watcher.app, &watcher.run).await {
                    Ok(built) => watcher.take(&built),
                    // It is about to begin.
                    Err(error) if error.0.status == 503 && watcher.seen.is_none() => watcher.seen = Some(0),
                    Err(error) => {
                        tracing::warn!(run = %watcher.run, error = %error.0, "somebody who watched the run was cut off");
                        return None;
                    }
                }
            }
        })
    }

    /// Until something may be new. The first time it is at once.
    async fn wait(&self) {
        let Some(seen) = self.seen else { return };
        let clock = self.app.runs.clock();
        let looked = clock.now() + LOOK_EVERY;
        if let Some(mut written) = self.app.runs.written(&self.run)
            && written.wait_for(|events| *events > seen).await.is_err()
        {
            // It has just ended: its last events are written.
            return;
        }
        clock.sleep_until(looked).await;
    }

    fn take(&mut self, built: &Arc<Built>) {
        if self.seen == Some(built.view.events) {
            return;
        }
        self.seen = Some(built.view.events);
        let id = |have: &[usize]| have.iter().map(usize::to_string).collect::<Vec<_>>().join(".");
        let mut view = built.view.clone();
        view.report.manifest = String::new();
        // The view first: it says which probes there are.
        self.have.resize(built.samples.len(), 0);
        self.queue.push_back(Sse::default().id(id(&self.have)).event("view").json_data(&view).unwrap_or_default());
        while let Some(samples) = part(&built.samples, &mut self.have, SAMPLES) {
            self.queue.push_back(Sse::default().id(id(&self.have)).event("samples").json_data(&samples).unwrap_or_default());
        }
        self.over = built.over;
    }
}
