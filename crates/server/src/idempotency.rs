//! A POST that is sent twice is done once: `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).
//!
//! The first request with a key leaves a document with what it asked for, and after its end what was answered; a second one with the same
//! content gets that answer, and one with other content an error. A key is the caller's own, and is kept for a day.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use squall_api::Problem;
use squall_store::{Batch, CommitError, List, Write};

use crate::auth::Caller;
use crate::{ApiError, App};

/// The header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The kind of the documents; the id is `caller/key`.
const KIND: &str = "idempotency";
/// The longest key.
const LONGEST: usize = 200;
/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);
/// The largest body that is looked at.
const BODY: usize = 2 * 1024 * 1024;

/// A request that was made, and its answer once there is one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Remembered {
    /// SHA-256 over method, path and body, in hexadecimal.
    request: String,
    answer: Option<Answered>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Answered {
    status: u16,
    content_type: Option<String>,
    location: Option<String>,
    body: String,
}

/// Answers a repeated request with what it was answered first.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let key = request.headers().get(IDEMPOTENCY_KEY).cloned();
    if key.is_some() && *request.method() == Method::POST && keeps_secrets(request.uri().path()) {
        let problem =
            Problem::bad_request("`Idempotency-Key` cannot be given here: the answer, or the request, holds a secret, and would be kept");
        return ApiError::from(problem.hint("leave it out; list what there is before it is tried again")).into_response();
    }
    let caller = request.extensions().get::<Caller>().map(|caller| caller.name.clone());
    match (request.method() == Method::POST, key, caller) {
        (true, Some(key), Some(caller)) => remembered(&app, &caller, &key, request, next).await.unwrap_or_else(IntoResponse::into_response),
        _ => next.run(request).await,
    }
}

/// Routes whose requests or answers hold passwords or tokens, of which the database may not even have a fast hash.
fn keeps_secrets(path: &str) -> bool {
    let rest = path.strip_prefix("/api/v1/").unwrap_or_default();
    rest == "hosts/tokens" || matches!(rest.split('/').next(), Some("session" | "tokens" | "users"))
}

async fn remembered(app: &App, caller: &str, key: &HeaderValue, request: Request, next: Next) -> Result<Response, ApiError> {
    let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= LONGEST && key.bytes().all(|b| b.is_ascii_graphic()));
    let key = key.ok_or_else(|| Problem::bad_request(format!("`Idempotency-Key` has to be 1 to {LONGEST} visible ASCII characters")))?;
    let id = format!("{caller}/{key}");
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY).await.map_err(|_| Problem::new("bad-body", "The body cannot be read", 413).detail("it is too long"))?;
    let asked = digest(parts.method.as_str(), parts.uri.path(), &body);
    let first = Remembered { request: asked.clone(), answer: None };
    let create = Write::Create { kind: KIND.into(), id: id.clone(), body: json(&first) };
    match app.db.commit(Batch::new(vec![create])).await {
        Ok(_) => {}
        Err(CommitError::Conflict { .. }) => return repeated(app, &id, &asked).await,
        Err(error) => return Err(error.into()),
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let write = if parts.status.is_server_error() {
        // It may be tried again.
        Write::Delete { kind: KIND.into(), id, version: None }
    } else {
        let header = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
        let answer = Answered {
            status: parts.status.as_u16(),
            content_type: header(header::CONTENT_TYPE),
            location: header(header::LOCATION),
            body: String::from_utf8_lossy(&text).into_owned(),
        };
        Write::Put { kind: KIND.into(), id, body: json(&Remembered { request: asked, answer: Some(answer) }) }
    };
    if let Err(error) = app.db.commit(Batch::new(vec![write])).await {
        tracing::warn!(%error, "the answer to a request with an idempotency key was not kept");
    }
    Ok(Response::from_parts(parts, Body::from(text)))
}

async fn repeated(app: &App, id: &str, asked: &str) -> Result<Response, ApiError> {
    let Some(document) = app.db.get(KIND, id).await? else {
        return Err(Problem::conflict("the first request with this `Idempotency-Key` has just failed").hint("send it again").into());
    };
    let Remembered { request, answer } = document.decode()?;
    if request != asked {
        let hint = "use a new key for a new request";
        return Err(Problem::invalid("this `Idempotency-Key` was used for another request").hint(hint).into());
    }
    let Some(answer) = answer else {
        return Err(Problem::conflict("the first request with this `Idempotency-Key` is not answered yet")
            .hint("ask again in a moment")
            .into());
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    for (name, value) in [(header::CONTENT_TYPE, answer.content_type), (header::LOCATION, answer.location)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn json(remembered: &Remembered) -> serde_json::Value {
    serde_json::to_value(remembered).unwrap_or_default()
}

fn digest(method: &str, path: &str, body: &Bytes) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in [method.as_bytes(), b"\n", path.as_bytes(), b"\n", body] {
        context.update(part);
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Forgets answers that are older than a day. Runs until it is dropped.
pub async fn forget_old(app: App) {
    loop {
        let clock = app.runs.clock();
        clock.sleep_until(clock.now() + KEPT / 24).await;
        let now = app.wall.now();
        let Ok(all) = app.db.list(KIND, &List::default()).await else { continue };
        let old = all.into_iter().filter(|d| d.updated + KEPT < now);
        let writes: Vec<Write> = old.map(|d| Write::Delete { kind: d.kind, id: d.id, version: Some(d.version) }).collect();
        if !writes.is_empty()
            && let Err(error) = app.db.commit(Batch::new(writes).unsynced()).await
        {
            tracing::warn!(%error, "old idempotency keys stay for now");
        }
    }
}
