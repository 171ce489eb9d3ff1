//! From text to a [`Schedule`] or a [`Monkey`], with the places of what is wrong.

use serde::de::DeserializeOwned;
use squall_model::calendar::CalendarError;
use squall_model::{API_VERSION, Diagnostics, Document, Metadata, Path, Problem, decode};

use crate::{Monkey, Schedule};

/// Reads and checks a schedule. Whether its experiment exists is for the server to say.
pub fn parse_schedule(text: &str) -> Result<(Schedule, Document), Diagnostics> {
    read(text, Schedule::check)
}

/// Reads and checks a monkey. The kinds of its faults and probes are checked where they are known.
pub fn parse_monkey(text: &str) -> Result<(Monkey, Document), Diagnostics> {
    read(text, Monkey::check)
}

fn read<T: DeserializeOwned>(text: &str, check: fn(&T) -> Vec<Problem>) -> Result<(T, Document), Diagnostics> {
    let document = Document::parse(text)?;
    let decoded = decode::<T>(&document.value, "the document");
    let mut problems = decoded.problems;
    if let Some(value) = &decoded.value {
        // What was mended is not the user's, and has been spoken of.
        let own = |problem: &Problem| !decoded.mended.iter().any(|mended| problem.path.starts_with(mended));
        problems.extend(check(value).into_iter().filter(own));
    }
    let mut diagnostics: Diagnostics = problems.iter().map(|problem| problem.locate(&document, &Path::default())).collect();
    diagnostics.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
    diagnostics.dedup();
    match decoded.value {
        Some(value) if diagnostics.is_empty() => Ok((value, document)),
        _ => Err(diagnostics),
    }
}

/// What is wrong at a path.
pub(crate) fn problem(path: &Path, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem { path: path.clone(), at_key: false, message: message.into(), hint: Some(hint.into()) }
}

/// What is wrong with a field of what stands at a path.
pub(crate) fn at_field(path: &Path, error: CalendarError) -> Problem {
    problem(&path.key(error.field), error.message, error.hint)
}

/// The head of a document: version, kind and name.
pub(crate) fn check_head(api_version: &str, kind: &str, metadata: &Metadata, expected: &str) -> Vec<Problem> {
    let root = Path::default();
    let mut found = Vec::new();
    if api_version != API_VERSION {
        found.push(problem(
            &root.key("apiVersion"),
            format!("unknown version `{api_version}`"),
            format!("this Squall reads `{API_VERSION}`"),
        ));
    }
    if kind != expected {
        found.push(problem(&root.key("kind"), format!("this is a `{kind}`, not a `{expected}`"), format!("write `kind: {expected}`")));
    }
    if !is_name(&metadata.name) {
        let message = format!("`{}` is not a name", metadata.name);
        let hint = "up to 63 lower-case letters, digits and dashes, with a letter or digit at either end";
        found.push(problem(&root.key("metadata").key("name"), message, hint));
    }
    found
}

/// Whether a text is a name as Kubernetes has it (RFC 1123 label).
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}
