//! Every route that the description names, of whatever resource: closed to strangers, and to viewers where it changes something.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use squall_api::users::Role;

use crate::team::{PASSWORD, Team};

/// What may be asked without a credential.
const PUBLIC: [&str; 6] = [
    "GET /api/v1/health",
    "GET /api/v1/openapi.json",
    "GET /api/v1/session/oidc/{provider}/callback",
    "GET /api/v1/session/oidc/{provider}/start",
    "GET /api/v1/session/providers",
    "POST /api/v1/session",
];

/// What also a viewer may change: what is their own, and game days that they take part in.
const OWN: [&str; 12] = [
    "DELETE /api/v1/session",
    "DELETE /api/v1/sessions/{id}",
    "DELETE /api/v1/tokens/{id}",
    "POST /api/v1/gamedays/{id}/actions",
    "POST /api/v1/gamedays/{id}/lessons",
    "POST /api/v1/gamedays/{id}/notes",
    "POST /api/v1/gamedays/{id}/scenarios/{scenario}/detected",
    "POST /api/v1/gamedays/{id}/scenarios/{scenario}/resolved",
    "POST /api/v1/tokens",
    "PUT /api/v1/gamedays/{id}/actions/{action}",
    "PUT /api/v1/gamedays/{id}/scenarios/{scenario}/actual",
    "PUT /api/v1/session/password",
];

struct Route {
    /// As `GET /api/v1/users/{name}`.
    name: String,
    method: String,
    /// With something in place of its parameters.
    path: String,
    public: bool,
}

fn every_route() -> Vec<Route> {
    let api: Json = serde_json::to_value(squall_server::openapi()).expect("JSON");
    let mut routes = Vec::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let method = method.to_uppercase();
            if !["GET", "PUT", "POST", "DELETE", "PATCH"].contains(&method.as_str()) {
                continue;
            }
            let public = operation["security"].as_array().is_some_and(|all| all.iter().any(|one| one == &json!({})));
            let filled = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
            routes.push(Route { name: format!("{method} {path}"), method, path: filled, public });
        }
    }
    assert!(routes.len() > 15, "the description is not empty");
    routes
}

#[tokio::test]
async fn no_route_but_health_and_login_answers_a_stranger() {
    let team = Team::start().await;
    let public: BTreeSet<String> = every_route().into_iter().filter(|route| route.public).map(|route| route.name).collect();
    assert_eq!(public, PUBLIC.map(str::to_owned).into());
    let tokens: [&[(&str, &str)]; 4] = [
        &[],
        &[("authorization", "Bearer sqt_0123456789ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
        &[("cookie", "squall-session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
        &[("authorization", "Basic YWRtaW46YWRtaW4=")],
    ];
    for route in every_route().into_iter().filter(|route| !route.public) {
        for headers in tokens {
            let body = (route.method != "GET").then(|| json!({}));
            let answer = team.raw(&route.method, &route.path, headers, body.as_ref()).await;
            assert_eq!(answer.status, 401, "{} with {headers:?}: {}", route.name, answer.text);
            assert_eq!(answer.header("content-type"), "application/problem+json", "{}", route.name);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    // What is not described is closed as well.
    for path in
        ["/api/v1/nowhere", "/api/v2/users", "/api/", "/api/v1/users/", "/api/v1//users", "/API/v1/users", "/%61pi/v1/users", "/metrics"]
    {
        assert_eq!(team.raw("GET", path, &[], None).await.status, 401, "{path}");
    }
    for path in ["/api/v1/health", "/api/v1/session/providers"] {
        assert_eq!(team.raw("GET", path, &[], None).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_viewer_changes_nothing_but_what_is_their_own() {
    let team = Team::start().await;
    let admin = team.admin().await;
    team.user(&admin, "viewer", &[Role::Viewer]).await;
    let (_, cookie, csrf) = team.browser("viewer", PASSWORD, &[]).await;
    let headers = [("cookie", cookie.as_str()), ("x-squall-csrf", csrf.as_str())];
    for route in every_route().into_iter().filter(|route| !route.public && route.method != "GET" && !OWN.contains(&route.name.as_str())) {
        let answer = team.raw(&route.method, &route.path, &headers, Some(&json!({}))).await;
        assert_eq!((answer.status, &answer.json["type"]), (403, &json!("/problems/forbidden")), "{}: {}", route.name, answer.text);
    }
}

#[tokio::test]
async fn users_and_the_trail_are_for_admins_alone() {
    let team = Team::start().await;
    let admin = team.admin().await;
    for (name, role) in [("op", Role::Operator), ("ap", Role::Approver)] {
        team.user(&admin, name, &[role]).await;
        let (_, cookie, csrf) = team.browser(name, PASSWORD, &[]).await;
        let headers = [("cookie", cookie.as_str()), ("x-squall-csrf", csrf.as_str())];
        let of_admins = |route: &Route| ["/api/v1/users", "/api/v1/audit"].iter().any(|path| route.path.starts_with(path));
        let routes: Vec<Route> = every_route().into_iter().filter(of_admins).collect();
        assert_eq!(routes.len(), 9);
        for route in routes {
            let body = (route.method != "GET").then(|| json!({}));
            assert_eq!(team.raw(&route.method, &route.path, &headers, body.as_ref()).await.status, 403, "{name}: {}", route.name);
        }
    }
}

#[tokio::test]
async fn whatever_goes_wrong_is_told_as_a_problem() {
    let team = Team::start().await;
    team.admin().await;
    let (_, cookie, csrf) = team.browser("admin", PASSWORD, &[]).await;
    let headers = [("cookie", cookie.as_str()), ("x-squall-csrf", csrf.as_str())];
    let asked = [
        ("GET", "/api/v1/nowhere", 404),
        ("DELETE", "/api/v1/users", 405),
        ("GET", "/api/v1/users/%FF", 400),
        ("GET", "/api/v1/users?limit=many", 400),
        ("GET", "/api/v1/users/%00", 404),
    ];
    for (method, path, status) in asked {
        let answer = team.raw(method, path, &headers, None).await;
        assert_eq!(
            (answer.status, answer.header("content-type").as_str()),
            (status, "application/problem+json"),
            "{method} {path}: {}",
            answer.text
        );
        assert_eq!(answer.json["status"], status);
    }
}
