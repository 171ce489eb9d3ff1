//! API tokens.

use std::time::Duration;

use base64::Engine as _;
use serde_json::json;
use squall_api::client::Credential;
use squall_api::session::Whoami;
use squall_api::tokens::{CreatedToken, NewToken, Token};
use squall_api::users::{NewUser, Role, User};
use squall_api::{Page, client::Client};

use crate::team::{Team, status};

fn named(name: &str) -> NewToken {
    NewToken { name: name.into(), ..NewToken::default() }
}

async fn made(team: &Team, by: &Client, new: &NewToken) -> (Client, CreatedToken) {
    let created: CreatedToken = by.post("tokens", new).await.expect("a token");
    (team.nobody().with(Credential::Token(created.secret.clone())), created)
}

#[tokio::test]
async fn a_token_does_what_it_and_its_owner_both_may_and_nothing_else() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let (viewer, created) = made(&team, &admin, &NewToken { roles: Some([Role::Viewer].into()), ..named("see") }).await;
    assert!(created.secret.starts_with(&format!("sqt_{}_", created.token.id)) && created.secret.len() == 4 + 12 + 1 + 43, "{created:?}");
    assert_eq!(viewer.get::<Whoami>("session").await.expect("who").roles, [Role::Viewer].into());
    assert_eq!(status(viewer.get::<Page<User>>("users").await), 403);
    let (all, _) = made(&team, &admin, &named("all")).await;
    all.get::<Page<User>>("users").await.expect("an admin's");
    let (some, _) = made(&team, &admin, &NewToken { resources: Some(["users".to_owned()].into()), ..named("some") }).await;
    some.get::<Page<User>>("users").await.expect("that one");
    assert_eq!(status(some.get::<Page<Token>>("tokens").await), 403);
    assert_eq!(status(some.get::<serde_json::Value>("audit").await), 403);
    some.get::<Whoami>("session").await.expect("who it is may always be asked");
    // What the owner loses, the token loses.
    let ada = team.user(&admin, "ada", &[Role::Operator]).await;
    let (of_ada, _) = made(&team, &ada, &named("hers")).await;
    let roles = json!({ "roles": ["viewer"] });
    admin.patch::<User>("users/ada", &roles).await.expect("changed");
    assert_eq!(of_ada.get::<Whoami>("session").await.expect("who").roles, [Role::Viewer].into());
    admin.patch::<User>("users/ada", &json!({ "disabled": true })).await.expect("disabled");
    assert_eq!(status(of_ada.get::<Whoami>("session").await), 401);
}

#[tokio::test]
async fn tokens_end_and_are_revoked_and_only_a_hash_of_them_is_kept() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let (short, created) = made(&team, &admin, &NewToken { lasts: Some("1h".into()), ..named("short") }).await;
    short.get::<Whoami>("session").await.expect("good");
    team.clock.advance(Duration::from_hours(1));
    assert_eq!(status(short.get::<Whoami>("session").await), 401);
    let (other, revoked) = made(&team, &admin, &named("other")).await;
    let listed: Vec<Token> = admin.pages("tokens", 1).all().await.expect("a list");
    assert_eq!(listed.len(), 2);
    admin.delete(&format!("tokens/{}", revoked.token.id)).await.expect("revoked");
    assert_eq!(status(other.get::<Whoami>("session").await), 401);
    assert_eq!(status(admin.delete("tokens/000000000000").await), 404);
    assert_eq!(status(admin.delete("tokens/nonsense").await), 404);
    let secret = created.secret.rsplit_once('_').map_or(created.secret.as_str(), |(_, secret)| secret);
    for document in team.app.db.list("token", &squall_store::List::default()).await.expect("read") {
        assert!(!document.body.to_string().contains(secret));
    }
    // The right id with a wrong secret, and the other way round.
    for guess in
        [format!("sqt_{}_{}", created.token.id, "A".repeat(43)), format!("sqt_000000000000_{secret}"), "sqt_".into(), "sqt__".into()]
    {
        assert_eq!(team.raw("GET", "/api/v1/session", &[("authorization", &format!("Bearer {guess}"))], None).await.status, 401, "{guess}");
    }
}

#[tokio::test]
async fn a_token_can_be_the_password_of_http_basic_and_a_password_cannot() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let (_, created) = made(&team, &admin, &named("calendar")).await;
    let basic =
        |user: &str, password: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")));
    let asked = async |value: String| team.raw("GET", "/api/v1/session", &[("authorization", &value)], None).await.status;
    assert_eq!(asked(basic("anything", &created.secret)).await, 200);
    assert_eq!(asked(basic("admin", crate::team::PASSWORD)).await, 401);
    for odd in ["Basic", "Basic !!!", "Digest x", "Bearer", "Bearer "] {
        assert_eq!(asked(odd.to_owned()).await, 401, "{odd}");
    }
}

#[tokio::test]
async fn a_token_makes_none_that_is_wider_than_itself() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let parent = NewToken {
        roles: Some([Role::Operator].into()),
        resources: Some(["tokens".to_owned(), "runs".to_owned()].into()),
        lasts: Some("1d".into()),
        ..named("parent")
    };
    let (parent, _) = made(&team, &admin, &parent).await;
    let child = |change: fn(&mut NewToken)| {
        let mut new = NewToken {
            roles: Some([Role::Viewer].into()),
            resources: Some(["runs".to_owned()].into()),
            lasts: Some("1h".into()),
            ..named("child")
        };
        change(&mut new);
        new
    };
    made(&team, &parent, &child(|_| ())).await;
    let wider: [fn(&mut NewToken); 5] = [
        |new| new.roles = Some([Role::Admin].into()),
        |new| new.roles = None,
        |new| new.resources = None,
        |new| new.resources = Some(["users".to_owned()].into()),
        |new| new.lasts = Some("never".into()),
    ];
    for (index, change) in wider.into_iter().enumerate() {
        assert_eq!(status(parent.post::<CreatedToken>("tokens", &child(change)).await), 403, "{index}");
    }
    // Nobody makes a token for somebody else but an admin, and for a user that there is.
    let robot = NewUser { name: "robot".into(), roles: [Role::Operator].into(), ..NewUser::default() };
    admin.post::<User>("users", &robot).await.expect("a program");
    let for_robot = NewToken { owner: Some("robot".into()), ..named("ci") };
    assert_eq!(status(parent.post::<CreatedToken>("tokens", &NewToken { lasts: Some("1h".into()), ..for_robot.clone() }).await), 403);
    let (robot, _) = made(&team, &admin, &for_robot).await;
    assert_eq!(robot.get::<Whoami>("session").await.expect("who").user, "robot");
    for odd in [
        json!({ "name": "" }),
        json!({ "name": "x", "lasts": "soon" }),
        json!({ "name": "x", "lasts": "1s" }),
        json!({ "name": "x", "roles": [] }),
        json!({ "name": "x", "resources": [] }),
        json!({ "name": "x", "resources": ["/runs"] }),
        json!({ "name": "x", "owner": "nobody" }),
        json!({ "name": "x", "owner": "robot", "roles": ["admin"] }),
    ] {
        assert_eq!(status(admin.post::<CreatedToken>("tokens", &odd).await), 422, "{odd}");
    }
}

#[tokio::test]
async fn when_a_token_was_used_is_written_now_and_then_and_not_each_time() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let (client, created) = made(&team, &admin, &named("busy")).await;
    let version = async || team.app.db.get("token", &created.token.id).await.expect("read").expect("there").version;
    client.get::<Whoami>("session").await.expect("good");
    let first = version().await;
    for _ in 0..20 {
        client.get::<Whoami>("session").await.expect("good");
    }
    assert_eq!(version().await, first);
    team.clock.advance(Duration::from_secs(601));
    client.get::<Whoami>("session").await.expect("good");
    assert_ne!(version().await, first);
    let listed: Vec<Token> = admin.pages("tokens", 10).all().await.expect("a list");
    assert_eq!(listed[0].used_from.as_deref(), Some("127.0.0.1"));
}
