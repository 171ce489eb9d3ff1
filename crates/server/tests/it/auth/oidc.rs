//! Signing in by way of a provider.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use squall_api::audit::AuditRow;
use squall_api::client::Client;
use squall_api::users::{Role, User};
use squall_server::auth::AuthConfig;
use squall_server::auth::oidc::ProviderConfig;

use super::oidc_provider::{CLIENT, Key, Provider};
use crate::team::{Answer, Team, patient, status};

/// Wall time at the start of a team's clock: 2026-01-01 and 1,000 seconds.
const NOW: i64 = 1_767_226_600;

struct Bench {
    team: Team,
    provider: Provider,
    admin: Client,
    _secret: tempfile::NamedTempFile,
}

impl Bench {
    async fn with(key: Key) -> Self {
        let provider = Provider::start(key, NOW).await;
        let secret = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(secret.path(), format!("{}\n", CLIENT.1)).expect("written");
        let config: ProviderConfig = serde_json::from_value(json!({
            "name": "corp", "display": "The company", "issuer": provider.url, "clientId": CLIENT.0, "clientSecret": { "file": secret.path() },
            "roles": [{ "claim": "groups", "value": "sre", "roles": ["operator"] }, { "claim": "groups", "value": "chaos", "roles": ["admin"] }],
        }))
        .expect("a configuration");
        let team = Team::with(AuthConfig { oidc: vec![config], ..patient() }, None).await;
        let admin = team.admin().await;
        Self { team, provider, admin, _secret: secret }
    }

    /// Up to the provider's page: its URL and the cookie.
    async fn begin(&self, next: &str) -> (String, String) {
        let answer = self.team.raw("GET", &format!("/api/v1/session/oidc/corp/start?next={next}"), &[], None).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        let cookie = answer.header("set-cookie");
        assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
        (answer.header("location"), cookie.split(';').next().unwrap_or_default().to_owned())
    }

    async fn come_back(&self, query: &str, cookie: &str) -> Answer {
        self.team.raw("GET", &format!("/api/v1/session/oidc/corp/callback?{query}"), &[("cookie", cookie)], None).await
    }

    /// All of it.
    async fn sign_in(&self) -> Answer {
        let (url, cookie) = self.begin("/runs").await;
        let code = self.provider.authorize(&url);
        self.come_back(&format!("code={code}&state={}", state(&url)), &cookie).await
    }

    fn set(&self, change: impl FnOnce(&mut super::oidc_provider::Manners)) {
        change(&mut self.provider.manners.lock().expect("manners"));
    }

    async fn user(&self, name: &str) -> User {
        self.admin.get(&format!("users/{name}")).await.expect("a user")
    }
}

fn state(url: &str) -> String {
    let url = reqwest::Url::parse(url).expect("a URL");
    url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned()
}

#[tokio::test]
async fn somebody_whom_the_provider_vouches_for_becomes_a_user_with_the_roles_of_their_groups() {
    for key in [Key::es256("ec"), Key::rs256("rsa")] {
        let bench = Bench::with(key).await;
        let providers = bench.team.raw("GET", "/api/v1/session/providers", &[], None).await.json;
        assert_eq!(providers, json!([{ "name": "corp", "display": "The company", "start": "/api/v1/session/oidc/corp/start" }]));
        let answer = bench.sign_in().await;
        assert_eq!((answer.status, answer.header("location").as_str()), (303, "/runs"), "{}", answer.text);
        let cookies: Vec<String> =
            answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("text").to_owned()).collect();
        assert!(cookies[0].starts_with("squall-session=") && cookies[0].contains("SameSite=Strict"), "{cookies:?}");
        assert!(cookies[1].starts_with("squall-oidc=;") && cookies[1].contains("Max-Age=0"), "{cookies:?}");
        let session = cookies[0].split(';').next().expect("a cookie");
        let whoami = bench.team.raw("GET", "/api/v1/session", &[("cookie", session)], None).await.json;
        assert_eq!((&whoami["user"], &whoami["roles"]), (&json!("grace"), &json!(["operator"])));
        let user = bench.user("grace").await;
        assert_eq!((user.display.as_deref(), user.provider.as_deref(), user.password), (Some("Grace Hopper"), Some("corp"), false));
        // The next time she has other groups, and another name there: she is the same, with other roles.
        bench.set(|manners| manners.claims = json!({ "groups": ["chaos"], "preferred_username": "ghopper" }));
        assert_eq!(bench.sign_in().await.status, 303);
        assert_eq!(bench.user("grace").await.roles, [Role::Admin].into());
        assert_eq!(status(bench.admin.patch::<User>("users/grace", &json!({ "roles": ["viewer"] })).await), 409);
        bench.admin.patch::<User>("users/grace", &json!({ "disabled": true })).await.expect("disabled");
        assert_eq!(bench.sign_in().await.status, 403);
        let rows: Vec<AuditRow> = bench.admin.pages("audit?subject=user/grace", 50).all().await.expect("rows");
        let told: Vec<String> = rows.iter().map(|row| format!("{} {} {}", row.actor, row.action, row.outcome)).collect();
        assert_eq!(
            told,
            [
                "grace user.create ok",
                "grace session.login ok",
                "grace user.change ok",
                "grace session.login ok",
                "admin user.change ok",
                "anonymous session.login refused"
            ]
        );
        let asked = bench.provider.manners.lock().expect("manners").asked.clone();
        assert_eq!((asked["configuration"], asked["keys"]), (1, 1), "what was learnt is kept");
    }
}

#[tokio::test]
async fn the_session_that_a_login_was_begun_with_ends_with_it_and_not_before() {
    let bench = Bench::with(Key::es256("a")).await;
    let session = |answer: &Answer| answer.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let first = session(&bench.sign_in().await);
    let is_in = async |cookie: &str| bench.team.raw("GET", "/api/v1/session", &[("cookie", cookie)], None).await.status;
    // A browser sends its session with the click, and not when it comes back from another site.
    let start = bench.team.raw("GET", "/api/v1/session/oidc/corp/start", &[("cookie", &first)], None).await;
    assert_eq!((start.status, is_in(&first).await), (303, 200), "the provider may still say no");
    let (url, cookie) = (start.header("location"), start.header("set-cookie"));
    let cookie = cookie.split(';').next().expect("a cookie");
    let code = bench.provider.authorize(&url);
    let second = session(&bench.come_back(&format!("code={code}&state={}", state(&url)), cookie).await);
    assert_eq!((is_in(&first).await, is_in(&second).await), (401, 200));
}

#[tokio::test]
async fn whoever_is_not_vouched_for_does_not_come_in() {
    let bench = Bench::with(Key::es256("a")).await;
    let wrong = [
        json!({ "nonce": "of-another-login" }),
        json!({ "aud": "another-client" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": NOW - 3600 }),
        json!({ "iat": NOW + 3600 }),
        json!({ "azp": "another-client" }),
        json!({ "sub": "" }),
    ];
    for claims in wrong {
        bench.set(|manners| manners.claims = claims.clone());
        assert_eq!(bench.sign_in().await.status, 401, "{claims}");
    }
    bench.set(|manners| manners.claims = json!({ "groups": ["cooks"] }));
    assert_eq!(bench.sign_in().await.status, 403, "a group without a role");
    bench.set(|manners| manners.claims = json!({ "preferred_username": "../admin" }));
    assert_eq!(bench.sign_in().await.status, 403, "no name");
    bench.set(|manners| manners.claims = json!({ "preferred_username": "admin" }));
    assert_eq!(bench.sign_in().await.status, 409, "another user's name");
    bench.set(|manners| manners.claims = json!({}));
    let forged: [fn(&str) -> String; 4] = [
        |token| {
            let parts: Vec<&str> = token.split('.').collect();
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#), parts[1])
        },
        |token| format!("{}A.{}", &token[..token.rfind('.').expect("a dot")], &token[token.rfind('.').expect("a dot") + 1..]),
        |token| token.replacen('.', "", 1),
        |_| String::new(),
    ];
    for (index, change) in forged.into_iter().enumerate() {
        bench.set(|manners| manners.token = Some(change));
        assert_eq!(bench.sign_in().await.status, 401, "{index}");
    }
    assert_eq!(status(bench.admin.get::<User>("users/grace").await), 404);
}

#[tokio::test]
async fn a_login_that_was_not_begun_in_this_browser_is_none() {
    let bench = Bench::with(Key::es256("a")).await;
    let (url, cookie) = bench.begin("//evil.example").await;
    let (code, good) = (bench.provider.authorize(&url), state(&url));
    let (_, of_another) = bench.begin("/").await;
    for (query, cookie) in [
        (format!("code={code}&state={good}"), ""),
        (format!("code={code}&state={good}"), of_another.as_str()),
        (format!("code={code}&state=guess"), cookie.as_str()),
        (format!("code={code}"), cookie.as_str()),
        (format!("error=access_denied&state={good}"), cookie.as_str()),
        (format!("code={code}&state={good}&iss=https://evil.example"), cookie.as_str()),
        (format!("code=guess&state={good}"), cookie.as_str()),
    ] {
        assert_eq!(bench.come_back(&query, cookie).await.status, 401, "{query}");
    }
    let answer = bench.come_back(&format!("code={code}&state={good}&iss={}&session_state=x", bench.provider.url), &cookie).await;
    assert_eq!((answer.status, answer.header("location").as_str()), (303, "/"), "to this server, whatever `next` was");
    assert_eq!(bench.come_back(&format!("code={code}&state={good}"), &cookie).await.status, 401, "a code is good once");
    let (url, cookie) = bench.begin("/").await;
    let code = bench.provider.authorize(&url);
    bench.team.clock.advance(std::time::Duration::from_secs(601));
    assert_eq!(bench.come_back(&format!("code={code}&state={}", state(&url)), &cookie).await.status, 401, "too long ago");
    assert_eq!(bench.team.raw("GET", "/api/v1/session/oidc/other/start", &[], None).await.status, 404);
}

#[tokio::test]
async fn a_browser_is_led_back_to_where_it_began_with_why_nobody_was_signed_in() {
    let bench = Bench::with(Key::es256("a")).await;
    let page = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let back = async |query: &str, cookie: &str| {
        let path = format!("/api/v1/session/oidc/corp/callback?{query}");
        let answer = bench.team.raw("GET", &path, &[("cookie", cookie), page], None).await;
        let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        let cookies = cookies.map(|cookie| cookie.split(';').next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
        (answer.status, answer.header("location"), cookies)
    };
    let over = vec!["squall-oidc=".to_owned()];
    for (error, why) in [("access_denied", "declined"), ("invalid_scope", "not-believed"), ("", "not-believed")] {
        let (url, cookie) = bench.begin("/runs?state=live").await;
        let answer = back(&format!("error={error}&error_description=%3Cb%3Eevil&state={}", state(&url)), &cookie).await;
        assert_eq!(answer, (303, format!("/runs?state=live&refused={why}"), over.clone()), "{error}");
    }
    for (claims, why) in [
        (json!({ "groups": ["cooks"] }), "no-role"),
        (json!({ "preferred_username": "../admin" }), "no-name"),
        (json!({ "preferred_username": "admin" }), "name-taken"),
        (json!({ "nonce": "of-another-login" }), "not-believed"),
    ] {
        bench.set(|manners| manners.claims = claims.clone());
        let (url, cookie) = bench.begin("/runs/1%23x").await;
        let code = bench.provider.authorize(&url);
        let answer = back(&format!("code={code}&state={}", state(&url)), &cookie).await;
        assert_eq!(answer, (303, format!("/runs/1?refused={why}"), over.clone()), "{claims}");
    }
    // What another page sends here ends no login that was begun, and learns nothing of where it goes.
    let (url, cookie) = bench.begin("/runs").await;
    for (query, cookie) in [("error=access_denied&state=guess", cookie.as_str()), ("code=x", cookie.as_str()), ("", "")] {
        assert_eq!(back(query, cookie).await, (303, "/?refused=not-begun".to_owned(), Vec::new()), "{query}");
    }
    bench.set(|manners| manners.claims = json!({}));
    let code = bench.provider.authorize(&url);
    let (status, to, cookies) = back(&format!("code={code}&state={}", state(&url)), &cookie).await;
    assert_eq!((status, to.as_str(), cookies.len()), (303, "/runs", 2));
    let rows: Vec<AuditRow> = bench.admin.pages("audit?action=session.login&outcome=refused", 50).all().await.expect("rows");
    assert_eq!(rows.len(), 7, "what was never begun leaves none");
}

#[tokio::test]
async fn a_browser_is_led_back_from_a_provider_that_cannot_be_used() {
    let bench = Bench::with(Key::es256("a")).await;
    bench.set(|manners| manners.issuer = Some("https://evil.example".into()));
    let page = [("accept", "text/html")];
    for (path, to) in [
        ("corp/start?next=/hosts", "/hosts?refused=unusable"),
        ("corp/start?next=//evil.example", "/?refused=unusable"),
        ("gone/start?next=/hosts", "/hosts?refused=unusable"),
        ("gone/callback?code=x", "/?refused=unusable"),
    ] {
        let path = format!("/api/v1/session/oidc/{path}");
        let answer = bench.team.raw("GET", &path, &page, None).await;
        assert_eq!((answer.status, answer.header("location").as_str()), (303, to), "{path}");
        let program = bench.team.raw("GET", &path, &[("accept", "application/json")], None).await;
        assert_eq!((program.status >= 400, program.header("content-type").as_str()), (true, "application/problem+json"), "{path}");
    }
}

#[tokio::test]
async fn a_provider_that_changes_its_key_is_asked_again_and_one_that_is_another_is_not_believed() {
    let bench = Bench::with(Key::es256("first")).await;
    assert_eq!(bench.sign_in().await.status, 303);
    bench.set(|manners| manners.key = Key::rs256("second"));
    assert_eq!(bench.sign_in().await.status, 401, "keys are not asked for again at once: tokens with made-up keys could make it do that");
    bench.team.clock.advance(std::time::Duration::from_secs(31));
    assert_eq!(bench.sign_in().await.status, 303);
    // Signed by somebody else with a key of the same name.
    bench.set(|manners| {
        manners.shown = Some(json!([]));
        manners.key = Key::rs256("second");
    });
    assert_eq!(bench.sign_in().await.status, 401);
    bench.team.clock.advance(std::time::Duration::from_secs(3601));
    bench.set(|manners| manners.issuer = Some("https://evil.example".into()));
    let answer = bench.team.raw("GET", "/api/v1/session/oidc/corp/start", &[], None).await;
    assert_eq!((answer.status, &answer.json["type"]), (503, &Json::from("/problems/unavailable")));
}

#[test]
fn configurations_that_would_let_in_anybody_or_nobody_are_refused() {
    let good = json!({ "name": "corp", "issuer": "https://id.example", "clientId": "c", "roles": [{ "roles": ["viewer"] }] });
    let with = |change: Json| {
        let mut config = good.clone();
        for (name, value) in change.as_object().expect("an object") {
            config[name] = value.clone();
        }
        let config: ProviderConfig = serde_json::from_value(config).map_err(|e| e.to_string())?;
        let auth = AuthConfig { oidc: vec![config], ..AuthConfig::default() };
        let clock = std::sync::Arc::new(squall_testkit::FakeClock::default());
        squall_server::auth::Auth::new(auth, "https://squall.example", clock).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(with(json!({})), Ok(()));
    for bad in [
        json!({ "issuer": "http://id.example" }),
        json!({ "issuer": "id.example" }),
        json!({ "roles": [] }),
        json!({ "name": "a/b" }),
        json!({ "name": "" }),
        json!({ "roles": [{ "claim": "groups", "roles": ["admin"] }] }),
        json!({ "clientSecret": "in the clear" }),
        json!({ "authority": "/nowhere" }),
    ] {
        assert!(with(bad.clone()).is_err(), "{bad}");
    }
}
