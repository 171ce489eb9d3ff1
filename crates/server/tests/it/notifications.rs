//! Channels and deliveries over the API, and what runs have sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value as Json, json};
use squall_api::users::Role;
use squall_model::{Event, Verdict};

use crate::desk::{Desk, until};
use crate::team::status;

type Requests = Arc<Mutex<Vec<(HeaderMap, Json)>>>;

/// A receiver of webhooks that answers so, and what it got.
async fn receiver(status: StatusCode) -> (String, Requests) {
    let got = Requests::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let take = move |State(got): State<Requests>, headers: HeaderMap, body: String| async move {
        got.lock().expect("not poisoned").push((headers, serde_json::from_str(&body).expect("JSON")));
        status
    };
    let router = Router::new().route("/hook", post(take)).with_state(got.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, got)
}

fn types(got: &Requests) -> Vec<String> {
    got.lock().expect("not poisoned").iter().map(|(_, body)| body["type"].as_str().expect("a type").to_owned()).collect()
}

fn hook(desk: &Desk, url: &str, more: &Json) -> Json {
    let secret = desk.secret("hook", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let mut channel = json!({ "to": { "webhook": { "url": url, "secret": secret } } });
    channel.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    channel
}

#[tokio::test]
async fn what_happens_to_a_run_is_told_to_the_channels_that_want_it_in_order() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let (url, got) = receiver(StatusCode::NO_CONTENT).await;
    let (other_url, other) = receiver(StatusCode::NO_CONTENT).await;
    let _: Json = admin
        .put("channels/payments", &hook(&desk, &url, &json!({ "filter": { "labels": { "team": "payments" } } })))
        .await
        .expect("saved");
    let _: Json = admin
        .put("channels/others", &hook(&desk, &other_url, &json!({ "filter": { "labels": { "team": "search" } } })))
        .await
        .expect("saved");
    let mut journal = desk.run("slow-payments", true, Json::Null).await;
    journal.write(Event::StopRequested { by: "bob".into() }).await;
    let run = journal.end(Verdict::Deviated).await;
    let wanted = ["run.started", "run.stopped", "run.ended", "finding.opened"];
    until(&admin, "deliveries?state=delivered", |page| (page["items"].as_array()?.len() == wanted.len()).then_some(())).await;
    assert_eq!(types(&got), wanted);
    assert_eq!(types(&other), [""; 0]);
    let (headers, ended) = got.lock().expect("not poisoned")[2].clone();
    assert!(headers.contains_key("webhook-signature"));
    assert_eq!((&ended["data"]["verdict"], &ended["data"]["run"]), (&json!("deviated"), &json!(run)));
    assert_eq!((&ended["data"]["hosts"], &ended["data"]["labels"]["service"]), (&json!(["host-a"]), &json!("checkout")));
    assert_eq!(ended["data"]["url"], format!("{}/runs/{run}", desk.url));
}

#[tokio::test]
async fn a_guard_that_aborts_is_told_before_the_end() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let (url, got) = receiver(StatusCode::NO_CONTENT).await;
    let filter = json!({ "filter": { "events": ["run.aborted", "run.ended"] } });
    let _: Json = admin.put("channels/aborts", &hook(&desk, &url, &filter)).await.expect("saved");
    let mut journal = desk.run("slow-payments", false, Json::Null).await;
    journal.write(Event::SafetyLost { reason: "the watchdog is gone".into() }).await;
    until(&admin, "deliveries?state=delivered", |page| page["items"].get(0).map(|_| ())).await;
    assert_eq!(types(&got), ["run.aborted"]);
    journal.end(Verdict::Aborted).await;
    until(&admin, "deliveries?state=delivered", |page| page["items"].get(1).map(|_| ())).await;
    assert_eq!(types(&got), ["run.aborted", "run.ended"]);
}

#[tokio::test]
async fn what_a_server_has_told_another_does_not_tell_again_and_what_it_missed_it_tells() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let (url, got) = receiver(StatusCode::NO_CONTENT).await;
    let filter = json!({ "filter": { "events": ["run.started", "run.ended"] } });
    let _: Json = admin.put("channels/all", &hook(&desk, &url, &filter)).await.expect("saved");
    let journal = desk.run("slow-payments", false, Json::Null).await;
    until(&admin, "deliveries?state=delivered", |page| page["items"].get(0).map(|_| ())).await;
    // Another task that follows, over the same database, as a server that takes over would.
    tokio::spawn(squall_server::background(desk.app.clone()));
    journal.end(Verdict::Held).await;
    until(&admin, "deliveries?state=delivered", |page| page["items"].get(1).map(|_| ())).await;
    assert_eq!(types(&got), ["run.started", "run.ended"]);
}

#[tokio::test]
async fn a_channel_is_checked_tried_out_changed_and_removed() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let (url, got) = receiver(StatusCode::NO_CONTENT).await;
    let wrong = hook(&desk, "http://169.254.169.254/", &json!({ "template": { "title": "{{ experimnt }}" } }));
    let error = admin.put::<Json>("channels/hook", &wrong).await.expect_err("refused");
    let text = format!("{error:?}");
    assert!(text.contains("to.webhook.url") && text.contains("template.title") && text.contains("did you mean"), "{text}");
    let inline = json!({ "to": { "slack": { "url": "https://hooks.slack.com/services/T/B/hunter22" } } });
    assert_eq!(status(admin.put::<Json>("channels/hook", &inline).await), 422);
    let saved: Json = admin.put("channels/hook", &hook(&desk, &url, &json!({ "paused": true }))).await.expect("saved");
    let test: Json = admin.post("channels/hook/test", &json!({})).await.expect("tried");
    assert_eq!((&test["delivered"], &test["status"]), (&json!(true), &json!(204)));
    assert_eq!(types(&got), ["test"]);
    let operator = desk.user(&admin, "op", Role::Operator).await;
    assert_eq!(status(operator.put::<Json>("channels/hook", &saved["channel"]).await), 403);
    assert_eq!(status(operator.get::<Json>("channels/hook").await), 200);
    admin.delete("channels/hook").await.expect("removed");
    assert_eq!(status(admin.get::<Json>("channels/hook").await), 404);
    assert_eq!(status(admin.get::<Json>("channels/%00").await), 404);
}

#[tokio::test]
async fn dead_letters_are_listed_and_delivered_again() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let (gone, _) = receiver(StatusCode::GONE).await;
    let (url, got) = receiver(StatusCode::OK).await;
    let filter = json!({ "filter": { "events": ["run.ended"] } });
    let _: Json = admin.put("channels/hook", &hook(&desk, &gone, &filter)).await.expect("saved");
    desk.whole("slow-payments", Verdict::Held).await;
    let id = until(&admin, "deliveries?state=dead", |page| page["items"][0]["id"].as_str().map(str::to_owned)).await;
    let dead: Json = admin.get(&format!("deliveries/{id}")).await.expect("known");
    assert_eq!(dead["attempts"][0]["status"], 410);
    let _: Json = admin.put("channels/hook", &hook(&desk, &url, &filter)).await.expect("saved");
    let _: Json = admin.post(&format!("deliveries/{id}/redeliver"), &json!({})).await.expect("accepted");
    until(&admin, &format!("deliveries/{id}"), |one| (one["state"] == "delivered").then_some(())).await;
    assert_eq!(types(&got), ["run.ended"]);
    admin.delete(&format!("deliveries/{id}")).await.expect("discarded");
    assert_eq!(status(admin.get::<Json>(&format!("deliveries/{id}")).await), 404);
}
