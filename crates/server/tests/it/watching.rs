//! A run that somebody watches: views and samples, as they are written.

use serde_json::{Value as Json, json};
use squall_api::client::{Client, Credential, Events};
use squall_api::tokens::{CreatedToken, NewToken};
use squall_api::users::Role;
use squall_model::{Event, Measured, RunId, Value, Verdict};

use crate::desk::Desk;
use crate::team::status;

fn path(run: &RunId) -> String {
    format!("runs/{run}/live")
}

/// A watcher, and what it has seen.
struct Watcher {
    stream: Events,
    /// The last view.
    view: Json,
    /// The number of each sample, and its value.
    samples: Vec<(u64, f64)>,
    /// After what it would go on.
    last: Option<String>,
}

impl Watcher {
    async fn of(client: &Client, run: &RunId, after: Option<&str>) -> Self {
        let stream = client.events(&path(run), after).await.expect("a stream");
        Self { stream, view: Json::Null, samples: Vec::new(), last: None }
    }

    /// Takes an event; false at the stream's end.
    async fn step(&mut self) -> bool {
        let Some(event) = self.stream.next().await.expect("a stream") else { return false };
        let data: Json = serde_json::from_str(&event.data).expect("JSON");
        self.last = event.id;
        match event.event.as_str() {
            "view" => self.view = data,
            "samples" => {
                assert!(self.view.is_object(), "the view is first: it says which probes there are");
                for columns in data["probes"].as_array().expect("probes") {
                    assert_eq!(columns["probe"], 0);
                    let from = columns["from"].as_u64().expect("a number");
                    let values = columns["value"].as_array().expect("values").iter().map(|value| value.as_f64().expect("a number"));
                    self.samples.extend((from..).zip(values));
                }
            }
            other => panic!("an event `{other}`"),
        }
        true
    }

    /// Until it has seen so many samples.
    async fn samples(&mut self, many: usize) {
        while self.samples.len() < many {
            assert!(self.step().await, "the stream ended after {:?}", self.samples);
        }
    }

    async fn rest(mut self) -> Self {
        while self.step().await {}
        self
    }

    fn numbers(&self) -> Vec<u64> {
        self.samples.iter().map(|(number, _)| *number).collect()
    }
}

#[tokio::test]
async fn a_run_is_watched_by_a_viewer_from_its_start_to_its_end() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let viewer = desk.user(&admin, "vera", Role::Viewer).await;
    let mut journal = desk.run("slow-payments", true, json!({ "schedule": "nightly" })).await;
    let run = journal.run.clone();
    let mut watcher = Watcher::of(&viewer, &run, None).await;
    watcher.samples(10).await;
    let values: Vec<f64> = watcher.samples.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [[0.0; 5], [4.0; 5]].concat());
    let view = watcher.view.clone();
    assert_eq!((&view["phase"], &view["server"], &view["cause"]), (&json!("inject"), &json!("desk"), &json!("schedule nightly")));
    assert_eq!((&view["steps"][0]["name"], &view["steps"][0]["fault"]), (&json!("the pause"), &json!("process.pause")));
    assert_eq!(view["report"]["manifest"], "", "who watches has it already");
    // What is new comes, and nothing else again.
    journal.write(Event::Sampled { probe: 0, took: 100, measured: Measured::Value(Value::Number(5.0)) }).await;
    watcher.samples(11).await;
    assert_eq!(watcher.samples.last(), Some(&(10, 5.0)));
    assert_eq!(watcher.view["events"].as_u64(), view["events"].as_u64().map(|events| events + 1));
    let cut = watcher.last.clone().expect("an id");
    journal.end(Verdict::Deviated).await;
    let watcher = watcher.rest().await;
    assert_eq!((&watcher.view["phase"], &watcher.view["report"]["verdict"]), (&json!("verdict"), &json!("deviated")));
    assert_eq!(watcher.numbers(), (0..16).collect::<Vec<_>>());
    // Cut off before the end, it goes on where it was; a run that is over is told whole, and the stream ends.
    let late = Watcher::of(&viewer, &run, Some(&cut)).await.rest().await;
    assert_eq!(late.numbers(), (11..16).collect::<Vec<_>>());
    assert_eq!(late.view, watcher.view);
    let anew = Watcher::of(&viewer, &run, Some("nonsense")).await.rest().await;
    assert_eq!(anew.numbers(), watcher.numbers());
    let whole: Json = viewer.get(&format!("runs/{run}/view")).await.expect("a view");
    assert_eq!((&whole["events"], &whole["report"]["verdict"]), (&watcher.view["events"], &json!("deviated")));
    assert!(whole["report"]["manifest"].as_str().expect("a text").contains("slow-payments"));
}

#[tokio::test]
async fn nobody_watches_who_may_not_and_there_is_nothing_to_see_of_a_run_that_is_none() {
    let desk = Desk::start().await;
    let admin = desk.admin().await;
    let run = desk.whole("slow-payments", Verdict::Held).await;
    let nobody = Client::new(&desk.url, None).expect("a URL");
    assert_eq!(status(nobody.events(&path(&run), None).await), 401);
    for (resource, seen) in [("hosts", 403), ("runs", 200)] {
        let new = NewToken { name: resource.into(), resources: Some([resource.to_owned()].into()), ..NewToken::default() };
        let token: CreatedToken = admin.post("tokens", &new).await.expect("a token");
        let client = nobody.clone().with(Credential::Token(token.secret));
        assert_eq!(status(client.events(&path(&run), None).await), seen, "{resource}");
    }
    let gone = RunId::new(1, 1);
    assert_eq!(status(admin.events(&path(&gone), None).await), 404);
    assert_eq!(status(admin.events("runs/none/live", None).await), 404);
}
