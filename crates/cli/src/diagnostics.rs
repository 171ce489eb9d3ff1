//! Shows what is wrong with a manifest: with the text around it on a terminal, one line each elsewhere, and as JSON.

use std::fmt::Write as _;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use serde_json::{Value, json};
use squall_model::{Diagnostic, Diagnostics};

/// A manifest that cannot be used. [`crate::context::Context::report`] prints it in the form that its stream takes.
#[derive(Debug)]
pub struct ManifestError {
    source: String,
    text: String,
    found: Diagnostics,
}

impl std::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&plain(&self.source, &self.found))
    }
}

impl std::error::Error for ManifestError {}

/// All that is wrong as one error.
pub fn error(source: &str, text: &str, found: Diagnostics) -> ManifestError {
    ManifestError { source: source.to_owned(), text: text.to_owned(), found }
}

impl ManifestError {
    /// As text: with the places shown for a terminal, one line each for others.
    pub fn render(&self, terminal: bool, colour: bool) -> String {
        if terminal { fancy(&self.source, &self.text, &self.found, colour) } else { plain(&self.source, &self.found) }
    }
}

/// `file:line:col: message (hint: …)`, one line each, as editors and CI logs take it.
pub fn plain(source: &str, found: &[Diagnostic]) -> String {
    let line = |d: &Diagnostic| {
        let hint = d.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
        printable(&format!("{source}:{}:{}: {}{hint}", d.line, d.column, d.message)).replace('\n', " ")
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Each with its place in the text.
pub fn fancy(source: &str, text: &str, found: &[Diagnostic], colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let text = printable(text);
    let mut shown = String::new();
    for diagnostic in found {
        let label = LabeledSpan::new_with_span(None, diagnostic.span.start..diagnostic.span.end);
        let mut report = MietteDiagnostic::new(printable(&diagnostic.message)).with_label(label);
        if let Some(hint) = &diagnostic.hint {
            report = report.with_help(printable(hint));
        }
        let report = Report::new(report).with_source_code(NamedSource::new(source, text.clone()));
        // Writing into a string cannot fail; should the frame not fit, the line still says it all.
        if handler.render_report(&mut shown, report.as_ref()).is_err() {
            shown.push_str(&plain(source, std::slice::from_ref(diagnostic)));
        }
        shown.push('\n');
    }
    let errors = if found.len() == 1 { "1 error".to_owned() } else { format!("{} errors", found.len()) };
    let _ = write!(shown, "{errors} in {source}");
    shown
}

/// What is wrong with one source, for scripts.
pub fn json(source: &str, found: &[Diagnostic]) -> Value {
    json!({ "source": source, "valid": found.is_empty(), "diagnostics": found })
}

/// Control characters of a manifest must not reach a terminal. Each is replaced by one byte, so that places stay right.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_control() && !matches!(c, '\n' | '\r' | '\t') { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Diagnostics {
        squall_model::parse_experiment(text).expect_err("not a manifest")
    }

    const TEXT: &str = "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: { name: käse }\nspec: { hypothesis: { statement: x, probes: [] }, method: [{ wait: 5 }] }\n";

    #[test]
    fn elsewhere_than_on_a_terminal_each_error_is_one_line() {
        assert_eq!(
            plain("x.yaml", &found(TEXT)[..1]),
            "x.yaml:3:19: `käse` cannot be the name of a manifest (hint: lower-case letters, digits and dashes, as in `kaese`)"
        );
        assert_eq!(plain("x.yaml", &found(TEXT)).lines().count(), 3);
    }

    #[test]
    fn a_terminal_sees_the_place_and_colours_only_if_it_takes_them() {
        let shown = fancy("x.yaml", TEXT, &found(TEXT), false);
        assert!(shown.contains("x.yaml:3:19") && shown.contains("3 errors in x.yaml"), "{shown}");
        assert!(!shown.contains('\u{1b}'));
        assert!(fancy("x.yaml", TEXT, &found(TEXT), true).contains('\u{1b}'));
        // The end of the text, and no text at all, are places too.
        assert!(fancy("x.yaml", "", &found(""), false).contains("the file is empty"));
        assert!(fancy("x.yaml", "a: {", &found("a: {"), false).contains("x.yaml"));
    }

    #[test]
    fn control_characters_of_a_manifest_do_not_reach_the_terminal() {
        let text = "apiVersion: squall.dev/v1\nkind: \"\\e[31mX\"\n";
        assert!(!plain("x.yaml", &found(text)).contains('\u{1b}'));
        let text = "a: \u{1b}[31m\n";
        assert!(!fancy("x.yaml", text, &found(text), false).contains('\u{1b}'));
    }
}
