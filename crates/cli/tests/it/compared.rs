//! A step's targets compared with their control group: four real services, of which some hang.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value as Json;

use crate::field::{Field, Victim, text, wait_for, wait_within};

/// Four caches of the shop, each on a port that nobody has chosen.
fn caches(field: &Field) -> Vec<Victim> {
    let start = |_| {
        let mut cache = field.squall();
        cache.args(["shop", "cache", "--listen", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::null());
        Victim(cache.spawn().expect("started"))
    };
    (0..4).map(start).collect()
}

/// Half of the caches hang, and all are asked meanwhile. `question` is the comparison's probe and what else it says.
fn manifest(field: &Field, duration: &str, question: &str) -> String {
    field.write("signal", "0");
    let manifest =
        field.pause("compared", "nobody", &format!("for: {duration}"), &format!("  compare:\n    - name: caches answer\n{question}"));
    let state = field.state();
    let caches = format!("process: {{ commandLine: '{} shop cache' }}, select: {{ percent: 50% }}, control: true", state.display());
    manifest.replace("process: { name: nobody }", &caches)
}

fn ready(field: &Field, caches: &[Victim], manifest: &str) {
    let path = field.write("plan.yaml", manifest);
    wait_for("the caches to listen", || {
        let output = field.squall().args(["plan", "--output", "json"]).arg(&path).output().expect("ran");
        let plan: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let step = &plan["steps"][0];
        step["matched"] == caches.len() && step["refusals"].as_array().is_some_and(Vec::is_empty)
    });
}

fn paused(caches: &[Victim]) -> usize {
    caches.iter().filter(|cache| cache.state() == Some('T')).count()
}

const QUICK: &str = "      http: { url: \"http://127.0.0.1:{{target.port}}/healthz\", measure: latency }
      expect: { lt: 200ms }
      timeout: 250ms
";

#[test]
fn a_half_that_is_shown_to_be_worse_is_put_back_at_once() {
    let field = Field::new();
    let caches = caches(&field);
    let manifest = manifest(&field, "60s", QUICK);
    ready(&field, &caches, &manifest);
    let run = field.start(&manifest);
    wait_for("the pause", || paused(&caches) == 2);
    wait_within(Duration::from_secs(15), "the revert", || paused(&caches) == 0);
    let (code, said) = run.finish();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("a comparison stops the run: caches answer:"), "{said}");
    let shown = field.latest();
    let comparison = &shown["comparisons"][0];
    assert_eq!(comparison["status"], "worse", "{comparison}");
    assert_eq!((&comparison["control"]["bad"], comparison["control"]["targets"].as_array().map(Vec::len)), (&Json::from(0), Some(2)));
    assert!(comparison["difference"][0].as_f64().is_some_and(|low| low > 0.0), "{comparison}");
    assert!(shown["reason"].as_str().is_some_and(|reason| reason.contains("worse, with 99% confidence")), "{}", shown["reason"]);
    // What was asked, and of whom, is in the journal.
    let asked = shown["events"].as_array().expect("events").iter().filter(|record| record["event"]["compared"].is_object()).count();
    assert!(asked >= 8, "{asked}");
}

#[test]
fn a_half_that_is_worse_is_a_deviation_where_the_run_goes_on() {
    let field = Field::new();
    let caches = caches(&field);
    let manifest = manifest(&field, "8s", &format!("{QUICK}      whenWorse: continue\n"));
    ready(&field, &caches, &manifest);
    let output = field.run(&manifest);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let shown = field.latest();
    assert_eq!((shown["verdict"].as_str(), shown["headline"].as_str()), (Some("deviated"), Some("A weakness was found")));
    assert_eq!(paused(&caches), 0);
}

#[test]
fn a_half_that_answers_late_but_well_is_held() {
    let field = Field::new();
    let caches = caches(&field);
    let patient = QUICK.replace("200ms", "8s").replace("250ms", "9s");
    let manifest = manifest(&field, "2s", &patient);
    ready(&field, &caches, &manifest);
    let output = field.run(&manifest);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let shown = field.latest();
    let comparison = &shown["comparisons"][0];
    assert_eq!(comparison["status"], "undecided", "{comparison}");
    assert!(comparison["experiment"]["answers"].as_u64().is_some_and(|answers| answers > 0), "{comparison}");
}

#[test]
fn a_control_group_that_is_not_well_itself_says_nothing() {
    let field = Field::new();
    let caches = caches(&field);
    let elsewhere = QUICK.replace("/healthz\", measure: latency", "/no-such-page\", measure: status").replace("lt: 200ms", "eq: 200");
    let manifest = manifest(&field, "3s", &elsewhere);
    ready(&field, &caches, &manifest);
    let output = field.run(&manifest);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("answers of the control group were bad, though nothing was done to it"), "{}", text(&output));
}

#[test]
fn a_question_that_is_the_same_for_both_groups_is_refused_before_anything_is_touched() {
    let field = Field::new();
    let caches = caches(&field);
    ready(&field, &caches, &manifest(&field, "60s", QUICK));
    let same = manifest(&field, "60s", &QUICK.replace("127.0.0.1:{{target.port}}", "{{host}}"));
    let output = field.run(&same);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert!(text(&output).contains("the same is asked of both groups"), "{}", text(&output));
    assert_eq!(paused(&caches), 0);
}
