//! The report as one HTML file.

use askama::Template;

use crate::model::Report;
use crate::view::View;
use crate::{svg, timeline};

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    view: View,
    /// Charts, as SVG that has been escaped where it was made.
    timeline: String,
    charts: Vec<String>,
    comparisons: Vec<String>,
    legend: bool,
    style: &'static str,
    script: &'static str,
}

/// The page's one script: what a content security policy has to let through.
pub(crate) const SCRIPT: &str = include_str!("../templates/hover.js");

/// Writes the page.
pub(crate) fn page(report: &Report) -> Result<String, askama::Error> {
    let page = Page {
        view: View::new(report),
        timeline: timeline::chart(report),
        charts: report.probes.iter().map(|probe| svg::probe(report, probe)).collect(),
        comparisons: report.comparisons.iter().map(|comparison| svg::comparison(report, comparison)).collect(),
        legend: report.probes.iter().any(|probe| !probe.samples.is_empty()),
        style: include_str!("../templates/style.css"),
        script: SCRIPT,
    };
    page.render()
}

impl Page {
    /// The shape of a verdict: told apart without colour.
    fn icon(&self) -> &'static str {
        match self.view.outcome {
            "held" => r#"<circle cx="16" cy="16" r="14"/><path d="M9.5 16.5l4.5 4.5 8.5-9"/>"#,
            "deviated" => r#"<path d="M10 2h12l8 8v12l-8 8H10l-8-8V10z"/><path d="M11 11l10 10M21 11L11 21"/>"#,
            "failed" => r#"<path d="M16 2.5L30.5 29h-29z"/><path d="M16 12v8M16 24.2v.6"/>"#,
            "aborted" => r#"<rect x="2.5" y="2.5" width="27" height="27" rx="4"/><path d="M11 11h10v10H11z"/>"#,
            "unsteady" => r#"<circle cx="16" cy="16" r="14"/><path d="M7 18q4.500-8 9-2t9-2"/>"#,
            _ => {
                r#"<circle cx="16" cy="16" r="14" stroke-dasharray="5 3.500"/><path d="M12 12.500q0-4 4-4t4 4q0 2.500-4 4.500v2M16 23v.6"/>"#
            }
        }
    }
}
