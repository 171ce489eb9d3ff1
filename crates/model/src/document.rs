//! A manifest's text with the place of each of its values and keys.

use serde_json::Value;

use crate::{Diagnostic, Diagnostics, Path, PathSegment, yaml};

/// Where a value or a key stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Byte range.
    pub span: std::ops::Range<usize>,
}

/// A parsed YAML or JSON text: the value, and where each part of it stands.
#[derive(Debug, Clone)]
pub struct Document {
    /// The text as read.
    pub text: String,
    /// The value of the whole document.
    pub value: Value,
    places: Places,
}

/// The place of a value, and of all that is in it.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) place: Place,
    pub(crate) parts: Parts,
}

/// What is in a value.
#[derive(Debug, Clone)]
pub(crate) enum Parts {
    /// A scalar.
    None,
    /// A list.
    List(Vec<Places>),
    /// A map: key, its place, and the value.
    Map(Vec<(String, Place, Places)>),
}

impl Places {
    fn child(&self, segment: &PathSegment) -> Option<(Option<&Place>, &Self)> {
        match (segment, &self.parts) {
            (PathSegment::Key(key), Parts::Map(entries)) => {
                entries.iter().find(|(name, ..)| name == key).map(|(_, place, value)| (Some(place), value))
            }
            (PathSegment::Index(index), Parts::List(items)) => items.get(*index).map(|value| (None, value)),
            _ => None,
        }
    }
}

impl Document {
    /// Reads one YAML 1.2 (or JSON, which is YAML) document. What is refused: more than one document, a key twice, merge
    /// keys, foreign tags, more than 1 MiB, more than 64 levels, and aliases that expand to more than 50,000 values.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        let (value, places) = yaml::read(text)?;
        Ok(Self { text: text.to_owned(), value, places })
    }

    /// Where the value at the path stands; the nearest parent's place if it is not there.
    pub fn place(&self, path: &Path) -> Place {
        let mut node = &self.places;
        for segment in &path.0 {
            match node.child(segment) {
                Some((_, child)) => node = child,
                None => break,
            }
        }
        node.place.clone()
    }

    /// Where the key that leads to the path's last segment stands; for an element of a list, where the element stands; if
    /// it is not there, the key of the nearest parent that is.
    pub fn key_place(&self, path: &Path) -> Place {
        let mut node = &self.places;
        let mut found = &self.places.place;
        for segment in &path.0 {
            match node.child(segment) {
                Some((key, child)) => {
                    found = key.unwrap_or(&child.place);
                    node = child;
                }
                None => break,
            }
        }
        found.clone()
    }

    /// Whether the text has a value at the path.
    pub fn has(&self, path: &Path) -> bool {
        let mut node = &self.places;
        path.0.iter().all(|segment| node.child(segment).map(|(_, child)| node = child).is_some())
    }

    /// A diagnostic at the value of a path.
    pub fn at(&self, path: &Path, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        self.diagnostic(self.place(path), path, message, hint)
    }

    /// A diagnostic at the key of a path.
    pub fn at_key(&self, path: &Path, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        self.diagnostic(self.key_place(path), path, message, hint)
    }

    /// A diagnostic's span ends with its first line: what is wrong with a section is shown at its start.
    fn diagnostic(&self, place: Place, path: &Path, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        let Place { line, column, span } = place;
        let shown = self.text.get(span.clone()).and_then(|text| text.lines().next()).unwrap_or_default().trim_end();
        Diagnostic::new(message, line, column, span.start..span.start + shown.len(), path, hint)
    }
}
