//! What is wrong with what somebody wrote.

use serde::Serialize;

/// Something that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Where, such as `scenarios[0].experiment`.
    pub path: String,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Mistake {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: hint.into() }
    }
}

/// A text that has to say something, and not too much.
pub(crate) fn text(path: impl Into<String>, text: &str, most: usize) -> Option<Mistake> {
    let count = text.chars().count();
    if text.trim().is_empty() {
        Some(Mistake::new(path, "it is empty", "say it in a few words"))
    } else if count > most {
        Some(Mistake::new(path, format!("{count} characters is too long"), format!("{most} is the most")))
    } else {
        None
    }
}

/// An address that a browser may follow.
pub(crate) fn link(path: impl Into<String>, url: &str) -> Option<Mistake> {
    let good = (url.starts_with("https://") || url.starts_with("http://")) && url.len() <= 2048 && !url.contains(char::is_whitespace);
    (!good).then(|| Mistake::new(path, "it is not the address of a page", "write it like `https://wiki.example/runbooks/payments`"))
}
