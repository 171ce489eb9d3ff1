//! Game days over the API.

use serde_json::{Value as Json, json};
use squall_api::client::{Client, Event};
use squall_api::gamedays::Changed;
use squall_api::tokens::CreatedToken;
use squall_api::users::Role;
use squall_gameday::Entry;

use crate::desk::{Desk, until};
use crate::team::status;

/// Starts at once, has nothing to break, and so ends inconclusive.
const WAITS: &str = "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: { name: waits }\nspec:\n  hypothesis:\n    statement: The page answers.\n    \
                     probes: [{ name: page, tcp: { address: \"127.0.0.1:1\" }, expect: { lt: 500ms } }]\n  steady: { for: 1s }\n  method: [{ wait: 100ms }]\n";

fn plan() -> Json {
    json!({
        "title": "Rehearsal",
        "participants": [
            { "name": "admin", "role": "facilitator" }, { "name": "olga", "role": "observer" }, { "name": "theo", "role": "observer" },
        ],
        "scenarios": [{ "title": "Slow payments", "experiment": { "saved": "waits" }, "objective": { "detectWithin": "5m" } }],
    })
}

async fn planned(admin: &Client) -> String {
    let saved: Json = admin.put("experiments/waits", &json!({ "manifest": WAITS })).await.expect("saved");
    assert_eq!(saved["name"], "waits");
    let view: Json = admin.post("gamedays", &plan()).await.expect("planned");
    view["id"].as_str().expect("an id").to_owned()
}

/// Under way, its scenario too: as if the run had begun a while ago.
async fn under_way(desk: &Desk, admin: &Client, id: &str) {
    let _: Changed = admin.post(&format!("gamedays/{id}/start"), &json!({})).await.expect("started");
    let document = desk.db.get("gameday", id).await.expect("read").expect("known");
    let mut body = document.body;
    body["scenarios"][0] =
        json!({ "state": "running", "run": "r000000000000", "started": { "at": "2026-01-01T00:00:00Z", "by": "admin" } });
    let put = squall_store::Write::Put { kind: "gameday".into(), id: id.into(), body };
    desk.db.commit(squall_store::Batch::new([put])).await.expect("written");
}

#[tokio::test]
async fn a_game_day_goes_from_plan_to_report_over_the_api() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let id = planned(&admin).await;
    let path = format!("gamedays/{id}");
    assert_eq!(status(admin.post::<Json>(&format!("{path}/scenarios/0/start"), &json!({})).await), 409);
    let _: Changed = admin.post(&format!("{path}/start"), &json!({})).await.expect("started");
    let started: Changed = admin.post(&format!("{path}/scenarios/0/start"), &json!({})).await.expect("started");
    let run = started.view.day.scenarios[0].run.clone().expect("a run");
    // Its end is the run's own, whoever was faster.
    let ended = until(&admin, &path, |view| view["day"]["scenarios"][0]["verdict"].as_str().map(str::to_owned)).await;
    assert_eq!(ended, "inconclusive");
    let seen: Json = admin.get(&format!("runs/{run}")).await.expect("known");
    assert_eq!(seen["experiment"], "waits");
    let _: Changed = admin.post(&format!("{path}/scenarios/0/detected"), &json!({})).await.expect("marked");
    let _: Changed = admin.put(&format!("{path}/scenarios/0/actual"), &json!({ "text": "nothing happened" })).await.expect("said");
    let _: Changed = admin.post(&format!("{path}/lessons"), &json!({ "text": "try it with a fault" })).await.expect("learned");
    let item = json!({ "text": "write a fault", "owner": "olga", "priority": "P1", "due": "2027-01-31" });
    let _: Changed = admin.post(&format!("{path}/actions"), &item).await.expect("added");
    let _: Changed = admin.post(&format!("{path}/finish"), &json!({})).await.expect("finished");
    let report: Json = admin.get(&format!("{path}/report?format=json")).await.expect("a report");
    assert_eq!((&report["state"], &report["objectivesMet"], &report["objectives"]), (&json!("finished"), &json!(1), &json!(1)));
    assert_eq!(report["scenarios"][0]["actual"], "nothing happened");
    assert!(admin.text(&format!("{path}/report?format=md")).await.expect("a page").contains("try it with a fault"));
    assert!(admin.text(&format!("{path}/report")).await.expect("a page").starts_with("<!doctype html>"));
    let timeline: Json = admin.get(&format!("{path}/timeline")).await.expect("a timeline");
    let seqs: Vec<u64> = timeline["items"].as_array().expect("a list").iter().filter_map(|entry| entry["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!(status(admin.delete(&path).await), 409, "what happened is kept");
}

#[tokio::test]
async fn two_who_mark_at_once_are_both_answered_with_the_one_who_was_first() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let (olga, theo) = (desk.user(&admin, "olga", Role::Viewer).await, desk.user(&admin, "theo", Role::Viewer).await);
    let id = planned(&admin).await;
    under_way(&desk, &admin, &id).await;
    let path = format!("gamedays/{id}/scenarios/0/detected");
    let ask = |client: &Client| {
        let (client, path) = (client.clone(), path.clone());
        tokio::spawn(async move { client.post::<Changed>(&path, &json!({})).await.expect("answered") })
    };
    let asked: Vec<_> = (0..10).flat_map(|_| [ask(&olga), ask(&theo)]).collect();
    let mut answers = Vec::new();
    for one in asked {
        answers.push(one.await.expect("it ends"));
    }
    let marks: std::collections::BTreeSet<String> =
        answers.iter().map(|changed| serde_json::to_string(&changed.view.day.scenarios[0].detected).expect("JSON")).collect();
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert_eq!(answers.iter().filter(|changed| changed.entry.is_some()).count(), 1);
}

#[tokio::test]
async fn notes_of_many_at_once_are_all_there_and_a_follower_gets_each_once() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let (olga, theo) = (desk.user(&admin, "olga", Role::Viewer).await, desk.user(&admin, "theo", Role::Viewer).await);
    let stranger = desk.user(&admin, "stranger", Role::Viewer).await;
    let id = planned(&admin).await;
    let _: Changed = admin.post(&format!("gamedays/{id}/start"), &json!({})).await.expect("started");
    let notes = format!("gamedays/{id}/notes");
    assert_eq!(status(stranger.post::<Json>(&notes, &json!({ "text": "hello" })).await), 403);
    let say = |client: &Client, text: String| {
        let (client, notes) = (client.clone(), notes.clone());
        tokio::spawn(async move { client.post::<Changed>(&notes, &json!({ "text": text })).await.expect("noted") })
    };
    let said: Vec<_> = (0..15).flat_map(|n| [say(&olga, format!("olga {n}")), say(&theo, format!("theo {n}"))]).collect();
    for one in said {
        one.await.expect("it ends");
    }
    let events = format!("gamedays/{id}/events");
    let entry = |event: Event| serde_json::from_str::<Entry>(&event.data).expect("an entry");
    let mut follower = olga.events(&events, None).await.expect("a stream");
    let mut seen = Vec::new();
    while seen.len() < 20 {
        seen.push(entry(follower.next().await.expect("a stream").expect("an entry")));
    }
    drop(follower);
    // Cut off, it goes on where it was.
    let last = seen.last().map(|entry| entry.seq.to_string());
    let mut follower = olga.events(&events, last.as_deref()).await.expect("a stream");
    let late = say(&theo, "late".into());
    let _ = late.await;
    let _: Changed = admin.post(&format!("gamedays/{id}/cancel"), &json!({ "reason": "done" })).await.expect("cancelled");
    while let Some(event) = follower.next().await.expect("a stream") {
        seen.push(entry(event));
    }
    assert_eq!(seen.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=33).collect::<Vec<_>>());
    let texts: std::collections::BTreeSet<String> = seen.iter().map(|entry| serde_json::to_string(&entry.what).expect("JSON")).collect();
    assert_eq!(texts.len(), 33);
}

#[tokio::test]
async fn a_change_made_from_an_old_version_is_refused() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let id = planned(&admin).await;
    let view: Json = admin.get(&format!("gamedays/{id}")).await.expect("known");
    let tag = format!("\"{}\"", view["version"]);
    let token: CreatedToken = admin.post("tokens", &json!({ "name": "writer" })).await.expect("a token");
    let put = |title: &str, tag: &str| {
        let mut plan = plan();
        plan["title"] = json!(title);
        let request = reqwest::Client::new().put(format!("{}/api/v1/gamedays/{id}", desk.url)).bearer_auth(token.secret.clone());
        let request = request.header("if-match", tag).header("content-type", "application/json").body(plan.to_string());
        async move { request.send().await.expect("answered").status().as_u16() }
    };
    assert_eq!(put("Another", &tag).await, 200);
    assert_eq!(put("Lost?", &tag).await, 409);
    assert_eq!(put("Lost?", "\"nonsense\"").await, 400);
    let now: Json = admin.get(&format!("gamedays/{id}")).await.expect("known");
    assert_eq!(now["day"]["plan"]["title"], "Another");
    assert_eq!(status(admin.post::<Json>("gamedays", &json!({ "title": "", "participants": [], "scenarios": [] })).await), 422);
    admin.delete(&format!("gamedays/{id}")).await.expect("never started");
}

#[tokio::test]
async fn a_game_day_stands_in_the_calendar_until_it_is_called_off() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let _: Json = admin.put("experiments/waits", &json!({ "manifest": WAITS })).await.expect("saved");
    let mut plan = plan();
    plan["starts"] = json!("2030-05-01T09:00:00Z");
    let view: Json = admin.post("gamedays", &plan).await.expect("planned");
    let calendar = "calendar?from=2030-05-01T00:00:00Z&to=2030-05-02T00:00:00Z";
    let listing: Json = admin.get(calendar).await.expect("a calendar");
    let entry = &listing["entries"][0];
    assert_eq!((&entry["kind"], &entry["uid"], &entry["start"]), (&json!("gameDay"), &view["id"], &json!("2030-05-01T09:00:00Z")));
    assert_eq!(entry["title"], "Rehearsal (game day)");
    let path = format!("gamedays/{}/cancel", view["id"].as_str().expect("an id"));
    let _: Changed = admin.post(&path, &json!({ "reason": "a storm of another kind" })).await.expect("called off");
    let listing: Json = admin.get(calendar).await.expect("a calendar");
    assert_eq!(listing["entries"], json!([]));
}

#[tokio::test]
async fn a_mark_is_at_every_reader_within_a_second() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let (olga, theo) = (desk.user(&admin, "olga", Role::Viewer).await, desk.user(&admin, "theo", Role::Viewer).await);
    let id = planned(&admin).await;
    under_way(&desk, &admin, &id).await;
    let mut readers = Vec::new();
    for client in [&admin, &olga, &theo] {
        let mut reader = client.events(&format!("gamedays/{id}/events"), None).await.expect("a stream");
        let first = reader.next().await.expect("a stream").expect("that it began");
        assert!(first.data.contains("started"), "{}", first.data);
        readers.push(reader);
    }
    let clock = desk.app.runs.clock();
    for mark in ["detected", "resolved"] {
        let began = clock.now();
        let _: Changed = olga.post(&format!("gamedays/{id}/scenarios/0/{mark}"), &json!({})).await.expect("marked");
        for reader in &mut readers {
            let event = reader.next().await.expect("a stream").expect("an entry");
            let took = clock.now().saturating_sub(began);
            assert!(event.data.contains(mark), "{}", event.data);
            assert!(took < std::time::Duration::from_secs(1), "{mark} took {took:?}");
        }
    }
}
