//! Signing in by way of a provider.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use squall_api::Problem;
use squall_store::{Batch, Document, Write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::session::{end, signed_in};
use crate::auth::oidc::{Flow, OidcError, Person, Provider, Refusal, Why};
use crate::auth::records::{External, LINK, LinkRecord, USER, UserRecord};
use crate::auth::{self, Caller, ClientAddress, Outcome, Via, audit, secrets, session, user};
use crate::{ApiError, App, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(callback))
}

/// The cookie between the two steps. `Lax`: the provider's page sends the browser back, which makes it another site's request.
fn cookie(app: &App, flow: Option<&Flow>) -> HeaderValue {
    let (value, age) = flow.map_or((String::new(), 0), |flow| (flow.sealed(), Flow::LASTS.as_secs().unsigned_abs()));
    session::set_cookie(app, cookie_name(app), &value, "Lax", "/", age)
}

fn cookie_name(app: &App) -> &'static str {
    if app.auth.over_tls() { "__Host-squall-oidc" } else { "squall-oidc" }
}

fn provider(app: &App, name: &str) -> Result<std::sync::Arc<Provider>, Refusal> {
    app.auth.inner().oidc.get(name).ok_or_else(|| Refusal::new(Why::Unusable, Problem::not_found("provider", name)))
}

/// Where to go after signing in.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StartQuery {
    /// A path of this server. By default `/`.
    next: Option<String>,
}

/// Begin to sign in by a provider
///
/// For browsers: sends them to the provider. Where that cannot be, one that asks for a page is sent to `next`, with why as `refused`.
#[utoipa::path(get, path = "/session/oidc/{provider}/start", tag = "session", security(()),
    params(("provider" = String, Path, description = "The provider's name"), StartQuery),
    responses(
        (status = 303, description = "To the provider, or back"),
        (status = 404, description = "There is no such provider", body = Problem, content_type = "application/problem+json"),
    ))]
async fn start(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap, Query(query): Query<StartQuery>) -> Response {
    let next = query.next.as_deref();
    begin(&app, &name, next, &headers).await.unwrap_or_else(|refusal| refusal.answer(&headers, next))
}

async fn begin(app: &App, name: &str, next: Option<&str>, headers: &HeaderMap) -> Result<Response, Refusal> {
    let provider = provider(app, name)?;
    let metadata = provider.metadata(app.auth.inner().clock.as_ref()).await.map_err(|error| {
        tracing::warn!(%error, provider = name, "nobody can sign in by it");
        Refusal::from(error)
    })?;
    let session = session::presented(app, headers).ok().flatten();
    let flow = Flow::begin(name, next, session.map(|secret| secrets::sha256(&secret)), app.wall.now())?;
    let none = |_| ApiError::from(Problem::internal("the provider's URL is none"));
    let to = HeaderValue::from_str(&flow.url(&provider, &metadata)).map_err(none)?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, cookie(app, Some(&flow)))]).into_response())
}

/// What the provider's page sends back (Core 1.0, 3.1.2.5; RFC 9207). Providers add more.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CallbackQuery {
    /// The code.
    code: Option<String>,
    /// The state that the login began with.
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
    /// The provider's issuer URL.
    iss: Option<String>,
}

/// Come back from a provider
///
/// For browsers, which providers send here. Where nobody could be signed in, one that asks for a page is sent back to where the login
/// began, with why as `refused`.
#[utoipa::path(get, path = "/session/oidc/{provider}/callback", tag = "session", security(()),
    params(("provider" = String, Path, description = "The provider's name"), CallbackQuery),
    responses(
        (status = 303, description = "To where the login began"),
        (status = 401, description = "Nobody could be signed in", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such provider", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name is another user's", body = Problem, content_type = "application/problem+json"),
    ))]
async fn callback(
    State(app): State<App>,
    Extension(ClientAddress(from)): Extension<ClientAddress>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Query(query): Query<CallbackQuery>,
) -> Response {
    let flow = begun(&app, &name, &headers, &query);
    let next = flow.as_ref().map(|flow| flow.next.clone());
    let here = flow.is_some();
    let mut response = match come_back(&app, from, &name, flow, &headers, &query).await {
        Ok(response) => response,
        Err(refusal) => refusal.answer(&headers, next.as_deref()),
    };
    // A login that was begun is over now. What somebody else's page sends ends none.
    if here {
        response.headers_mut().append(header::SET_COOKIE, cookie(&app, None));
    }
    response
}

/// The login that this browser began and that this is the answer to.
fn begun(app: &App, provider: &str, headers: &HeaderMap, query: &CallbackQuery) -> Option<Flow> {
    let sealed = session::cookie_value(headers, cookie_name(app)).ok().flatten()?;
    let flow = Flow::open(&sealed, provider, app.wall.now())?;
    query.state.as_deref().is_some_and(|state| secrets::equal(state, &flow.state)).then_some(flow)
}

async fn come_back(
    app: &App,
    from: Option<std::net::IpAddr>,
    name: &str,
    flow: Option<Flow>,
    headers: &HeaderMap,
    query: &CallbackQuery,
) -> Result<Response, Refusal> {
    let provider = provider(app, name)?;
    let Some(flow) = flow else {
        // It costs no row: anybody can ask for that.
        tracing::warn!(error = %OidcError::NotBegun, provider = name, "somebody could not sign in");
        return Err(OidcError::NotBegun.into());
    };
    let person = match person(app, &provider, &flow, query).await {
        Ok(person) => person,
        Err(error) => {
            tracing::warn!(%error, provider = name, "somebody could not sign in");
            refused(app, from, name, "user/?", &error.to_string()).await;
            return Err(error.into());
        }
    };
    let (document, record) = known(app, from, &provider, person).await?;
    let mut response = signed_in(app, &document, &record, name, from, headers).await?;
    if let Some(old) = &flow.ends {
        end(app, old).await?;
    }
    let to = HeaderValue::from_str(&flow.next).unwrap_or(HeaderValue::from_static("/"));
    *response.status_mut() = StatusCode::SEE_OTHER;
    *response.body_mut() = axum::body::Body::empty();
    response.headers_mut().remove(header::CONTENT_TYPE);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().insert(header::LOCATION, to);
    Ok(response)
}

/// Who it is.
async fn person(app: &App, provider: &Provider, flow: &Flow, query: &CallbackQuery) -> Result<Person, OidcError> {
    let (clock, now) = (app.auth.inner().clock.as_ref(), app.wall.now());
    if query.iss.as_deref().is_some_and(|issuer| issuer != provider.config.issuer) {
        return Err(OidcError::Unbelievable("it comes from another issuer".into()));
    }
    let code = match (query.error.as_deref(), query.code.as_deref()) {
        (Some("access_denied"), _) => return Err(OidcError::Declined),
        (None, Some(code)) => code,
        (error, _) => return Err(OidcError::Denied(error.unwrap_or("there is no code").chars().take(80).collect())),
    };
    let token = provider.redeem(clock, code, &flow.verifier).await?;
    provider.person(clock, now, &token, &flow.nonce).await
}

async fn refused(app: &App, from: Option<std::net::IpAddr>, provider: &str, subject: &str, why: &str) {
    let caller = Caller { name: "anonymous".into(), roles: [].into(), via: Via::Local, address: from };
    auth::record(app, audit(app, &caller, "session.login", subject, Outcome::Refused, json!({ "by": provider, "why": why }))).await;
}

/// Why somebody whom the provider vouches for may not come in, and what the trail says of them.
struct Refused {
    subject: String,
    refusal: Refusal,
}

impl Refused {
    fn new(subject: impl Into<String>, why: Why, problem: Problem) -> Self {
        Self { subject: subject.into(), refusal: Refusal::new(why, problem) }
    }
}

/// The user that somebody is: known by `sub`, or made now. A user of the same name who is not this person stays who they are.
async fn known(app: &App, from: Option<std::net::IpAddr>, provider: &Provider, person: Person) -> Result<(Document, UserRecord), Refusal> {
    let by = &provider.config.name;
    let link = format!("{by}/{}", secrets::sha256(&person.subject));
    let external = External { provider: by.clone(), subject: person.subject.clone() };
    let linked = match app.db.get(LINK, &link).await? {
        Some(document) => user::find(app, &document.decode::<LinkRecord>()?.user).await?,
        None => None,
    };
    let changes = match linked.filter(|(_, user)| user.external.as_ref() == Some(&external)) {
        Some((document, record)) => again(app, from, document, record, person),
        None => first(app, from, provider, person, external, link).await?,
    };
    let (name, record, writes) = match changes {
        Ok(changes) => changes,
        Err(Refused { subject, refusal }) => {
            refused(app, from, by, &subject, refusal.error.0.detail.as_deref().unwrap_or_default()).await;
            return Err(refusal);
        }
    };
    app.db.commit(Batch::new(writes)).await?;
    let removed = || ApiError::from(Problem::conflict("the user was removed at once"));
    let (document, _) = user::find(app, &name).await?.ok_or_else(removed)?;
    Ok((document, record))
}

type Changes = Result<(String, UserRecord, Vec<Write>), Refused>;

fn no_role(subject: String) -> Refused {
    let problem = Problem::forbidden("none of your groups has a role here").hint("ask whoever looks after the server's `oidc` roles");
    Refused::new(subject, Why::NoRole, problem)
}

/// Somebody who was here before, with the roles that they have now.
fn again(app: &App, from: Option<std::net::IpAddr>, document: Document, record: UserRecord, person: Person) -> Changes {
    let (name, subject) = (document.id.clone(), format!("user/{}", document.id));
    if record.disabled {
        return Err(Refused::new(subject, Why::Disabled, Problem::forbidden("the user is disabled")));
    }
    if person.roles.is_empty() {
        return Err(no_role(subject));
    }
    let before = record.roles.clone();
    let (display, email) = (person.display.or(record.display), person.email.or(record.email));
    let new = UserRecord { roles: person.roles, display, email, ..record };
    let mut writes = vec![Write::Replace { kind: USER.into(), id: name.clone(), version: document.version, body: json!(new) }];
    if new.roles != before {
        let caller = Caller { name: name.clone(), roles: [].into(), via: Via::Local, address: from };
        let detail = json!({ "by": new.external.as_ref().map(|external| &external.provider), "before": before, "roles": new.roles });
        writes.push(audit(app, &caller, "user.change", &subject, Outcome::Ok, detail));
    }
    Ok((name, new, writes))
}

/// Somebody who comes for the first time.
async fn first(
    app: &App,
    from: Option<std::net::IpAddr>,
    provider: &Provider,
    person: Person,
    external: External,
    link: String,
) -> Result<Changes, ApiError> {
    if person.roles.is_empty() {
        return Ok(Err(no_role("user/?".to_owned())));
    }
    let Some(name) = person.name.filter(|name| user::check_name(name).is_ok()) else {
        let problem = Problem::forbidden(format!("the claim `{}` makes no name for a user", provider.config.user_claim));
        return Ok(Err(Refused::new("user/?", Why::NoName, problem)));
    };
    let subject = format!("user/{name}");
    if user::find(app, &name).await?.is_some() {
        let problem = Problem::conflict(format!("the name `{name}` is another user's"));
        let hint = "an admin can remove that user, or names can come from another claim: `userClaim`";
        return Ok(Err(Refused::new(subject, Why::NameTaken, problem.hint(hint))));
    }
    let new =
        UserRecord { roles: person.roles, display: person.display, email: person.email, external: Some(external), ..UserRecord::default() };
    let caller = Caller { name: name.clone(), roles: [].into(), via: Via::Local, address: from };
    let detail = json!({ "by": provider.config.name, "roles": new.roles });
    let writes = vec![
        Write::Create { kind: USER.into(), id: name.clone(), body: json!(new) },
        Write::Put { kind: LINK.into(), id: link, body: json!(LinkRecord { user: name.clone() }) },
        audit(app, &caller, "user.create", &subject, Outcome::Ok, detail),
    ];
    Ok(Ok((name, new, writes)))
}
