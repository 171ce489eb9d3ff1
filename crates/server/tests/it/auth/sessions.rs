//! Signing in and staying so.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;
use squall_api::client::Credential;
use squall_api::session::{PasswordChange, Session, Whoami};
use squall_api::tokens::{CreatedToken, NewToken};
use squall_api::users::{Role, User};
use squall_engine::Clock;
use squall_model::{Event, JOURNAL_VERSION, Record, RunId, Started};
use squall_server::auth::{AuthConfig, prepare};
use squall_store::BeginRun;

use crate::team::{PASSWORD, Team, patient, status};

#[tokio::test]
async fn the_first_admin_has_a_password_in_a_private_file_until_it_is_changed() {
    let team = Team::start().await;
    let file = prepare(&team.app, team.directory.path()).await.expect("prepared").expect("a file");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let again = prepare(&team.app, team.directory.path()).await.expect("prepared");
    assert_eq!(again.as_ref(), Some(&file), "a second start changes nothing");
    let first = std::fs::read_to_string(&file).expect("readable").trim().to_owned();
    let (client, whoami) = team.login("admin", &first).await.expect("signed in");
    assert!(whoami.must_change);
    assert_eq!(status(client.get::<squall_api::Page<User>>("users").await), 403, "first the password");
    let weak = PasswordChange { current: first.clone(), new: "short".into() };
    assert_eq!(status(client.put::<Whoami>("session/password", &weak).await), 422);
    let change = PasswordChange { current: first.clone(), new: PASSWORD.into() };
    client.put::<Whoami>("session/password", &change).await.expect("changed");
    assert!(!file.exists());
    assert_eq!(status(client.get::<Whoami>("session").await), 401, "every session from before has ended");
    assert_eq!(status(team.login("admin", &first).await.map(|_| ())), 401);
    let (client, whoami) = team.login("admin", PASSWORD).await.expect("signed in");
    assert!(!whoami.must_change);
    client.get::<squall_api::Page<User>>("users").await.expect("allowed");
    assert_eq!(prepare(&team.app, team.directory.path()).await.expect("prepared"), None);
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_after_its_time_however_busy() {
    let team = Team::start().await;
    let client = team.admin().await;
    team.clock.advance(Duration::from_mins(12 * 60 - 1));
    client.get::<Whoami>("session").await.expect("still there");
    team.clock.advance(Duration::from_secs(12 * 3600 + 1));
    assert_eq!(status(client.get::<Whoami>("session").await), 401, "idle");
    let (client, whoami) = team.login("admin", PASSWORD).await.expect("signed in");
    let ends = whoami.ends.expect("an end");
    assert_eq!(ends.duration_since(team.app.wall.now()).as_secs(), 12 * 3600);
    for _ in 0..16 {
        team.clock.advance(Duration::from_hours(10));
        client.get::<Whoami>("session").await.expect("busy");
    }
    team.clock.advance(Duration::from_secs(8 * 3600 + 1));
    assert_eq!(status(client.get::<Whoami>("session").await), 401, "after seven days");
}

/// A run that goes on: somebody's journal to follow.
async fn endless(team: &Team) -> RunId {
    let run = RunId::new(1, 1);
    let started = Started {
        version: JOURNAL_VERSION,
        run: run.clone(),
        experiment: "endless".into(),
        manifest: String::new(),
        seed: 1,
        wall: team.app.wall.now().to_string(),
        host: "test".into(),
        user: "admin".into(),
        squall: "0".into(),
    };
    let records = vec![Record { seq: 0, at: 0, event: Event::Started(Box::new(started.clone())) }];
    let begin = BeginRun { started, labels: BTreeMap::new(), extra: json!(null), records, fence: None };
    team.app.db.begin(begin).await.expect("begun");
    run
}

#[tokio::test]
async fn a_stream_ends_with_the_session_or_the_token_that_opened_it() {
    const MOMENT: Duration = Duration::from_millis(20);
    let team = Team::start().await;
    let admin = team.admin().await;
    let path = format!("runs/{}/events", endless(&team).await);
    let token: CreatedToken = admin.post("tokens", &NewToken { name: "reads".into(), ..NewToken::default() }).await.expect("made");
    let by_token = team.nobody().with(Credential::Token(token.secret));
    let (other, _) = team.login("admin", PASSWORD).await.expect("signed in");
    let mut stays = admin.events(&path, None).await.expect("followed");
    let mut ends = [other.events(&path, None).await.expect("followed"), by_token.events(&path, None).await.expect("followed")];
    for stream in ends.iter_mut().chain([&mut stays]) {
        stream.next().await.expect("an event").expect("the first one");
    }
    other.delete("session").await.expect("signed out");
    admin.delete(&format!("tokens/{}", token.token.id)).await.expect("revoked");
    let revoked = team.clock.now();
    for stream in &mut ends {
        loop {
            match tokio::time::timeout(MOMENT, stream.next()).await {
                Ok(Ok(Some(event))) => panic!("{event:?}"),
                Ok(_) => break,
                Err(_) => team.clock.advance(Duration::from_secs(1)),
            }
            assert!(team.clock.now() < revoked + Duration::from_mins(1), "it goes on");
        }
    }
    assert!(tokio::time::timeout(MOMENT, stays.next()).await.is_err(), "the one of another session goes on");
}

#[tokio::test]
async fn a_login_never_takes_the_session_that_somebody_else_planted() {
    let team = Team::start().await;
    team.admin().await;
    let planted = "squall-session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let (_, cookie, _) = team.browser("admin", PASSWORD, &[("cookie", planted)]).await;
    assert_ne!(cookie, planted);
    assert_eq!(team.raw("GET", "/api/v1/session", &[("cookie", planted)], None).await.status, 401);
    // The attacker's own good session, planted in the victim's browser, ends with the victim's login.
    let (_, again, _) = team.browser("admin", PASSWORD, &[("cookie", &cookie)]).await;
    assert_ne!(again, cookie);
    assert_eq!(team.raw("GET", "/api/v1/session", &[("cookie", &cookie)], None).await.status, 401);
    assert_eq!(team.raw("GET", "/api/v1/session", &[("cookie", &again)], None).await.status, 200);
    let both = format!("{again}; squall-session=tossed");
    assert_eq!(team.raw("GET", "/api/v1/session", &[("cookie", &both)], None).await.status, 401, "two of a name: one is not ours");
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let team = Team::start().await;
    let admin = team.admin().await;
    team.user(&admin, "ada", &[Role::Admin]).await;
    let (_, cookie, csrf) = team.browser("admin", PASSWORD, &[]).await;
    let (_, _, of_another) = team.browser("ada", PASSWORD, &[]).await;
    let new = json!({ "name": "t" });
    let post = async |headers: &[(&str, &str)]| {
        let headers: Vec<_> = [("cookie", cookie.as_str())].into_iter().chain(headers.iter().copied()).collect();
        let answer = team.raw("POST", "/api/v1/tokens", &headers, Some(&new)).await;
        (answer.status, answer.json["type"].as_str().unwrap_or_default().to_owned())
    };
    let refused = (403, "/problems/csrf".to_owned());
    assert_eq!(post(&[]).await, refused);
    assert_eq!(post(&[("x-squall-csrf", "guess")]).await, refused);
    assert_eq!(post(&[("x-squall-csrf", &of_another)]).await, refused, "bound to its session");
    assert_eq!(post(&[("x-squall-csrf", &csrf), ("sec-fetch-site", "cross-site")]).await, refused);
    assert_eq!(post(&[("x-squall-csrf", &csrf), ("sec-fetch-site", "same-site")]).await, refused);
    assert_eq!(post(&[("x-squall-csrf", &csrf), ("sec-fetch-site", "same-origin")]).await.0, 201);
    // A form of another site can neither sign its visitor in nor send what is not JSON.
    let login = json!({ "user": "admin", "password": PASSWORD });
    assert_eq!(team.raw("POST", "/api/v1/session", &[("sec-fetch-site", "cross-site")], Some(&login)).await.status, 403);
    assert_eq!(team.raw("POST", "/api/v1/session", &[("content-type", "text/plain")], None).await.status, 415);
}

#[tokio::test]
async fn cookies_and_answers_have_what_protects_them_in_browsers() {
    let plain = Team::start().await;
    plain.admin().await;
    let (answer, ..) = plain.browser("admin", PASSWORD, &[]).await;
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.starts_with("squall-session=") && cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains("Secure"),
        "{cookie}"
    );
    assert_eq!(answer.header("strict-transport-security"), "");
    let tls = Team::with(patient(), Some("https://squall.example/")).await;
    let (answer, ..) = {
        let file = prepare(&tls.app, tls.directory.path()).await.expect("prepared").expect("a file");
        let first = std::fs::read_to_string(file).expect("readable").trim().to_owned();
        tls.browser("admin", &first, &[]).await
    };
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-squall-session=")
            && cookie.ends_with("; HttpOnly; SameSite=Strict; Secure")
            && cookie.contains("Path=/;"),
        "{cookie}"
    );
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
    for path in ["/api/v1/health", "/api/v1/session", "/api/v1/nowhere", "/nowhere"] {
        let answer = tls.raw("GET", path, &[], None).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("script-src 'self';") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
    }
}

#[tokio::test]
async fn wrong_passwords_have_to_wait_and_say_nothing_about_who_exists() {
    let team = Team::start().await;
    team.admin().await;
    let wrong = team.login("admin", "wrong").await.expect_err("refused").to_string();
    let nobody = team.login("nobody", "wrong").await.expect_err("refused").to_string();
    assert_eq!(wrong, nobody);
    for _ in 0..4 {
        assert_eq!(status(team.login("admin", "wrong").await.map(|_| ())), 401);
    }
    assert_eq!(status(team.login("admin", PASSWORD).await.map(|_| ())), 429, "the right one has to wait too");
    team.clock.advance(Duration::from_secs(2));
    team.login("admin", PASSWORD).await.expect("signed in");
    for _ in 0..4 {
        assert_eq!(status(team.login("nobody", "wrong").await.map(|_| ())), 401);
    }
    assert_eq!(status(team.login("nobody", "wrong").await.map(|_| ())), 429, "names that nobody has are treated alike");
}

#[tokio::test]
async fn requests_without_a_credential_are_limited_and_those_with_one_are_not() {
    let team = Team::with(AuthConfig { anonymous_burst: 30, anonymous_per_second: 1, ..AuthConfig::default() }, None).await;
    let admin = team.admin().await;
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(team.raw("GET", "/api/v1/users", &[("authorization", "Bearer sqt_guess")], None).await.status);
    }
    assert_eq!((seen[0], seen[39]), (401, 429), "{seen:?}");
    assert_eq!(team.raw("GET", "/api/v1/health", &[], None).await.status, 429);
    for _ in 0..40 {
        admin.get::<Whoami>("session").await.expect("not limited");
    }
    team.clock.advance(Duration::from_secs(1));
    assert_eq!(team.raw("GET", "/api/v1/health", &[], None).await.status, 200);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_owner_and_by_admins_alone() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let ada = team.user(&admin, "ada", &[Role::Operator]).await;
    let other = team.login("ada", PASSWORD).await.expect("signed in").0;
    let sessions = ada.pages::<Session>("sessions", 1).all().await.expect("a list");
    assert_eq!(sessions.iter().filter(|session| session.current).count(), 1);
    assert!(sessions.iter().all(|session| session.user == "ada" && session.address.as_deref() == Some("127.0.0.1")));
    let eve = team.user(&admin, "eve", &[Role::Operator]).await;
    assert_eq!(status(eve.pages::<Session>("sessions?user=ada", 10).all().await), 403);
    let current = sessions.iter().find(|session| session.current).expect("one");
    assert_eq!(status(eve.delete(&format!("sessions/{}", current.id)).await), 404);
    for session in sessions.iter().filter(|session| !session.current) {
        ada.delete(&format!("sessions/{}", session.id)).await.expect("ended");
    }
    assert_eq!(status(other.get::<Whoami>("session").await), 401);
    ada.get::<Whoami>("session").await.expect("her own goes on");
    admin.delete(&format!("sessions/{}", current.id)).await.expect("ended by an admin");
    assert_eq!(status(ada.get::<Whoami>("session").await), 401);
    eve.delete("session").await.expect("signed out");
    assert_eq!(status(eve.get::<Whoami>("session").await), 401);
}
