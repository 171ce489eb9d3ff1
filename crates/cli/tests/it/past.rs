//! Looking back: history, show and report of real runs.

use rustix::process::Signal;

use crate::field::{Field, text, wait_for};

/// A pause of `victim` while the number in the file `signal` is expected to be 0.
fn manifest(field: &Field, name: &str, victim: &str, time: &str) -> String {
    field.pause(name, victim, &format!("for: {time}"), "")
}

fn squall(field: &Field, args: &[&str]) -> (Option<i32>, String, String) {
    let output = field.squall().args(args).output().expect("ran");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn json(field: &Field, args: &[&str]) -> serde_json::Value {
    let (code, out, err) = squall(field, args);
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

#[test]
fn history_shows_what_ended_and_what_was_interrupted_and_who_put_it_back() {
    let field = Field::new();
    assert_eq!(squall(&field, &["history"]).1.trim(), "there are no runs yet; `squall demo` makes two");
    field.write("signal", "0");
    let victim = field.victim("history-victim");
    let output = field.run(&manifest(&field, "held-one", "history-victim", "100ms"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let run = field.start(&manifest(&field, "killed-one", "history-victim", "60s"));
    wait_for("the pause", || victim.state() == Some('T'));
    assert_eq!(json(&field, &["history", "--verdict", "running", "--output", "json"])[0]["experiment"], "killed-one");
    run.signal(Signal::KILL);
    run.finish();
    wait_for("the watchdog", || victim.state() != Some('T'));
    wait_for("the watchdog's record", || {
        json(&field, &["history", "--output", "json"])[0]["aftermath"].as_str().is_some_and(|s| s == "put back: 1 by its watchdog")
    });
    let (code, table, _) = squall(&field, &["history"]);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[1].contains("killed-one") && lines[1].contains("interrupted") && lines[1].contains("by its watchdog"), "{table}");
    assert!(lines[2].contains("held-one") && lines[2].contains(" held "), "{table}");
    for (filter, experiment) in
        [(["--verdict", "held"], "held-one"), (["--verdict", "interrupted"], "killed-one"), (["--name", "killed"], "killed-one")]
    {
        let found = json(&field, &[&["history", "--output", "json"][..], &filter[..]].concat());
        assert_eq!((found.as_array().map(Vec::len), &found[0]["experiment"]), (Some(1), &experiment.into()), "{found}");
    }
    assert_eq!(json(&field, &["history", "--label", "team=nobody", "--output", "json"]).as_array().map(Vec::len), Some(0));
    let (_, shown, _) = squall(&field, &["show"]);
    assert!(shown.contains("interrupted: ") && shown.contains("reverted by the watchdog: sent SIGCONT"), "{shown}");
}

#[test]
fn show_tells_verdict_evidence_and_events() {
    let field = Field::new();
    field.write("signal", "0");
    let victim = field.victim("show-victim");
    let run = field.start(&manifest(&field, "shown", "show-victim", "800ms"));
    wait_for("the pause", || victim.state() == Some('T'));
    field.write("signal", "1");
    wait_for("the end of the pause", || victim.state() != Some('T'));
    field.write("signal", "0");
    assert_eq!(run.finish().0, Some(1));
    let (code, shown, _) = squall(&field, &["show", "latest", "--events"]);
    assert_eq!(code, Some(0));
    for part in [
        "A weakness was found",
        "(deviated)",
        "signal",
        "= 0",
        "the pause: process.pause on show-victim",
        "by the run itself: sent SIGCONT",
        "expected = 0",
        "inject: ",
    ] {
        assert!(shown.contains(part), "`{part}` is missing:\n{shown}");
    }
    let value = json(&field, &["show", "latest", "--output", "json"]);
    assert_eq!((&value["verdict"], &value["probes"][0]["status"]), (&"deviated".into(), &"violated".into()));
    assert!(value["probes"][0]["timeToDetect"].as_u64().is_some(), "{value}");
}

#[test]
fn reports_are_written_where_and_as_what_was_asked() {
    let field = Field::new();
    field.write("signal", "0");
    let _victim = field.victim("report-victim");
    let output = field.run(&manifest(&field, "reported", "report-victim", "100ms"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let (code, told, _) = squall(&field, &["report"]);
    assert_eq!(code, Some(0));
    let html = std::fs::read_to_string(field.path(told.trim())).expect("the file that was told");
    assert!(told.starts_with("squall-report-r") && html.starts_with("<!doctype html>") && html.contains("The system held"));
    for (format, start) in [("md", "# The system held: reported"), ("json", "{"), ("junit", "<?xml"), ("html", "<!doctype html>")] {
        let (code, out, err) = squall(&field, &["report", "latest", "--format", format, "-o", "-"]);
        assert!(code == Some(0) && out.starts_with(start), "{format}: {out}{err}");
    }
    assert_eq!(squall(&field, &["report", "latest", "-o", "x.xml"]).0, Some(0));
    assert!(std::fs::read_to_string(field.path("x.xml")).expect("written").contains("<testsuite "));
    for (args, hint) in [
        (&["report", "latest", "-o", "x.pdf"][..], ".html, .md, .json or .xml"),
        (&["report", "nonsense"][..], "squall history"),
        (&["report", "latest", "-o", "no/such/place.md"][..], "standard output"),
    ] {
        let (code, _, err) = squall(&field, args);
        assert!(code != Some(0) && err.contains("hint:") && err.contains(hint), "{args:?}: {err}");
    }
}

#[test]
fn a_damaged_journal_is_told_with_the_next_step() {
    let field = Field::new();
    std::fs::create_dir_all(field.state()).expect("made");
    std::fs::write(field.state().join("squall.db"), "no database at all, but long enough for one. ".repeat(200)).expect("written");
    let (code, _, err) = squall(&field, &["history"]);
    assert_eq!(code, Some(6));
    assert!(err.contains("is damaged") && err.contains("hint: move it aside"), "{err}");
}
