//! `squall doctor`.

use serde_json::Value;

use crate::field::Field;

fn found(field: &Field) -> Value {
    let output = field.squall().args(["doctor", "--output", "json"]).output().expect("ran");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn doctor_names_every_fault_and_what_it_needs() {
    let field = Field::new();
    let output = field.squall().arg("doctor").output().expect("ran");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    let found = found(&field);
    let faults = found["faults"].as_array().expect("a list");
    assert!(faults.len() >= 10, "{faults:?}");
    for fault in faults {
        assert!(text.contains(fault["name"].as_str().expect("a name")), "{fault} is missing in\n{text}");
        assert_eq!(fault["works"], fault["missing"].as_array().expect("a list").is_empty(), "{fault}");
    }
    for (name, feature) in found["host"]["features"].as_object().expect("a table") {
        assert!(text.contains(name.as_str()), "{name} is missing in\n{text}");
        assert!(
            feature["available"] == true || feature["hint"].is_string() || name == "cgroup-freezer",
            "{name} is missing and nothing is said"
        );
    }
}

#[test]
fn doctor_says_what_stands_in_the_way_of_every_run() {
    let field = Field::new();
    std::fs::create_dir_all(field.state()).expect("made");
    std::fs::write(field.state().join("STOP"), "the on-call").expect("written");
    let output = field.squall().arg("doctor").output().expect("ran");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(
        text.contains("(the on-call)") && text.contains("squall stop --unblock") && text.contains("No experiment can run: stop file."),
        "{text}"
    );
}

#[test]
fn doctor_changes_nothing_but_that_the_state_directory_is_there() {
    let field = Field::new();
    found(&field);
    let left: Vec<_> = std::fs::read_dir(field.state()).expect("made").map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn doctor_tells_of_a_state_directory_that_cannot_be() {
    let field = Field::new();
    field.write("state", "a file in its place");
    let output = field.squall().arg("doctor").output().expect("ran");
    let text = String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains("SQUALL_STATE_DIR"), "{text}");
}
