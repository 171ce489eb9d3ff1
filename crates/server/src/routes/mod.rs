//! The routes, one file a resource, and their description.

mod answers;
mod approvals;
mod audit;
mod calendar;
mod experiments;
mod findings;
mod gamedays;
mod health;
mod hosts;
mod library;
mod metrics;
mod monkeys;
mod notifications;
mod oidc;
mod paging;
mod policies;
mod run_view;
mod runs;
mod schedules;
mod session;
mod stop;
mod tokens;
mod users;

use axum::Router;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use crate::{App, auth};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Squall",
        description = "Chaos engineering for a team: hosts, experiments, runs, schedules, policies, and one red button.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    security(("token" = []), ("session" = []))
)]
struct Description;

fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi()).nest("/api/v1", resources())
}

/// Every resource. Adding one is one file and one line.
fn resources() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(health::router())
        .merge(metrics::router())
        .merge(audit::router())
        .merge(oidc::router())
        .merge(session::router())
        .merge(tokens::router())
        .merge(users::router())
        .merge(hosts::router())
        .merge(experiments::router())
        .merge(library::router())
        .merge(policies::router())
        .merge(approvals::router())
        .merge(runs::router())
        .merge(run_view::router())
        .merge(stop::router())
        .merge(notifications::router())
        .merge(gamedays::router())
        .merge(findings::router())
        .merge(schedules::router())
        .merge(monkeys::router())
        .merge(calendar::router())
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = described().into_openapi();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token")).build());
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(auth::SESSION_COOKIE)));
    let components = api.components.get_or_insert_default();
    components.security_schemes.insert("token".into(), bearer);
    components.security_schemes.insert("session".into(), session);
    answers::describe(&mut api);
    api
}

/// The whole API as a service, with everybody's requests authenticated but those for health and login.
pub fn router(app: App) -> Router {
    let (router, _) = described().split_for_parts();
    let problems = router.fallback(crate::console::answer).layer(axum::middleware::from_fn(answers::as_problems));
    let once = problems.layer(axum::middleware::from_fn_with_state(app.clone(), crate::idempotency::once));
    let authenticated = once.layer(axum::middleware::from_fn_with_state(app.clone(), auth::authenticate));
    authenticated.layer(axum::middleware::from_fn_with_state(app.clone(), auth::secure)).with_state(app)
}
