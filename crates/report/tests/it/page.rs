//! The HTML page: needs nothing else, cannot be broken out of, and stays small.

use quick_xml::Reader;
use quick_xml::events::Event as Xml;

use crate::fixture::{compared, deviated, interrupted, long, unsteady};
use crate::formats::hostile;

#[test]
fn the_page_loads_nothing_from_anywhere() {
    for report in [deviated().report(), hostile().report(), interrupted().report(), unsteady().report()] {
        let html = report.html().expect("written");
        let (style, rest) = take(&html, "<style>", "</style>");
        assert!(!style.contains("@import") && !style.replace("url(#hatch)", "").contains("url("), "{style}");
        let (script, rest) = take(&rest, "<script>", "</script>");
        assert!(!["http", "fetch", "import", "eval", "innerHTML"].iter().any(|word| script.contains(word)), "{script}");
        let mut tags = 0;
        for tag in rest.split('<').skip(1) {
            let tag = without_values(tag.split('>').next().unwrap_or_default()).to_lowercase();
            tags += 1;
            let loads = ["src=", "href=", "action=", "data=", "srcset=", "poster=", "background=", "@import"];
            assert!(!loads.iter().any(|word| tag.contains(&format!(" {word}"))), "<{tag}>");
            assert!(
                !tag.starts_with("script") && !tag.starts_with("img") && !tag.starts_with("link") && !tag.starts_with("iframe"),
                "<{tag}>"
            );
        }
        assert!(tags > 100);
    }
}

#[test]
fn nothing_that_is_shown_becomes_markup() {
    let html = hostile().report().html().expect("written");
    assert_eq!(html.matches("<script").count(), 1);
    assert_eq!(html.matches("</style").count(), 1);
    assert!(!html.contains("<img") && !html.contains("onerror=alert(1)>"));
    // What came through is there to read.
    assert!(html.contains("alert(1)"));
}

#[test]
fn every_chart_is_well_formed() {
    for report in [deviated().report(), hostile().report(), interrupted().report(), long(5000).report(), compared().report()] {
        let html = report.html().expect("written");
        let mut charts = 0;
        for chart in html.split("<svg").skip(1) {
            let chart = format!("<svg{}</svg>", chart.split("</svg>").next().unwrap_or_default());
            assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
            let mut reader = Reader::from_str(&chart);
            loop {
                match reader.read_event().unwrap_or_else(|e| panic!("{e}\n{chart}")) {
                    Xml::Eof => break,
                    Xml::Start(tag) | Xml::Empty(tag) => tag.attributes().for_each(|a| drop(a.expect("an attribute"))),
                    _ => {}
                }
            }
            charts += 1;
        }
        assert!(charts >= 5, "{charts}");
    }
}

#[test]
fn charts_show_faults_thresholds_violations_and_gaps() {
    let html = deviated().report().html().expect("written");
    for class in [
        "class=\"window\"",
        "class=\"limit\"",
        "class=\"bad\"",
        "class=\"gap\"",
        "class=\"state bad\"",
        "class=\"bar fault\"",
        "class=\"bar bad\"",
    ] {
        assert!(html.contains(class), "no {class}");
    }
    // The gap of one probe splits its line in two.
    let chart = chart(&html, "errors");
    assert_eq!(chart.matches("class=\"line\"").count(), 2, "{chart}");
}

#[test]
fn ten_thousand_samples_make_a_small_page_that_keeps_the_one_violation() {
    let report = long(10_000).report();
    let html = report.html().expect("written");
    assert!(html.len() < 150_000, "{} bytes", html.len());
    let chart = chart(&html, "checkout p99");
    assert_eq!(chart.matches("class=\"bad\"").count(), 1);
}

fn chart<'a>(html: &'a str, probe: &str) -> &'a str {
    let from = html.find(&format!("aria-label=\"{probe} over time\"")).expect("a chart");
    html[from..].split("</svg>").next().expect("its end")
}

/// A tag with its attributes' values left out: what stands in quotes is text.
fn without_values(tag: &str) -> String {
    tag.split('"').step_by(2).collect()
}

fn take(text: &str, from: &str, to: &str) -> (String, String) {
    let start = text.find(from).expect(from) + from.len();
    let end = start + text[start..].find(to).expect(to);
    (text[start..end].to_owned(), format!("{}{}", &text[..start - from.len()], &text[end + to.len()..]))
}
