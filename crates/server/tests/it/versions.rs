//! Versions of saved experiments.

use serde_json::{Value as Json, json};
use squall_api::Page;
use squall_api::experiments::Experiment;
use squall_api::users::Role;

use crate::desk::Desk;
use crate::team::status;

fn manifest(statement: &str) -> String {
    format!(
        "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: {{ name: pause }}\nspec:\n  hypothesis:\n    statement: {statement}\n    \
         probes: [{{ name: page, tcp: {{ address: \"127.0.0.1:1\" }}, expect: {{ lt: 500ms }} }}]\n  method: [{{ wait: 1s }}]\n"
    )
}

#[tokio::test]
async fn each_save_keeps_what_an_experiment_was() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let op = desk.user(&admin, "op", Role::Operator).await;
    let save = |text: String| {
        let op = op.clone();
        async move { op.put::<Experiment>("experiments/pause", &json!({ "manifest": text })).await.expect("saved") }
    };
    let mut saved = Vec::new();
    for n in 0..5 {
        saved.push(save(manifest(&format!("It is version {n}."))).await);
    }
    // Saved as it is, it stays what it is.
    let again: Experiment = admin.put("experiments/pause", &json!({ "manifest": saved[4].manifest })).await.expect("saved");
    assert_eq!(again, saved[4]);
    saved.reverse();
    let all: Page<Experiment> = op.get("experiments/pause/versions").await.expect("versions");
    assert_eq!(all, Page { items: saved.clone(), next: None });
    let paged = op.pages::<Experiment>("experiments/pause/versions", 2).all().await.expect("versions");
    assert_eq!(paged, saved);
    for one in &saved {
        let seen: Experiment = op.get(&format!("experiments/pause/versions/{}", one.version)).await.expect("known");
        assert_eq!(seen, *one);
    }
    for missing in ["experiments/pause/versions/0", "experiments/other/versions", "experiments/other/versions/1"] {
        assert_eq!(status(op.get::<Json>(missing).await), 404, "{missing}");
    }
    assert_eq!(status(op.get::<Json>("experiments/pause/versions?after=x").await), 400);
    op.delete("experiments/pause").await.expect("removed");
    assert_eq!(status(op.get::<Json>(&format!("experiments/pause/versions/{}", saved[1].version)).await), 404);
    // What comes under its name later has nothing of it.
    let new = save(manifest("It is another.")).await;
    let all: Page<Experiment> = op.get("experiments/pause/versions").await.expect("versions");
    assert_eq!(all.items, [new]);
}
