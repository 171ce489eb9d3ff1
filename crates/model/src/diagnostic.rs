//! What is wrong with a manifest, where, and what to do about it.

use serde::Serialize;

/// A step into a document: a key of a map, or an index of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PathSegment {
    /// A key of a map.
    Key(String),
    /// An index of a list, from 0.
    Index(usize),
}

/// The way from a document's root to one of its values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Path(pub Vec<PathSegment>);

impl Path {
    /// This path and one key more.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(PathSegment::Key(key.to_owned()));
        path
    }

    /// This path and one index more.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(PathSegment::Index(index));
        path
    }

    /// This path without its last segment.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// This path and, from its end, another.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// Whether the other path is this one's beginning, or this one.
    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Key(key) if i == 0 => write!(f, "{key}")?,
                PathSegment::Key(key) => write!(f, ".{key}")?,
                PathSegment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One thing that is wrong, with its place in the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What is wrong: a lower-case fragment that names the thing.
    pub message: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The place as a byte range of the text.
    pub span: std::ops::Range<usize>,
    /// The place as a path, such as `spec.method[0].for`.
    pub path: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// Longer messages hold some text of the manifest, which its place shows as well.
const LONGEST_MESSAGE: usize = 400;

impl Diagnostic {
    /// With message and hint cut to a length that can be read.
    pub(crate) fn new(
        message: impl Into<String>,
        line: usize,
        column: usize,
        span: std::ops::Range<usize>,
        path: &Path,
        hint: Option<String>,
    ) -> Self {
        Self { message: clip(message.into()), line, column, span, path: path.to_string(), hint: hint.map(clip) }
    }
}

fn clip(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// All that is wrong with one document, in order of place.
pub type Diagnostics = Vec<Diagnostic>;

/// The candidate that was probably meant, if one is near enough.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs the product of the lengths, and nobody means a word by a page of text.
    if word.len() > 100 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 3) && *distance < word.len().max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
