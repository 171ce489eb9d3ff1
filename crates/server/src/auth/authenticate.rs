//! The layer that finds out who is asking.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use futures_util::StreamExt;
use serde_json::json;
use squall_api::Problem;

use super::{Caller, Outcome, Role, Via, address, audit, session, token, user};
use crate::{ApiError, App};

/// The header with a session's CSRF token, for requests that change something.
pub const CSRF_HEADER: &str = "x-squall-csrf";

/// Where a request comes from, in its extensions, also when nobody is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

/// What a credential proves.
pub(crate) struct Identified {
    pub caller: Caller,
    /// Resources that a token is limited to.
    pub families: Option<BTreeSet<String>>,
    /// Of a session: the CSRF token that a change must come with.
    pub csrf: Option<String>,
    /// Nothing may be done before the password was changed.
    pub must_change: bool,
}

/// Whether a request needs no credential: health, login, the description of the API, and whatever is no part of the API, which
/// can only be the console's files.
pub fn is_public(method: &Method, path: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match path {
        "/api/v1/health" | "/api/v1/openapi.json" | "/api/v1/session/providers" => reads,
        "/api/v1/session" => *method == Method::POST,
        _ if is_oidc(path) => reads,
        _ => reads && is_static(path),
    }
}

fn is_oidc(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/api/v1/session/oidc/") else { return false };
    matches!(rest.split('/').collect::<Vec<_>>()[..], [provider, "start" | "callback"] if !provider.is_empty())
}

fn is_static(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    !matches!(first.to_ascii_lowercase().as_str(), "api" | "agent" | "metrics" | "faults") && !path.contains("//") && !path.contains('%')
}

/// Finds out who is asking and puts the [`Caller`] into the request's extensions; refuses whoever cannot be told, and what a
/// credential is not good for.
pub async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let auth = app.auth.inner();
    let from = address::client(request.extensions(), request.headers(), &auth.trusted);
    request.extensions_mut().insert(ClientAddress(from));
    if is_public(request.method(), request.uri().path()) {
        let limited = request.uri().path().starts_with("/api/");
        return match if limited { take(&app, from) } else { Ok(()) } {
            Ok(()) => next.run(request).await,
            Err(error) => error.into_response(),
        };
    }
    let identified = match identify(&app, request.headers(), from).await {
        Ok(identified) => identified,
        Err(error) if error.0.status == 401 => return take(&app, from).err().unwrap_or(error).into_response(),
        Err(error) => return error.into_response(),
    };
    let caller = identified.caller.clone();
    let place = place(&request);
    let response = match check(&identified, &request) {
        Ok(()) => {
            request.extensions_mut().insert(identified.caller);
            while_it_stands(&app, &caller, next.run(request).await)
        }
        Err(error) => error.into_response(),
    };
    tracing::debug!(caller = caller.name, place, status = response.status().as_u16(), "asked");
    if response.status() == StatusCode::FORBIDDEN {
        let row = audit(&app, &caller, "request", &place, Outcome::Refused, json!({ "status": 403 }));
        super::audit::record(&app, row).await;
    }
    response
}

/// How often is looked whether whoever reads a stream still may.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Ends a stream of events when its credential does: at the next look after a logout, a revocation, or a change of roles.
fn while_it_stands(app: &App, caller: &Caller, response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    let (app, caller) = (app.clone(), caller.clone());
    let revoked = async move {
        let clock = app.auth.inner().clock.clone();
        loop {
            clock.sleep_until(clock.now() + LOOK_EVERY).await;
            match stands(&app, &caller).await {
                Ok(true) => {}
                Ok(false) => return,
                // A database that is away for a moment ends nothing.
                Err(error) => tracing::warn!(error = %error.0, "whether a stream may go on cannot be told just now"),
            }
        }
    };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(revoked)))
}

/// Whether a credential is still what it was. Unlike a request, this does not count as a sign of life of a session.
async fn stands(app: &App, caller: &Caller) -> Result<bool, ApiError> {
    let (owner, since, roles) = match &caller.via {
        Via::Local => return Ok(true),
        Via::Session { id } => match session::find(app, id).await? {
            Some((_, record)) => (record.user, record.user_since, None),
            None => return Ok(false),
        },
        Via::Token { id } => match token::find(app, id).await? {
            Some((_, record)) if record.expires.is_none_or(|expires| expires > app.wall.now()) => {
                (record.owner, record.owner_since, Some(record.roles))
            }
            _ => return Ok(false),
        },
    };
    let owner = user::enabled(app, &owner).await?.filter(|(owner, _)| owner.created == since);
    Ok(owner.is_some_and(|(_, owner)| match roles {
        Some(roles) => token::both(&owner.roles, &roles) == caller.roles,
        None => owner.roles == caller.roles,
    }))
}

/// Counts a request without a valid credential.
fn take(app: &App, from: Option<IpAddr>) -> Result<(), ApiError> {
    let auth = app.auth.inner();
    auth.anonymous
        .take(&address::counted(from), auth.clock.now())
        .map_err(|wait| too_many("too many requests without a valid credential", wait))
}

/// 429 with a time after which it may be tried again.
pub(crate) fn too_many(detail: &str, wait: std::time::Duration) -> ApiError {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    Problem::new("too-many-requests", "Too many requests", 429).detail(detail).hint(format!("try again in {seconds} s")).into()
}

/// The method, and the route as it is written in the description: nothing that a client made up.
fn place(request: &Request) -> String {
    let route = request.extensions().get::<MatchedPath>().map_or("(no route)", MatchedPath::as_str);
    format!("{} {route}", request.method())
}

/// Who is asking: by an API token, also as the password of HTTP Basic for what can do nothing else (calendars), or by a
/// session's cookie.
async fn identify(app: &App, headers: &HeaderMap, from: Option<IpAddr>) -> Result<Identified, ApiError> {
    match headers.get(header::AUTHORIZATION) {
        Some(value) => match presented(value) {
            Some(presented) => token::identify(app, &presented, from).await,
            None => Err(Problem::unauthenticated("the authorization header holds no API token")
                .hint("send `Authorization: Bearer sqt_…`")
                .into()),
        },
        None => match session::presented(app, headers)? {
            Some(secret) => session::identify(app, &secret, from).await,
            None => Err(Problem::unauthenticated("there is neither an API token nor a session")
                .hint("sign in, or send `Authorization: Bearer sqt_…`")
                .into()),
        },
    }
}

fn presented(value: &HeaderValue) -> Option<String> {
    let (scheme, rest) = value.to_str().ok()?.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
    let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some(password.to_owned())
}

/// What holds for every route, whatever it says itself.
fn check(identified: &Identified, request: &Request) -> Result<(), ApiError> {
    let (path, changes) = (request.uri().path(), !request.method().is_safe());
    let caller = &identified.caller;
    if changes && matches!(caller.via, Via::Session { .. }) {
        check_origin(identified.csrf.as_deref(), request.headers())?;
    }
    let family = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next()).unwrap_or(path);
    if identified.must_change && family != "session" {
        return Err(Problem::forbidden("the password has to be changed first").hint("change it: `PUT /api/v1/session/password`").into());
    }
    if family != "session" && identified.families.as_ref().is_some_and(|families| !families.contains(family)) {
        return Err(Problem::forbidden(format!("the token is not good for `{family}`")).hint("use a token with that scope").into());
    }
    // Whoever forgets to ask for a role on a new route has not opened it to viewers. What is their own is theirs; on a game day, a
    // participant marks and notes whatever their role is, and its routes ask for it.
    if changes
        && !matches!(family, "session" | "sessions" | "tokens" | "gamedays")
        && !caller.may(Role::Operator)
        && !caller.may(Role::Approver)
    {
        caller.need(Role::Operator)?;
    }
    Ok(())
}

/// Whether a change that came with a cookie was meant by the server's own page.
fn check_origin(csrf: Option<&str>, headers: &HeaderMap) -> Result<(), ApiError> {
    same_origin(headers)?;
    let given = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    match (given, csrf) {
        (Some(given), Some(csrf)) if super::secrets::equal(given, csrf) => Ok(()),
        _ => {
            let problem = foreign("the session's CSRF token is missing or wrong");
            Err(problem.hint("send `csrf` of `GET /api/v1/session` as `X-Squall-Csrf`").into())
        }
    }
}

/// Refuses what a browser says another site's page made it do (W3C Fetch Metadata). A login is such a request too: a page could
/// sign its visitor in as somebody else, and read later what they wrote.
pub(crate) fn same_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(foreign("the request was made by another site's page").into());
    }
    Ok(())
}

fn foreign(detail: &str) -> Problem {
    Problem::new("csrf", "Not from the server's own page", 403).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_public() {
        let get = |path| is_public(&Method::GET, path);
        assert!(["/api/v1/health", "/api/v1/openapi.json", "/api/v1/session/oidc/corp/start", "/", "/assets/app.js"].into_iter().all(get));
        let closed = [
            "/api/v1/session",
            "/api/v1/runs",
            "/api/v1/health/",
            "/api/v1//health",
            "/api/v1/session/oidc//start",
            "/api/v1/session/oidc/corp/other",
            "/api/v1/session/oidc/a/b/start",
            "/api",
            "//api/v1/runs",
            "/API/v1/runs",
            "/%61pi/v1/runs",
            "/metrics",
            "/agent/v1/link",
        ];
        assert_eq!(closed.into_iter().filter(|path| get(path)).collect::<Vec<_>>(), [""; 0]);
        assert!(is_public(&Method::POST, "/api/v1/session"));
        assert!(!is_public(&Method::DELETE, "/api/v1/session"));
        assert!(!is_public(&Method::POST, "/api/v1/health"));
        assert!(!is_public(&Method::POST, "/"));
    }
}
