//! What real clients make of each fault on streams: OpenAI's and Anthropic's own, npm's `eventsource`, and curl.
//!
//! The reports are kept beside the drivers in `tests/streams`; `SQUALL_BLESS=1` writes them anew.

mod carrier;
mod clients;
mod scenario;

use serde_json::Value;

use carrier::Carrier;
use clients::{bytes_of, compare, node, python};
use scenario::{all, as_json};

#[test]
fn openais_client_reports_each_fault_on_chat_completions() {
    let carrier = Carrier::start(all());
    let report = python("openai_client.py", &[carrier.base(), "chat".into(), as_json()]);
    compare("openai-chat.json", &report);
    assert_eq!(carrier.requests("rateLimited"), 2, "it tries again once, as it is told to");
}

#[test]
fn openais_client_reports_each_fault_on_responses() {
    let carrier = Carrier::start(all());
    compare("openai-responses.json", &python("openai_client.py", &[carrier.base(), "responses".into(), as_json()]));
}

#[test]
fn anthropics_client_reports_each_fault() {
    let carrier = Carrier::start(all());
    let report = python("anthropic_client.py", &[carrier.base(), as_json()]);
    compare("anthropic.json", &report);
    assert_eq!(carrier.requests("rateLimited"), 2, "it tries again once, as it is told to");
}

#[test]
fn eventsource_reports_each_fault_and_comes_back() {
    let carrier = Carrier::start(all());
    let report = node("eventsource_client.mjs", &[carrier.base(), as_json()]);
    compare("eventsource.json", &report);
    assert_eq!(carrier.last_event_ids("cutInEvent").last().map(String::as_str), Some("2"), "it says where it broke off");
}

#[test]
fn curl_gets_the_very_bytes_and_says_how_they_ended() {
    let carrier = Carrier::start(all());
    let mut report = serde_json::Map::new();
    std::thread::scope(|scope| {
        let asked: Vec<_> = all()
            .into_iter()
            .map(|scenario| {
                let url = format!("{}/{}/events", carrier.base(), scenario.name);
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
