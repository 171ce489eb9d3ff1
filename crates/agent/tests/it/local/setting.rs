//! Faults are set, obeyed, listed and ended.

use std::time::Duration;

use serde_json::json;
use squall_testkit::{Victim, eventually};

use super::field::{Field, get_page, stressors};

#[test]
fn a_service_obeys_what_is_set_until_it_is_deleted() {
    let field = Field::new();
    let (agent, service) = (field.agent(&[]), field.service("checkout"));
    let order = json!({ "target": "checkout", "path": "/cart", "latencyMs": 120, "failureRate": 1, "errorCode": 503, "duration": "30s" });
    let answer = agent.set(&order);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!((&answer.body["status"], &answer.body["target"]), (&json!("active"), &json!("checkout")));
    let effects = answer.body["effects"].as_array().expect("effects");
    let kinds: Vec<&str> = effects.iter().filter_map(|effect| effect["kind"].as_str()).collect();
    assert_eq!(kinds, ["app.latency", "app.error"]);
    assert!(effects.iter().all(|effect| effect["inForce"] == true), "{answer:?}");
    let (status, took) = get_page(&service, "/cart");
    assert!(status == 503 && took >= Duration::from_millis(120), "{status} after {took:?}");
    assert_eq!(get_page(&service, "/products").0, 200);

    let listed = agent.ask("GET", "/faults", "").body;
    let item = &listed["items"][0];
    assert_eq!((&item["target"], &item["fault"]["failureRate"]), (&json!("checkout"), &json!(1.0)));
    let left = item["remainingMs"].as_u64().expect("a number");
    assert!(left <= 30_000 && left > 10_000, "{listed}");
    assert_eq!(agent.ask("GET", "/faults?target=other", "").body["items"], json!([]));

    let deleted = agent.ask("DELETE", "/faults?target=checkout", "");
    assert_eq!((deleted.status, &deleted.body["status"]), (200, &json!("removed")));
    assert_eq!(deleted.body["reverted"].as_array().map(Vec::len), Some(2));
    let (status, took) = get_page(&service, "/cart");
    assert!(status == 200 && took < Duration::from_millis(120), "{status} after {took:?}");
    assert_eq!((field.faults().len(), field.runs()), (0, 0), "nothing is left");
    assert_eq!(agent.ask("GET", "/faults", "").body["items"], json!([]));
}

#[test]
fn a_second_order_for_a_target_takes_the_place_of_the_first_and_other_targets_stay() {
    let field = Field::new();
    let (agent, checkout, payments) = (field.agent(&[]), field.service("checkout"), field.service("payments"));
    for order in [json!({ "target": "checkout", "failureRate": 1 }), json!({ "target": "payments", "failureRate": 1, "errorCode": 418 })] {
        assert_eq!(agent.set(&order).status, 201);
    }
    assert_eq!((get_page(&checkout, "/cart").0, get_page(&payments, "/cart").0), (500, 418));
    assert_eq!(agent.set(&json!({ "target": "checkout", "fault": { "failureRate": 1, "errorCode": 502 } })).status, 201);
    assert_eq!((get_page(&checkout, "/cart").0, get_page(&payments, "/cart").0), (502, 418));
    assert_eq!(field.faults().len(), 4, "two files for each of two");
    let cleared = agent.ask("DELETE", "/faults", "");
    assert_eq!((cleared.status, &cleared.body["status"]), (200, &json!("cleared")));
    assert_eq!((get_page(&checkout, "/cart").0, get_page(&payments, "/cart").0), (200, 200));
}

#[test]
fn a_path_as_the_target_is_that_path_on_every_service() {
    let field = Field::new();
    let (agent, checkout, payments) = (field.agent(&[]), field.service("checkout"), field.service("payments"));
    assert_eq!(agent.set(&json!({ "target": "/cart", "failureRate": 1 })).status, 201);
    assert_eq!((get_page(&checkout, "/cart").0, get_page(&payments, "/cart").0), (500, 500));
    assert_eq!((get_page(&checkout, "/products").0, get_page(&payments, "/products").0), (200, 200));
}

#[test]
fn a_service_that_nobody_runs_is_said_not_to_be_broken() {
    let field = Field::new();
    let agent = field.agent(&[]);
    let answer = agent.set(&json!({ "target": "nobody", "latencyMs": 5 }));
    assert_eq!(answer.status, 201, "{answer:?}");
    let effect = &answer.body["effects"][0];
    assert_eq!(effect["inForce"], json!(false));
    assert!(effect["evidence"].as_str().is_some_and(|evidence| evidence.contains("squall-tower")), "{effect}");
}

#[test]
fn stress_is_put_on_a_process_by_its_name_and_is_gone_when_deleted() {
    let field = Field::new();
    let (agent, victim) = (field.agent(&[]), Victim::sleeper());
    let answer = agent.set(&json!({ "target": victim.name(), "cpuStress": 5, "memoryStress": "8MiB", "duration": "60s" }));
    assert_eq!(answer.status, 201, "{answer:?}");
    let effects = answer.body["effects"].as_array().expect("effects");
    assert!(effects.len() == 2 && effects.iter().all(|effect| effect["inForce"] == true), "{answer:?}");
    let run = effects[0]["run"].as_str().expect("a run").to_owned();
    assert_eq!(stressors(&run).len(), 2);
    assert_eq!(agent.ask("DELETE", &format!("/faults?target={}", victim.name()), "").status, 200);
    assert_eq!(stressors(&run), [0_u32; 0]);
    eventually("no watchdog is left", || field.runs() == 0);
}

#[test]
fn what_goes_wrong_half_way_leaves_nothing() {
    let field = Field::new();
    let (agent, service, victim) = (field.agent(&[]), field.service("checkout"), Victim::sleeper());
    // More memory than any host has: refused when the latency is in force already.
    let order = json!({ "target": "checkout", "failureRate": 1, "memoryStress": "900TiB", "process": { "name": victim.name() } });
    let answer = agent.set(&order);
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.body["detail"].is_string() && answer.body["hint"].is_string(), "{answer:?}");
    assert_eq!(get_page(&service, "/cart").0, 200);
    assert_eq!((field.faults().len(), field.runs()), (0, 0));
}
