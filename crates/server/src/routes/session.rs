//! Signing in and out, and one's own sessions.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use squall_api::session::{Login, LoginProvider, PasswordChange, Session, Whoami};
use squall_api::{Page, PageQuery, Problem};
use squall_store::{Batch, CommitError, Document, Write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::auth::records::{SESSION, SessionRecord, USER, UserRecord};
use crate::auth::{self, Caller, ClientAddress, Outcome, Role, Via, audit, session, token, user};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(login, whoami, logout))
        .routes(routes!(change_password))
        .routes(routes!(providers))
        .routes(routes!(list))
        .routes(routes!(revoke))
}

/// Sign in with name and password
///
/// Sets the session's cookie. After some failures, tries have to wait: 429.
#[utoipa::path(post, path = "/session", tag = "session", security(()), request_body = Login, responses(
    (status = 200, description = "Signed in", body = Whoami),
    (status = 401, description = "Name or password is wrong", body = Problem, content_type = "application/problem+json"),
))]
async fn login(
    State(app): State<App>,
    Extension(ClientAddress(from)): Extension<ClientAddress>,
    headers: HeaderMap,
    Json(login): Json<Login>,
) -> Result<Response, ApiError> {
    auth::same_origin(&headers)?;
    let Some((document, record)) = check_password(&app, &login.user, login.password, from).await? else {
        // A name that nobody has may be a password that was typed in the wrong place.
        let subject = if user::find(&app, &login.user).await?.is_some() { format!("user/{}", login.user) } else { "user/?".to_owned() };
        let caller = Caller { name: "anonymous".into(), roles: [].into(), via: Via::Local, address: from };
        auth::record(&app, audit(&app, &caller, "session.login", &subject, Outcome::Failed, json!({}))).await;
        return Err(Problem::unauthenticated("name or password is wrong").into());
    };
    signed_in(&app, &document, &record, "password", from, &headers).await
}

/// The user, if it is their password and they may sign in.
async fn check_password(
    app: &App,
    name: &str,
    password: String,
    from: Option<std::net::IpAddr>,
) -> Result<Option<(Document, UserRecord)>, ApiError> {
    let inner = app.auth.inner();
    let (address, now) = (auth::counted(from), inner.clock.now());
    // Longer than any name: nobody's, and not worth so much memory.
    let counted: String = name.chars().take(64).collect();
    let wait = inner.failures.wait(&counted, &address, now);
    if !wait.is_zero() {
        return Err(auth::too_many("too many failed logins", wait));
    }
    inner.failures.failed(&counted, &address, now);
    let found = user::enabled(app, name).await?;
    let hash = found.as_ref().and_then(|(_, user)| user.password.clone());
    if !inner.passwords.verify(password, hash).await? {
        return Ok(None);
    }
    inner.failures.succeeded(&counted, &address);
    Ok(found)
}

/// A new session for somebody who has proved who they are; the one that the request came with ends.
pub(super) async fn signed_in(
    app: &App,
    user: &Document,
    record: &UserRecord,
    by: &str,
    from: Option<std::net::IpAddr>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let new = session::start(app, &user.id, user.created, by, from, headers)?;
    let caller = Caller { name: user.id.clone(), roles: record.roles.clone(), via: Via::Session { id: new.id.clone() }, address: from };
    let row = audit(app, &caller, "session.login", &format!("user/{}", user.id), Outcome::Ok, json!({ "by": by }));
    app.db.commit(Batch::new([new.write, row])).await?;
    if let Some(old) = session::presented(app, headers).ok().flatten() {
        end(app, &auth::secrets::sha256(&old)).await?;
    }
    let whoami = whoami_of(&caller, Some(session::csrf(&new.secret)), record.must_change, Some(new.ends));
    Ok(([(header::SET_COOKIE, session::cookie(app, Some(&new.secret)))], Json(whoami)).into_response())
}

fn whoami_of(caller: &Caller, csrf: Option<String>, must_change: bool, ends: Option<Timestamp>) -> Whoami {
    let (via, id) = match &caller.via {
        Via::Session { id } => ("session", Some(id.clone())),
        Via::Token { id } => ("token", Some(id.clone())),
        Via::Local => ("local", None),
    };
    Whoami { user: caller.name.clone(), roles: caller.roles.clone(), via: via.into(), id, csrf, must_change, ends }
}

/// Ends a session, by its id, if it has not ended.
pub(super) async fn end(app: &App, id: &str) -> Result<(), ApiError> {
    match app.db.commit(Batch::new([Write::Delete { kind: SESSION.into(), id: id.to_owned(), version: None }])).await {
        Err(CommitError::NotFound { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Who is signed in
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, description = "Who is signed in", body = Whoami)))]
async fn whoami(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Result<Json<Whoami>, ApiError> {
    let must_change = user::find(&app, &caller.name).await?.is_some_and(|(_, user)| user.must_change);
    let (csrf, ends) = match &caller.via {
        Via::Session { id } => {
            let csrf = session::presented(&app, &headers)?.map(|secret| session::csrf(&secret));
            (csrf, session::find(&app, id).await?.map(|(_, record)| session::ends(&app, &record)))
        }
        Via::Token { id } => (None, token::find(&app, id).await?.and_then(|(_, record)| record.expires)),
        Via::Local => (None, None),
    };
    Ok(Json(whoami_of(&caller, csrf, must_change, ends)))
}

/// Sign out
#[utoipa::path(delete, path = "/session", tag = "session", responses(
    (status = 204, description = "Signed out"),
    (status = 409, description = "It was asked with a token, which is revoked by `DELETE /tokens/{id}`", body = Problem, content_type = "application/problem+json"),
))]
async fn logout(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let Via::Session { id } = &caller.via else {
        return Err(Problem::conflict("this was asked with a token, not a session")
            .hint("revoke the token: `DELETE /api/v1/tokens/<id>`")
            .into());
    };
    let row = audit(&app, &caller, "session.logout", &format!("user/{}", caller.name), Outcome::Ok, json!({}));
    app.db.commit(Batch::new([row])).await?;
    end(&app, id).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, session::cookie(&app, None))]).into_response())
}

/// Change one's own password
///
/// Ends all of one's sessions; the one that asks gets a new cookie and a new CSRF token.
#[utoipa::path(put, path = "/session/password", tag = "session", request_body = PasswordChange, responses(
    (status = 200, description = "Changed", body = Whoami),
    (status = 409, description = "The user has no password to change", body = Problem, content_type = "application/problem+json"),
))]
async fn change_password(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(change): Json<PasswordChange>,
) -> Result<Response, ApiError> {
    if !matches!(caller.via, Via::Session { .. }) {
        return Err(Problem::forbidden("a password is changed in a session, not with a token").hint("sign in with the password").into());
    }
    if user::find(&app, &caller.name).await?.is_some_and(|(_, user)| user.password.is_none()) {
        return Err(Problem::conflict(format!("`{}` does not sign in with a password", caller.name)).into());
    }
    let subject = format!("user/{}", caller.name);
    let Some((document, mut record)) = check_password(&app, &caller.name, change.current.clone(), caller.address).await? else {
        auth::record(&app, audit(&app, &caller, "user.password", &subject, Outcome::Failed, json!({}))).await;
        return Err(Problem::invalid("the present password is wrong").into());
    };
    let inner = app.auth.inner();
    auth::check_new(&change.new, &caller.name, inner.config.password_length)?;
    if change.new == change.current {
        return Err(Problem::invalid("the new password is the present one").into());
    }
    record.password = Some(inner.passwords.hash(change.new).await?);
    record.must_change = false;
    let new = session::start(&app, &document.id, document.created, "password", caller.address, &headers)?;
    let mut writes = session::end_all(&app, &caller.name).await?;
    writes.push(Write::Replace { kind: USER.into(), id: document.id.clone(), version: document.version, body: json!(record) });
    writes.push(new.write);
    writes.push(audit(&app, &caller, "user.password", &subject, Outcome::Ok, json!({})));
    app.db.commit(Batch::new(writes)).await?;
    auth::forget(&app, &caller.name);
    let caller = Caller { via: Via::Session { id: new.id }, ..caller };
    let whoami = whoami_of(&caller, Some(session::csrf(&new.secret)), false, Some(new.ends));
    Ok(([(header::SET_COOKIE, session::cookie(&app, Some(&new.secret)))], Json(whoami)).into_response())
}

/// Providers that people can sign in by
#[utoipa::path(get, path = "/session/providers", tag = "session", security(()), responses(
    (status = 200, description = "The providers", body = Vec<LoginProvider>),
))]
async fn providers(State(app): State<App>) -> Json<Vec<LoginProvider>> {
    Json(app.auth.inner().oidc.shown())
}

/// Whose sessions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SessionQuery {
    /// Whose: for admins. By default one's own.
    user: Option<String>,
    /// At most so many items: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// Sessions of a user
#[utoipa::path(get, path = "/sessions", tag = "session", params(SessionQuery), responses(
    (status = 200, description = "Sessions that are not over", body = Page<Session>),
))]
async fn list(State(app): State<App>, caller: Caller, Query(query): Query<SessionQuery>) -> Result<Json<Page<Session>>, ApiError> {
    let user = query.user.as_deref().unwrap_or(&caller.name);
    if user != caller.name {
        caller.need(Role::Admin)?;
    }
    let current = match &caller.via {
        Via::Session { id } => Some(id.as_str()),
        _ => None,
    };
    let shown = |(document, record): (Document, SessionRecord)| Session {
        ends: session::ends(&app, &record),
        current: current == Some(document.id.as_str()),
        id: document.id,
        user: record.user,
        started: record.started,
        seen: record.seen,
        address: record.address,
        agent: record.agent,
        by: record.by,
    };
    let sessions = session::list(&app, Some(user)).await?.into_iter().map(shown).collect();
    Ok(Json(paging::page(sessions, &PageQuery { limit: query.limit, after: query.after }, |session| &session.id)?))
}

/// End a session
#[utoipa::path(delete, path = "/sessions/{id}", tag = "session", params(("id" = String, Path, description = "The session's id")), responses(
    (status = 204, description = "It has ended"),
    (status = 404, description = "There is no such session", body = Problem, content_type = "application/problem+json"),
))]
async fn revoke(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let found = session::find(&app, &id).await?.filter(|(_, record)| record.user == caller.name || caller.may(Role::Admin));
    let Some((document, record)) = found else { return Err(Problem::not_found("session", &id).into()) };
    let detail = json!({ "session": document.id.get(..12) });
    let row = audit(&app, &caller, "session.revoke", &format!("user/{}", record.user), Outcome::Ok, detail);
    app.db.commit(Batch::new([session::over(&document.id, &record), row])).await?;
    Ok(StatusCode::NO_CONTENT)
}
