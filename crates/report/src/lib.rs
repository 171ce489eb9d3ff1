//! What a run comes to, for people and for machines: one [`Report`], written as HTML, Markdown, JSON or JUnit XML.
//!
//! ```text
//! journal ──▶ squall_engine::Evidence ──▶ Report::build ──▶ html::page      one self-contained file with charts
//!                                                       ├──▶ markdown::page  the same in text
//!                                                       ├──▶ json            the same for programs (version 1)
//!                                                       └──▶ junit::suite    for CI
//! ```
//!
//! All four say the same because all four are written from the same [`Report`]. Values of secrets in the manifest are
//! taken out when it is built, so no format can forget to. The JSON format is [`Report`] as serde writes it; [`schema`]
//! describes it, and fields are only ever added within a version.
#![forbid(unsafe_code)]

mod build;
mod compare;
mod events;
mod format;
mod html;
mod junit;
mod markdown;
mod model;
mod probe;
mod redact;
mod series;
mod svg;
mod ticks;
mod timeline;
mod view;
mod words;

pub use build::build;
pub use format::{clean, clip, moment, span, value};
pub use model::{
    Action, Analysis, ArmReport, ComparisonReport, ComparisonStatus, EventLine, Facts, GuardReport, InjectionReport, Mark, Numbers,
    PhaseSpan, Point, ProbeReport, ProbeStatus, REPORT_VERSION, RecoveryReport, Report, RollbackReport, Stage, StopReport, Turn, TurnArm,
};
pub use redact::Redactor;

/// A report could not be written. Always a mistake in Squall itself.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written as {format}: {reason}")]
pub struct RenderError {
    /// Which format.
    pub format: &'static str,
    /// What went wrong.
    pub reason: String,
}

impl Report {
    /// Adds what the undo ledger knows and the journal does not: that others reverted an injection after the run was gone.
    pub fn reverted_by_others(&mut self, injection: squall_model::InjectionId, by: squall_model::RevertedBy, how: &str) {
        let redactor = Redactor::new(&self.manifest);
        if let Some(known) = self.injections.iter_mut().find(|known| known.injection == injection && known.reverted.is_none()) {
            (known.by, known.how) = (Some(by), Some(redactor.text(how)));
        }
    }

    /// One HTML file that needs nothing else: no outside requests, light and dark, printable, readable without scripts.
    pub fn html(&self) -> Result<String, RenderError> {
        html::page(self).map_err(|e| RenderError { format: "HTML", reason: e.to_string() })
    }

    /// The same content as `CommonMark` with tables.
    pub fn markdown(&self) -> Result<String, RenderError> {
        markdown::page(self).map_err(|e| RenderError { format: "Markdown", reason: e.to_string() })
    }

    /// The same content for programs, with every sample.
    pub fn json(&self) -> Result<String, RenderError> {
        serde_json::to_string_pretty(self).map_err(|e| RenderError { format: "JSON", reason: e.to_string() })
    }

    /// For CI: one test suite with a case for each promise.
    pub fn junit(&self) -> Result<String, RenderError> {
        junit::suite(self).map_err(|e| RenderError { format: "JUnit XML", reason: e.to_string() })
    }
}

/// The one script of the HTML form, exactly as it stands in the page: for the hash in a content security policy.
pub const HTML_SCRIPT: &str = html::SCRIPT;

/// JSON Schema of the JSON format.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Report)
}
