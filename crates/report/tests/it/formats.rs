//! Markdown, JSON and JUnit, as they are.

use quick_xml::Reader;
use quick_xml::events::Event as Xml;
use squall_model::{RevertedBy, Verdict};
use squall_report::{ComparisonStatus, ProbeStatus, Report};

use crate::fixture::{MANIFEST, Writer, compared, deviated, interrupted, unsteady};

#[test]
fn markdown_tells_the_whole_run() {
    insta::assert_snapshot!(deviated().report().markdown().expect("written"));
}

#[test]
fn markdown_of_an_unsteady_run_says_that_nothing_was_touched() {
    insta::assert_snapshot!(unsteady().report().markdown().expect("written"));
}

#[test]
fn json_reads_back_as_what_was_written() {
    let report = deviated().report();
    let json = report.json().expect("written");
    assert_eq!(serde_json::from_str::<Report>(&json).expect("a report"), report);
    // Without the samples, which would be most of it.
    let mut short = report;
    short.probes.iter_mut().for_each(|probe| probe.samples.truncate(2));
    insta::assert_snapshot!(short.json().expect("written"));
}

#[test]
fn the_schema_of_the_json_is_stable() {
    insta::assert_json_snapshot!(squall_report::schema());
}

#[test]
fn junit_has_a_case_for_each_promise() {
    insta::assert_snapshot!(deviated().report().junit().expect("written"));
}

#[test]
fn junit_of_an_unsteady_run_is_skipped_but_not_green() {
    let (cases, failures, errors, skipped) = read(&unsteady().report().junit().expect("written"));
    // Three probes, a guard, recovery: skipped. The run itself: an error.
    assert_eq!((cases, failures, errors, skipped), (6, 0, 1, 5));
}

#[test]
fn junit_is_well_formed_whatever_things_are_called() {
    let (cases, failures, errors, skipped) = read(&hostile().report().junit().expect("written"));
    assert_eq!((cases, failures + errors + skipped), (6, 6));
}

#[test]
fn an_unfinished_run_is_told_as_one() {
    let mut report = interrupted().report();
    assert_eq!((report.verdict, report.outcome()), (None, "unfinished"));
    assert!(report.reason.contains("in phase"), "{}", report.reason);
    report.reverted_by_others(report.injections[0].injection, RevertedBy::Watchdog, "sent SIGCONT to process 4711");
    assert!(report.markdown().expect("written").contains("reverted by the watchdog when the run was gone: sent SIGCONT"));
    let (_, _, errors, _) = read(&report.junit().expect("written"));
    assert!(errors >= 1, "a run without an end must not look green");
}

#[test]
fn a_comparison_is_told_in_every_format() {
    let report = compared().report();
    assert_eq!((report.verdict, report.headline.as_str()), (Some(Verdict::Deviated), "A weakness was found"));
    let comparison = &report.comparisons[0];
    assert_eq!(comparison.status, ComparisonStatus::Worse);
    // Asked once a second while the fault was in force, from 20 to 50 s.
    assert_eq!((comparison.experiment.answers, comparison.control.answers, comparison.control.bad), (31, 31, 0));
    assert_eq!(comparison.experiment.targets, ["payments (pid 4711)"]);
    assert_eq!(comparison.control.targets, ["payments (pid 4713)"]);
    let [low, high] = comparison.difference;
    let seen = f64::from(comparison.experiment.bad) / 31.0;
    assert!(0.05 < low && low < seen && seen <= high, "{low} to {high} around {seen}");
    assert!(comparison.turns.len() > 30 && comparison.turns.iter().any(|turn| turn.experiment.median.is_none()));
    let mut short = report.clone();
    short.comparisons[0].turns.truncate(2);
    short.probes.clear();
    insta::assert_snapshot!("a_comparison_in_json", serde_json::to_string_pretty(&short.comparisons).expect("json"));
    let markdown = report.markdown().expect("written");
    let section = markdown.split("## ").find(|part| part.starts_with("Compared")).expect("a section");
    insta::assert_snapshot!(
        "a_comparison_in_markdown",
        section.to_owned() + markdown.split("### ✗ payments answers").nth(1).unwrap_or_default().split("## ").next().unwrap_or_default()
    );
    assert!(report.junit().expect("written").contains("payments answers no worse than the control group"));
    let html = report.html().expect("written");
    assert!(html.contains("class=\"line experiment\"") && html.contains("class=\"line control\"") && html.contains("class=\"stop\""));
}

#[test]
fn no_format_shows_a_secret() {
    for report in [deviated().report(), compared().report()] {
        no_secret(&report);
    }
    assert!(MANIFEST.contains("header-secret"));
}

fn no_secret(report: &Report) {
    for text in [report.html(), report.markdown(), report.json(), report.junit()] {
        let text = text.expect("written");
        assert!(!text.contains("-secret"), "{}", &text[text.find("-secret").map_or(0, |at| at.saturating_sub(80))..][..160]);
    }
}

#[test]
fn the_evidence_says_what_the_samples_say() {
    let report = deviated().report();
    assert_eq!(report.verdict, Some(Verdict::Deviated));
    let by_name = |name: &str| report.probes.iter().find(|p| p.name == name).expect("a probe");
    let p99 = by_name("checkout p99");
    assert_eq!(p99.status, ProbeStatus::Violated);
    assert_eq!(p99.samples.iter().filter(|s| s.violated).count(), 33);
    assert_eq!(by_name("errors").during.unmeasured, 5);
    assert_eq!(by_name("memory of gateway").status, ProbeStatus::Watched);
    assert_eq!(report.recovery.recovered, Some(true));
    assert_eq!(report.analysis.len(), 3);
}

/// Names that would break out of any format that did not escape them.
pub fn hostile() -> Writer {
    let nasty = r#"<script>alert(1)</script>\"'&|`]]>{{ 7*7 }}\u0007\u0000"#;
    let manifest = MANIFEST.replace("name: checkout p99", &format!("name: \"{}\"", nasty.replace("\\u0000", ""))).replace(
        "Checkout stays fast and correct while one of three payments processes hangs.",
        &format!("\"</style></svg>{}\"", nasty.replace("\\u0000", "")),
    );
    let mut writer = Writer::new(&manifest);
    writer.unmeasured(10_000, 0, "</title><img src=http://evil.example/x onerror=alert(1)>\u{0}\u{b}");
    writer.event(20_000, squall_model::Event::StopRequested { by: "\"><script src=//evil.example></script>]]>".into() });
    assert!(writer.ended());
    writer
}

/// Counts of cases, failures, errors and skipped, after checking that the attributes say the same.
fn read(xml: &str) -> (usize, usize, usize, usize) {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let (mut cases, mut failures, mut errors, mut skipped) = (0, 0, 0, 0);
    let mut said = None;
    loop {
        match reader.read_event().unwrap_or_else(|e| panic!("not XML: {e}\n{xml}")) {
            Xml::Eof => break,
            Xml::Start(tag) | Xml::Empty(tag) => {
                for attribute in tag.attributes() {
                    attribute.expect("an attribute").unescape_value().expect("escaped rightly");
                }
                match tag.name().as_ref() {
                    b"testcase" => cases += 1,
                    b"failure" => failures += 1,
                    b"error" => errors += 1,
                    b"skipped" => skipped += 1,
                    b"testsuite" => {
                        let number = |name: &str| {
                            let value = tag.try_get_attribute(name).expect("attributes").expect("there").unescape_value().expect("text");
                            value.parse::<usize>().expect("a number")
                        };
                        said = Some((number("tests"), number("failures"), number("errors"), number("skipped")));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    assert_eq!(said, Some((cases, failures, errors, skipped)), "{xml}");
    (cases, failures, errors, skipped)
}
