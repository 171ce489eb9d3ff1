//! What real clients make of each fault on streams: OpenAI's and Anthropic's own, npm's `eventsource`, and curl, through the
//! proxy, which has a rule for each.
//!
//! The reports are kept beside the drivers in `tests/streams`; `SQUALL_BLESS=1` writes them anew.

mod clients;
mod edge;
mod scenario;

use serde_json::Value;

use clients::{bytes_of, compare, node, python};
use edge::Edge;
use scenario::{all, as_json, data};

#[test]
fn openais_client_reports_each_fault_on_chat_completions() {
    let edge = Edge::start(&all());
    let report = python("openai_client.py", &[edge.base(), "chat".into(), as_json()]);
    compare("openai-chat.json", &report);
    assert_eq!(edge.hits("rateLimited"), 2, "it tries again once, as it is told to");
}

#[test]
fn openais_client_reports_each_fault_on_responses() {
    let edge = Edge::start(&all());
    compare("openai-responses.json", &python("openai_client.py", &[edge.base(), "responses".into(), as_json()]));
}

#[test]
fn anthropics_client_reports_each_fault() {
    let edge = Edge::start(&all());
    let report = python("anthropic_client.py", &[edge.base(), as_json()]);
    compare("anthropic.json", &report);
    assert_eq!(edge.hits("rateLimited"), 2, "it tries again once, as it is told to");
}

#[test]
fn eventsource_reports_each_fault_and_comes_back() {
    let edge = Edge::start(&all());
    let report = node("eventsource_client.mjs", &[edge.base(), as_json()]);
    compare("eventsource.json", &report);
    assert_eq!(edge.last_event_ids("cutInEvent").last().map(String::as_str), Some("2"), "it says where it broke off");
}

#[test]
fn curl_gets_the_very_bytes_and_says_how_they_ended() {
    let edge = Edge::start(&all());
    let mut report = serde_json::Map::new();
    std::thread::scope(|scope| {
        let asked: Vec<_> = all()
            .into_iter()
            .map(|scenario| {
                let url = format!("{}/{}/events", edge.base(), scenario.name);
                let patience = scenario.patience();
                (scope.spawn(move || clients::curl(&url, patience)), scenario)
            })
            .collect();
        for (asked, scenario) in asked {
            let got = asked.join().unwrap();
            assert_eq!(got.body, bytes_of(&scenario), "{}", scenario.name);
            report.insert(scenario.name.into(), Value::from(format!("exit {}, status {}", got.exit, got.status)));
        }
    });
    compare("curl.json", &Value::Object(report));
}

#[test]
fn json_bodies_are_changed_on_their_way_and_keep_every_other_byte() {
    let edge = Edge::start(&data());
    for scenario in data() {
        let got = clients::curl(&format!("{}/{}/orders", edge.base(), scenario.name), scenario.patience());
        let golden = format!("{}/src/data/testdata/{}.orders.json", env!("CARGO_MANIFEST_DIR"), scenario.name);
        let golden = String::from_utf8(std::fs::read(golden).unwrap()).unwrap();
        assert_eq!((got.exit, got.status.as_str()), (0, "200"), "{}", scenario.name);
        assert_eq!(String::from_utf8(got.body).unwrap(), golden, "{}", scenario.name);
        assert_eq!(edge.hits(scenario.name), 1);
    }
}
