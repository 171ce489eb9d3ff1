//! Nothing that is secret stands in the log, the audit trail, the database or any answer but the one that it is for.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use squall_api::tokens::CreatedToken;
use squall_api::users::{NewPassword, Role, User};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::team::{PASSWORD, Team, status};

/// A log that keeps everything, of every level and every crate.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl Log {
    fn keep(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        record(&mut line);
        let mut log = self.0.lock().expect("the log");
        log.push_str(&line.0);
        log.push('\n');
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.keep(span.metadata(), |line| span.record(line));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        self.keep(event.metadata(), |line| event.record(line));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_busy_session_leaks_no_password_and_no_token() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).expect("the only log of this process");
    let team = Team::start().await;
    let admin = team.admin().await;
    let ada = team.user(&admin, "ada", &[Role::Operator]).await;
    let (planted, wrong, misplaced) = ("planted-password-8271", "wrong-password-5542", "misplaced-password-9917");
    let token: CreatedToken = ada.post("tokens", &json!({ "name": "busy" })).await.expect("a token");
    let (_, cookie, csrf) = team.browser("ada", PASSWORD, &[]).await;
    admin.post::<User>("users", &json!({ "name": "bob", "password": planted })).await.expect("a user");
    assert_eq!(status(team.login("ada", wrong).await.map(|_| ())), 401);
    assert_eq!(status(team.login(misplaced, "x").await.map(|_| ())), 401);
    admin.put::<()>("users/bob/password", &NewPassword { password: format!("{planted}-too") }).await.expect("set");
    let headers = [("authorization", format!("Bearer {}", token.secret)), ("cookie", cookie.clone()), ("x-squall-csrf", csrf.clone())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut answers = String::new();
    let api: Json = serde_json::to_value(squall_server::openapi()).expect("JSON");
    for path in api["paths"].as_object().expect("paths").iter().filter(|(_, item)| item.get("get").is_some()).map(|(path, _)| path) {
        if path.contains("events") || path.contains("live") {
            continue; // does not end
        }
        let filled = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        for credential in [&headers[..1], &headers[1..]] {
            answers.push_str(&team.raw("GET", &filled, credential, None).await.text);
        }
    }
    // Broken bodies are quoted in problems by place, not by content.
    for (path, body) in [
        ("/api/v1/session", json!({ "user": "ada", "password": { "was": planted } })),
        ("/api/v1/users", json!({ "name": 1, "password": planted })),
    ] {
        answers.push_str(&team.raw("POST", path, &headers[1..], Some(&body)).await.text);
    }
    answers.push_str(&admin.text("audit/export").await.expect("an export"));
    answers.push_str(&admin.text("tokens?all=true").await.expect("tokens"));
    // What is answered once is not kept to be answered again.
    for path in ["/api/v1/tokens", "/api/v1/users"] {
        let keyed: Vec<(&str, &str)> = headers[1..].iter().copied().chain([("idempotency-key", "again")]).collect();
        assert_eq!(team.raw("POST", path, &keyed, Some(&json!({ "name": "again", "password": planted }))).await.status, 400, "{path}");
    }
    let mut kept = String::new();
    for kind in ["user", "session", "token", "idempotency"] {
        for document in team.app.db.list(kind, &squall_store::List::default()).await.expect("read") {
            kept.push_str(&format!("{} {}\n", document.id, document.body));
        }
    }
    let secret = token.secret.splitn(3, '_').nth(2).expect("a secret");
    let session = cookie.split_once('=').expect("a value").1;
    let log = log.0.lock().expect("the log").clone();
    assert!(!log.is_empty(), "something is logged");
    for (place, text) in [("the log", &log), ("an answer", &answers), ("the database", &kept)] {
        for (what, planted) in [
            ("a password", planted),
            ("a wrong password", wrong),
            ("a password in the place of a name", misplaced),
            ("a password", PASSWORD),
            ("a token", secret),
            ("a session", session),
        ] {
            assert!(
                !text.contains(planted),
                "{what} stands in {place}: {}",
                text.lines().find(|line| line.contains(planted)).unwrap_or_default()
            );
        }
    }
    // A session's own page is told its CSRF token; it is nowhere else.
    assert!(!log.contains(&csrf) && !kept.contains(&csrf));
}
