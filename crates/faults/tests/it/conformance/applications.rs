//! Faults within a service.

use serde_json::{Value as Json, json};
use squall_engine::Target;
use squall_testkit::conformance::{Subject, World};

use super::table::row;
use crate::apps::Application;

/// A row for each.
pub fn rows() -> Vec<Subject> {
    let choices = [
        json!({ "paths": ["cart"] }),
        json!({ "methods": ["G T"] }),
        json!({ "points": [""] }),
        json!({ "points": ["x"], "paths": ["/cart"] }),
    ];
    let with = |key: &'static str, good: Json, more: &[Json]| -> Vec<Json> {
        let choices = choices.iter().map(|choice| {
            let mut choice = choice.clone();
            choice[key] = good.clone();
            choice
        });
        choices.chain(more.iter().cloned()).collect()
    };
    let delays = [json!({}), json!({ "delay": "0s" }), json!({ "delay": 5 }), json!({ "delay": "1s", "jitter": "2s" })];
    let errors = [json!({ "percent": "0%" }), json!({ "status": 200 }), json!({ "status": 600 }), json!({ "percent": 5, "status": "x" })];
    vec![
        row("app.latency", || Box::new(Broken::by(json!({ "delay": "50s", "paths": ["/c*"] }))), with("delay", json!("1s"), &delays)),
        row(
            "app.latency at a point",
            || Box::new(Broken { point: true, ..Broken::by(json!({ "delay": "50s", "points": ["charge-*"] })) }),
            with("delay", json!("1s"), &delays),
        ),
        row("app.error", || Box::new(Broken::by(json!({ "status": 503, "methods": ["GET"] }))), with("percent", json!("5%"), &errors)),
    ]
}

/// A service, and how it is broken.
struct Broken {
    application: Application,
    args: Json,
    point: bool,
}

impl Broken {
    fn by(args: Json) -> Self {
        Self { application: Application::new("checkout"), args, point: false }
    }

    fn asked(&self) -> Option<u16> {
        if self.point { self.application.at("charge-card") } else { self.application.get("/cart") }
    }
}

impl World for Broken {
    fn target(&self) -> Target {
        self.application.target()
    }
    fn args(&self) -> Json {
        self.args.clone()
    }
    fn untouched(&self) -> Result<(), String> {
        self.restored()
    }
    fn broken(&self) -> Result<(), String> {
        match self.asked() {
            Some(200) => Err("it answers at once, and well".into()),
            _ => Ok(()),
        }
    }
    fn restored(&self) -> Result<(), String> {
        match (self.asked(), self.application.files()) {
            (Some(200), files) if files.is_empty() => Ok(()),
            (answer, files) => Err(format!("answer {answer:?} at once, files {files:?}")),
        }
    }
}
