//! `squall validate`, `explain` and `schema`, as scripts and people use them.

use assert_cmd::Command;
use serde_json::{Value, json};

fn squall() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.env_remove("NO_COLOR").env_remove("SQUALL_STATE_DIR");
    command
}

fn stdout(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("squall runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

const WRONG: &str = "apiVersion: squall.dev/v1
kind: Experiment
metadata: { name: checkout }
spec:
  hypothesis:
    statement: Checkout stays up.
    probes:
      - name: up
        http: { url: \"http://127.0.0.1:8080/\" }
        expct: { eq: 200 }
  method:
    - fault: process.pauze
      target: { process: { name: payments } }
      for: 10
";

#[test]
fn validate_says_everything_that_is_wrong_one_line_each_with_a_code_for_scripts() {
    let text = stdout(squall().args(["validate", "-"]).write_stdin(WRONG), 2);
    assert_eq!(
        text,
        "-:10:9: unknown field `expct` (hint: did you mean `expect`?)\n\
         -:12:14: unknown fault `process.pauze` (hint: did you mean `process.pause`?)\n\
         -:14:12: `for`: `10` has no unit (hint: write `10s` or `10ms`)\n"
    );
    let json: Value =
        serde_json::from_str(&stdout(squall().args(["validate", "--output", "json", "-"]).write_stdin(WRONG), 2)).expect("JSON");
    assert_eq!(json[0]["valid"], false);
    assert_eq!(json[0]["diagnostics"][1]["line"], 12);
    assert_eq!(json[0]["diagnostics"][1]["path"], "spec.method[0].fault");
}

#[test]
fn validate_takes_several_manifests_and_policies_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, policy) = (dir.path().join("good.yaml"), dir.path().join("policy.yaml"));
    std::fs::write(&good, WRONG.replace("expct", "expect").replace("pauze", "pause").replace("for: 10", "for: 10s")).expect("written");
    std::fs::write(&policy, "apiVersion: squall.dev/v1\nkind: Policy\nmetadata: { name: host }\nspec: { caps: { targets: 3 } }\n")
        .expect("written");
    let text = stdout(squall().arg("validate").args([&good, &policy]), 0);
    assert!(text.contains("valid experiment `checkout` (1 probe, 1 step, 0 guards)") && text.contains("valid policy `host`"), "{text}");
    assert_eq!(stdout(squall().args(["--quiet", "validate"]).arg(&good), 0), "");
    let output = squall().args(["validate", "/nonexistent.yaml"]).output().expect("squall runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: "));
}

#[test]
fn every_ready_experiment_is_valid() {
    let list: Value = serde_json::from_str(&stdout(squall().args(["library", "list", "--output", "json"]), 0)).expect("JSON");
    let names: Vec<String> =
        list.as_array().expect("a list").iter().map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect();
    assert!(!names.is_empty());
    for name in names {
        let text = stdout(squall().args(["validate", &format!("library:{name}"), "--output", "json"]), 0);
        assert!(text.contains("\"valid\": true"), "{text}");
    }
}

#[test]
fn explain_lists_topics_and_explains_each_with_an_example() {
    let list = stdout(squall().arg("explain"), 0);
    for word in ["process.kill", "probes.http", "targets.process", "exit-codes", "spec.method.ramp"] {
        assert!(list.contains(word), "{word} in {list}");
    }
    let fault = stdout(squall().args(["explain", "process.kill"]), 0);
    assert!(fault.contains("signal") && fault.contains("Example") && fault.contains("fault: process.kill"), "{fault}");
    let field = stdout(squall().args(["explain", "spec.method.ramp"]), 0);
    assert!(field.contains("percent") && field.contains("ramp: { percent: [10%, 50%, 100%], every: 30s }"), "{field}");
    let json: Value = serde_json::from_str(&stdout(squall().args(["explain", "verdicts", "--output", "json"]), 0)).expect("JSON");
    assert_eq!(json["sections"][0]["entries"][0]["name"], "held");
    let output = squall().args(["explain", "process.kil"]).output().expect("squall runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `process.kill`?"));
}

#[test]
fn the_printed_schema_takes_the_ready_example_and_refuses_a_wrong_one() {
    let schema: Value = serde_json::from_str(&stdout(squall().arg("schema"), 0)).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a good schema");
    assert!(validator.is_valid(&schema["examples"][0]));
    let mut wrong = schema["examples"][0].clone();
    wrong["spec"]["method"][0]["fault"] = "process.pauze".into();
    assert!(!validator.is_valid(&wrong));
    let policy: Value = serde_json::from_str(&stdout(squall().args(["schema", "policy"]), 0)).expect("JSON");
    assert_eq!(policy["title"], "Squall policy");
}

#[test]
fn the_schemas_of_what_runs_by_itself_take_good_ones_and_refuse_bad_ones() {
    let validator = |kind: &str| {
        let schema: Value = serde_json::from_str(&stdout(squall().args(["schema", kind]), 0)).expect("JSON");
        jsonschema::draft202012::new(&schema).expect("a good schema")
    };
    let document =
        |kind: &str, spec: Value| json!({ "apiVersion": "squall.dev/v1", "kind": kind, "metadata": { "name": "x" }, "spec": spec });
    let schedule = validator("schedule");
    let freeze = json!({ "from": "2026-11-23", "to": "2026-11-30", "reason": "Black Friday" });
    let good =
        json!({ "experiment": "x", "cron": "30 2 * * MON-FRI", "jitter": "10m", "freezes": [freeze], "missed": { "policy": "once" } });
    assert!(schedule.is_valid(&document("Schedule", good)));
    for bad in [
        json!({ "experiment": "x" }),
        json!({ "experiment": "x", "cron": "@daily", "jitter": 10 }),
        json!({ "experiment": "x", "cron": "@daily", "concurrency": "never" }),
        json!({ "experiment": "x", "cron": "@daily", "missed": { "policy": "twice" } }),
    ] {
        assert!(!schedule.is_valid(&document("Schedule", bad.clone())), "{bad}");
    }
    let monkey = validator("monkey");
    let with = |fault: Value| document("Monkey", json!({ "groups": [{ "name": "all" }], "faults": [fault] }));
    let target = json!({ "process": { "name": "app" } });
    assert!(monkey.is_valid(&with(json!({ "fault": "process.pause", "target": target, "for": "30s" }))));
    assert!(!monkey.is_valid(&with(json!({ "fault": "process.pause", "target": target }))), "how long is missing");
    assert!(!monkey.is_valid(&with(json!({ "fault": "process.pauze", "target": target, "for": "30s" }))));
    assert!(!monkey.is_valid(&with(json!({ "fault": "process.kill", "target": target, "with": { "loudly": true } }))));
}

/// The first YAML of a page that is a document of this kind.
fn documented(page: &str, kind: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(path).expect("a page");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut documents = blocks.filter_map(|block| squall_model::Document::parse(block).ok()).map(|document| document.value);
    documents.find(|value| value["kind"] == kind).unwrap_or_else(|| panic!("{page} has no `{kind}`"))
}

#[test]
fn what_the_pages_show_fits_the_schemas() {
    for (page, kind) in [("schedules.md", "Schedule"), ("notifications.md", "Channel"), ("game-days.md", "GameDay")] {
        let schema: Value = serde_json::from_str(&stdout(squall().args(["schema", &kind.to_lowercase()]), 0)).expect("JSON");
        let validator = jsonschema::draft202012::new(&schema).expect("a good schema");
        let mut document = documented(page, kind);
        let found: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(found.is_empty(), "{page}: {found:?}");
        document["spec"]["nonsense"] = Value::from(1);
        assert!(!validator.is_valid(&document), "{kind}: an unknown field");
    }
    let schema: Value = serde_json::from_str(&stdout(squall().args(["schema", "monkey"]), 0)).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a good schema");
    let mut monkey = documented("schedules.md", "Monkey");
    // The page leaves the hypothesis out.
    monkey["spec"].as_object_mut().expect("an object").remove("hypothesis");
    let found: Vec<String> = validator.iter_errors(&monkey).map(|error| error.to_string()).collect();
    assert!(found.is_empty(), "{found:?}");
    monkey["spec"]["faults"][0]["with"] = serde_json::json!({ "nonsense": 1 });
    assert!(!validator.is_valid(&monkey), "arguments of a fault are checked");
}
