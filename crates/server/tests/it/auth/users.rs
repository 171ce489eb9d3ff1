//! Users.

use serde_json::json;
use squall_api::session::Whoami;
use squall_api::tokens::{CreatedToken, NewToken};
use squall_api::users::{NewPassword, NewUser, Role, User, UserChange};

use crate::team::{PASSWORD, Team, status};

#[tokio::test]
async fn what_an_admin_changes_holds_at_once() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let ada = team.user(&admin, "ada", &[Role::Viewer]).await;
    let users = "users";
    assert_eq!(status(ada.get::<squall_api::Page<User>>(users).await), 403);
    let change = UserChange { roles: Some([Role::Admin].into()), ..UserChange::default() };
    admin.patch::<User>("users/ada", &change).await.expect("changed");
    ada.get::<squall_api::Page<User>>(users).await.expect("an admin now");
    let disable = UserChange { disabled: Some(true), ..UserChange::default() };
    admin.patch::<User>("users/ada", &disable).await.expect("disabled");
    assert_eq!(status(ada.get::<Whoami>("session").await), 401);
    assert_eq!(status(team.login("ada", PASSWORD).await.map(|_| ())), 401);
    let enable = UserChange { disabled: Some(false), ..UserChange::default() };
    admin.patch::<User>("users/ada", &enable).await.expect("enabled");
    assert_eq!(status(ada.get::<Whoami>("session").await), 401, "the sessions are gone all the same");
    let (ada, _) = team.login("ada", PASSWORD).await.expect("signed in");
    let reset = NewPassword { password: "another good password".into() };
    admin.put::<()>("users/ada/password", &reset).await.expect("reset");
    assert_eq!(status(ada.get::<Whoami>("session").await), 401);
    let (_, whoami) = team.login("ada", &reset.password).await.expect("signed in");
    assert!(whoami.must_change);
}

#[tokio::test]
async fn the_last_admin_stays() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let viewer = UserChange { roles: Some([Role::Viewer].into()), ..UserChange::default() };
    assert_eq!(status(admin.patch::<User>("users/admin", &viewer).await), 409);
    assert_eq!(status(admin.delete("users/admin").await), 409);
    // A program has no way to sign in: it does not count.
    let robot = NewUser { name: "robot".into(), roles: [Role::Admin].into(), ..NewUser::default() };
    admin.post::<User>("users", &robot).await.expect("a program");
    assert_eq!(status(admin.delete("users/admin").await), 409);
    let ada = team.user(&admin, "ada", &[Role::Admin]).await;
    // Both at the same time: one of them stays.
    let (one, other) = tokio::join!(admin.delete("users/ada"), ada.delete("users/admin"));
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|ok| **ok).count(), 1);
}

#[tokio::test]
async fn a_later_user_of_a_name_is_somebody_else() {
    let team = Team::start().await;
    let admin = team.admin().await;
    let ada = team.user(&admin, "ada", &[Role::Operator]).await;
    let token: CreatedToken = ada.post("tokens", &NewToken { name: "t".into(), ..NewToken::default() }).await.expect("a token");
    let bearer = format!("Bearer {}", token.secret);
    assert_eq!(team.raw("GET", "/api/v1/session", &[("authorization", &bearer)], None).await.status, 200);
    // As if the tidying up after the removal had not been done.
    let kept = team.app.db.get("token", &token.token.id).await.expect("read").expect("there");
    admin.delete("users/ada").await.expect("removed");
    assert!(team.app.db.get("token", &token.token.id).await.expect("read").is_none());
    let put = squall_store::Write::Put { kind: kept.kind, id: kept.id, body: kept.body };
    team.app.db.commit(squall_store::Batch::new([put])).await.expect("put back");
    team.clock.advance(std::time::Duration::from_secs(1));
    team.user(&admin, "ada", &[Role::Admin]).await;
    assert_eq!(team.raw("GET", "/api/v1/session", &[("authorization", &bearer)], None).await.status, 401);
    assert_eq!(status(ada.get::<Whoami>("session").await), 401);
}

#[tokio::test]
async fn names_and_texts_that_cannot_be_are_refused() {
    let team = Team::start().await;
    let admin = team.admin().await;
    for name in ["", "Ada", "a b", "../admin", "-ada", &"a".repeat(65), "ada\u{0}", "ädä"] {
        assert_eq!(status(admin.post::<User>("users", &json!({ "name": name })).await), 422, "{name}");
    }
    for body in [
        json!({ "name": "x", "email": "nobody" }),
        json!({ "name": "x", "display": "a\u{7}" }),
        json!({ "name": "x", "password": "short" }),
    ] {
        assert_eq!(status(admin.post::<User>("users", &body).await), 422, "{body}");
    }
    assert_eq!(status(admin.post::<User>("users", &json!({ "name": "x", "role": "admin" })).await), 422, "no field of the name");
    admin.post::<User>("users", &json!({ "name": "ada" })).await.expect("good");
    assert_eq!(status(admin.post::<User>("users", &json!({ "name": "ada" })).await), 409);
    let listed: Vec<User> = admin.pages("users", 1).all().await.expect("a list");
    assert_eq!(listed.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ada", "admin"]);
}
