//! The published schemas say what the reader says.

use serde_json::{Value, json};
use squall_engine::{experiment_schema, policy_schema, validate_experiment};
use squall_model::Document;

use crate::catalogue::registry;

fn good() -> Value {
    json!({
        "apiVersion": "squall.dev/v1",
        "kind": "Experiment",
        "metadata": { "name": "checkout", "labels": { "team": "shop" } },
        "spec": {
            "hypothesis": {
                "statement": "Checkout stays up.",
                "probes": [
                    { "name": "up", "http": { "url": "http://127.0.0.1/" }, "expect": { "eq": 200 }, "every": "1s" },
                    { "name": "p99", "traffic": { "from": "shoppers", "measure": "p99.9" }, "expect": { "lt": "500ms", "for": "2s" } }
                ]
            },
            "traffic": [{ "name": "shoppers", "http": { "url": "http://127.0.0.1/" }, "rate": "100/s" }],
            "steady": { "for": "10s", "every": "1s" },
            "method": [
                { "fault": "process.pause", "target": { "process": { "name": "a" }, "select": { "percent": 30 }, "except": { "port": 1 } }, "for": "10s" },
                { "fault": "process.kill", "target": { "process": { "name": "a" }, "select": "all" }, "with": { "signal": "TERM" } },
                { "fault": "cpu.load", "with": { "load": "50%" }, "for": "10s", "repeat": { "times": 2 } },
                { "parallel": [{ "wait": "1s" }, { "sequence": [{ "suspend": { "message": "look", "timeout": "1m" } }] }] }
            ],
            "guards": [{ "probe": "up", "abort": { "ne": 200 }, "unmeasurable": { "abortAfter": "10s" } }],
            "rollback": { "actions": [{ "name": "reset", "command": ["true"] }] },
            "recovery": { "within": "60s", "stable": "3s" },
            "schedule": { "cron": "0 10 * * 1-5" }
        }
    })
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&experiment_schema(&registry())).expect("a good schema")
}

#[test]
fn the_schema_and_the_reader_take_the_same_good_manifest() {
    let good = good();
    let errors: Vec<String> = validator().iter_errors(&good).map(|e| format!("{} at {}", e, e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let errors = validate_experiment(&good.to_string(), &registry()).map(drop).err().unwrap_or_default();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn the_schema_and_the_reader_refuse_the_same_bad_manifests() {
    let changes: &[(&str, Value)] = &[
        ("/apiVersion", json!("squall.dev/v2")),
        ("/metadata/name", json!("Checkout!")),
        ("/spec/hypothesis/probes/0", json!({ "name": "up" })),
        ("/spec/hypothesis/probes/0", json!({ "name": "up", "http": { "url": "http://a/" }, "tcp": { "address": "a:1" } })),
        ("/spec/hypothesis/probes/0/http", json!({ "uri": "http://a/" })),
        ("/spec/hypothesis/probes/0/expect", json!({})),
        ("/spec/hypothesis/probes/0/expect", json!({ "lt": 1, "gt": 2 })),
        ("/spec/hypothesis/probes/0/every", json!(1)),
        ("/spec/traffic/0/rate", json!(100)),
        ("/spec/method/0", json!({ "name": "nothing" })),
        ("/spec/method/0", json!({ "wait": "1s", "fault": "process.kill" })),
        ("/spec/method/0/fault", json!("process.pauze")),
        ("/spec/method/0", json!({ "fault": "process.pause", "for": "10s" })),
        ("/spec/method/0", json!({ "fault": "process.pause", "target": { "process": { "name": "a" } } })),
        ("/spec/method/0/target", json!({ "select": "all" })),
        ("/spec/method/0/target/process", json!({ "nam": "a" })),
        ("/spec/method/1/with", json!({ "signal": "SIGKILL" })),
        ("/spec/method/2", json!({ "fault": "cpu.load", "for": "10s" })),
        ("/spec/rollback/actions/0", json!({ "name": "reset" })),
        ("/spec/recovery", json!({ "in": "60s" })),
    ];
    let validator = validator();
    for (pointer, value) in changes {
        let mut bad = good();
        *bad.pointer_mut(pointer).expect(pointer) = value.clone();
        assert!(!validator.is_valid(&bad), "the schema takes {value} at {pointer}");
        assert!(validate_experiment(&bad.to_string(), &registry()).is_err(), "the reader takes {value} at {pointer}");
    }
}

#[test]
fn editors_get_descriptions_and_examples() {
    let schema = experiment_schema(&registry());
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(validator().is_valid(&schema["examples"][0]), "the schema's own example");
    let definitions = schema["$defs"].as_object().expect("definitions");
    for (name, definition) in definitions {
        for (field, schema) in definition["properties"].as_object().into_iter().flatten() {
            let target = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")).map(|name| &definitions[name]);
            let described = schema.get("description").or(target.and_then(|target| target.get("description")));
            assert!(described.is_some(), "{name}.{field} has no description");
        }
    }
    assert_eq!(schema["$defs"]["fault.cpu.load"]["examples"][0], json!({ "load": "50%" }));
    assert_eq!(schema["$defs"]["probe.tcp"]["examples"][0], json!({ "address": "127.0.0.1:5432" }));
}

#[test]
fn every_reference_of_the_schema_leads_somewhere() {
    fn check(value: &Value, definitions: &Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if let (true, Some(name)) = (key == "$ref", value.as_str()) {
                        let name = name.strip_prefix("#/$defs/").expect(name);
                        assert!(definitions.get(name).is_some(), "{name}");
                    }
                    check(value, definitions);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| check(item, definitions)),
            _ => {}
        }
    }
    for schema in [experiment_schema(&registry()), policy_schema()] {
        check(&schema, &schema["$defs"]);
    }
}

#[test]
fn the_policy_schema_takes_good_policies_and_refuses_bad_ones() {
    let validator = jsonschema::draft202012::new(&policy_schema()).expect("a good schema");
    let read = |text: &str| Document::parse(text).expect(text).value;
    let head = "apiVersion: squall.dev/v1\nkind: Policy\nmetadata: { name: host }\n";
    assert!(validator.is_valid(&read(&format!(
        "{head}spec: {{ caps: {{ percent: 30%, duration: 5m }}, windows: [{{ from: \"09:00\", to: \"17:00\" }}] }}"
    ))));
    for bad in [
        "spec: { cap: {} }",
        "spec: { caps: { duration: 5 } }",
        "spec: { windows: [{ from: \"09:00\" }] }",
        "spec: { windows: [{ days: [monday], from: a, to: b }] }",
    ] {
        assert!(!validator.is_valid(&read(&format!("{head}{bad}"))), "{bad}");
    }
}
