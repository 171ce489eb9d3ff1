//! Findings over the API: opened and verified by runs, and by nobody else.

use serde_json::{Value as Json, json};
use squall_api::findings::FindingView;
use squall_gameday::FindingState;
use squall_model::Verdict;

use crate::desk::{Desk, until};
use crate::team::status;

async fn first(client: &squall_api::client::Client, state: &str) -> FindingView {
    until(client, &format!("findings?state={state}"), |page| serde_json::from_value(page["items"][0].clone()).ok()).await
}

#[tokio::test]
async fn a_run_that_deviates_opens_a_finding_and_a_later_one_that_holds_verifies_that_it_is_fixed() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let opener = desk.whole("slow-payments", Verdict::Deviated).await;
    let view = first(&admin, "open").await;
    let finding = &view.finding;
    assert_eq!((finding.experiment.as_str(), finding.service.as_deref()), ("slow-payments", Some("checkout")));
    assert_eq!(finding.found_by(), Some(opener.as_str()));
    let analysis = &finding.analysis[0];
    assert_eq!(analysis.metric, "error rate");
    assert!(analysis.expected.contains('1') && analysis.actual.contains('4'), "{analysis:?}");
    assert!(analysis.likely_cause.iter().any(|cause| cause.contains("process.pause")), "{analysis:?}");
    let path = format!("findings/{}", view.id);
    let _: FindingView = admin.post(&format!("{path}/acknowledge"), &json!({})).await.expect("taken on");
    let item = json!({ "text": "a shorter timeout", "owner": "ada", "priority": "P0", "due": "2020-01-01" });
    let with_item: FindingView = admin.post(&format!("{path}/actions"), &item).await.expect("added");
    assert!(with_item.overdue);
    assert_eq!(status(admin.post::<Json>(&format!("{path}/reopen"), &json!({ "reason": "x" })).await), 409);
    // In the same way again, and it is the same finding.
    desk.whole("slow-payments", Verdict::Deviated).await;
    until(&admin, &path, |one| (one["finding"]["runs"].as_array()?.len() == 2).then_some(())).await;
    let _: FindingView = admin.post(&format!("{path}/fix"), &json!({ "reason": "it is shorter" })).await.expect("said");
    desk.whole("slow-payments", Verdict::Held).await;
    let verified = first(&admin, "verified").await;
    assert_eq!((verified.id.as_str(), verified.finding.state), (view.id.as_str(), FindingState::Verified));
    desk.whole("slow-payments", Verdict::Deviated).await;
    let again = first(&admin, "open").await;
    assert_eq!((again.id, again.finding.reopened), (view.id, 1));
}

#[tokio::test]
async fn findings_are_searched_and_filtered_and_said_better() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    desk.whole("slow-payments", Verdict::Deviated).await;
    desk.whole("lost-cache", Verdict::Deviated).await;
    until(&admin, "findings", |page| (page["items"].as_array()?.len() == 2).then_some(())).await;
    let found: Json = admin.get("findings?search=cache%20lost").await.expect("found");
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let id = found["items"][0]["id"].as_str().expect("an id").to_owned();
    let better = json!({ "title": "The cache forgets", "tags": ["cache", "p99"], "runbook": "https://wiki.example/cache" });
    let _: FindingView = admin.patch(&format!("findings/{id}"), &better).await.expect("said");
    let tagged: Json = admin.get("findings?tag=cache,p99&experiment=lost-cache").await.expect("found");
    assert_eq!(tagged["items"][0]["finding"]["title"], "The cache forgets");
    let page: Json = admin.get("findings?limit=1").await.expect("a page");
    let next = page["next"].as_str().expect("there is more");
    let rest: Json = admin.get(&format!("findings?limit=1&after={next}")).await.expect("a page");
    assert_ne!(page["items"][0]["id"], rest["items"][0]["id"]);
    assert!(rest.get("next").is_none());
    assert_eq!(status(admin.get::<Json>("findings?state=lost").await), 422);
    assert_eq!(status(admin.patch::<Json>(&format!("findings/{id}"), &json!({ "runbook": "javascript:alert(1)" })).await), 422);
    let none: Json = admin.get("findings?overdue=true").await.expect("a page");
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn changes_of_many_at_once_are_all_there() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    desk.whole("slow-payments", Verdict::Deviated).await;
    let path = format!("findings/{}/actions", first(&admin, "open").await.id);
    let add = |n: usize| {
        let (client, path) = (admin.clone(), path.clone());
        tokio::spawn(async move {
            let item = json!({ "text": format!("item {n}"), "priority": "P2" });
            client.post::<FindingView>(&path, &item).await.expect("added")
        })
    };
    for one in (0..20).map(add).collect::<Vec<_>>() {
        one.await.expect("it ends");
    }
    let ids: Vec<u32> = first(&admin, "open").await.finding.actions.iter().map(|action| action.id).collect();
    assert_eq!(ids, (1..=20).collect::<Vec<_>>());
}
