//! The audit trail over the API.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use squall_api::audit::{AuditRow, AuditVerdict};
use squall_api::users::{Role, User};
use squall_store::SqliteDatabase;
use squall_testkit::FakeClock;

use crate::team::{PASSWORD, Team, patient, status};

#[tokio::test]
async fn everything_that_was_done_refused_or_failed_is_in_the_trail() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let ada = team.user(&admin, "ada", &[Role::Viewer]).await;
    assert_eq!(status(ada.post::<User>("users", &json!({ "name": "mallory" })).await), 403);
    assert_eq!(status(team.login("ada", "wrong").await.map(|_| ())), 401);
    assert_eq!(status(team.login("hunter2hunter2", "typed in the wrong place").await.map(|_| ())), 401);
    let token: Json = ada.post("tokens", &json!({ "name": "hers" })).await.expect("a token");
    let id = token["token"]["id"].as_str().expect("an id").to_owned();
    ada.delete(&format!("tokens/{id}")).await.expect("revoked");
    ada.delete("session").await.expect("signed out");
    let rows: Vec<AuditRow> = admin.pages("audit", 3).all().await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=rows.len() as u64).collect::<Vec<_>>());
    let told: Vec<String> = rows.iter().map(|row| format!("{} {} {} {}", row.actor, row.action, row.subject, row.outcome)).collect();
    let wanted = [
        "server user.create user/admin ok",
        "admin session.login user/admin ok",
        "admin user.password user/admin ok",
        "admin user.create user/ada ok",
        "ada user.password user/ada ok",
        "ada request POST /api/v1/users refused",
        "anonymous session.login user/ada failed",
        "anonymous session.login user/? failed",
        &format!("ada token.create token/{id} ok"),
        &format!("ada token.revoke token/{id} ok"),
        "ada session.logout user/ada ok",
    ];
    let mut from = told.iter();
    for row in wanted {
        assert!(from.any(|told| told == row), "{row} is missing, or out of order, in {told:#?}");
    }
    assert!(!told.join("\n").contains("hunter2"), "a name that nobody has may be a password");
    let of_ada: Vec<AuditRow> = admin.pages("audit?actor=ada&action=token.&newest=true", 1).all().await.expect("rows");
    assert_eq!(of_ada.iter().map(|row| row.action.as_str()).collect::<Vec<_>>(), ["token.revoke", "token.create"]);
    assert_eq!(of_ada[0].detail["from"], "127.0.0.1");
    for odd in ["after=x", "after=-1", "after=99999999999999999999", "limit=x", "actor=%00", "nonsense=1", "from=yesterday"] {
        assert_eq!(status(admin.get::<Json>(&format!("audit?{odd}")).await), 400, "{odd}");
    }
    let lines = admin.text("audit/export?action=session.").await.expect("an export");
    let lines: Vec<AuditRow> = lines.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    assert!(lines.len() >= 6 && lines.iter().all(|row| row.action.starts_with("session.")));
}

#[tokio::test]
async fn only_admins_read_the_trail() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let other = team.user(&admin, "other", &[Role::Viewer, Role::Operator, Role::Approver]).await;
    for path in ["audit", "audit/verify"] {
        assert_eq!(status(other.get::<Json>(path).await), 403, "{path}");
        admin.get::<Json>(path).await.expect("allowed");
    }
    assert_eq!(status(other.text("audit/export").await), 403);
}

#[tokio::test]
async fn a_row_that_was_changed_in_the_file_is_found_over_the_api() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path().join("squall.db"), FakeClock::default());
    let database = SqliteDatabase::open(&path, Arc::new(clock.clone())).expect("a database");
    let team = Team::over(Arc::new(database), clock, patient(), None).await;
    let admin = team.admin().await;
    let verdict: AuditVerdict = admin.get("audit/verify").await.expect("a verdict");
    assert!(verdict.intact);
    let (seq, hash) = (verdict.seq, verdict.hash.expect("a hash"));
    let kept = format!("audit/verify?seq={seq}&hash={hash}");
    team.login("admin", PASSWORD).await.expect("signed in");
    assert!(admin.get::<AuditVerdict>(&kept).await.expect("a verdict").intact, "rows may follow on what was kept");
    let wrong = format!("audit/verify?seq={seq}&hash={}", "0".repeat(64));
    assert!(!admin.get::<AuditVerdict>(&wrong).await.expect("a verdict").intact);
    assert_eq!(status(admin.get::<AuditVerdict>(&format!("audit/verify?seq={seq}")).await), 400);
    let file = rusqlite::Connection::open(&path).expect("the file");
    file.execute_batch("DROP TRIGGER audit_keeps_what_was_written").expect("whoever has the file can do that");
    let changed = file.execute("UPDATE audit SET entry = replace(entry, 'user/admin', 'user/nobody') WHERE seq = 2", []);
    assert_eq!(changed.expect("changed"), 1);
    let verdict: AuditVerdict = admin.get("audit/verify").await.expect("a verdict");
    assert_eq!((verdict.intact, verdict.seq, verdict.hash), (false, 2, None));
}
