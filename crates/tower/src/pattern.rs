//! Texts in which `*` is anything.

/// A text in which `*` stands for any number of any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<String>);

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    /// Whether the whole text is one of those.
    pub(crate) fn covers(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        let Some(mut left) = text.strip_prefix(first.as_str()) else { return false };
        let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
        for part in middle {
            match left.find(part.as_str()) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything_and_nothing_else_is() {
        let covers = |pattern: &str, text: &str| Pattern::new(pattern).covers(text);
        for (pattern, text) in
            [("/a", "/a"), ("*", ""), ("*", "/x"), ("/a/*", "/a/b/c"), ("/*/x", "/a/b/x"), ("a*b*c", "abbc"), ("**", "q")]
        {
            assert!(covers(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("/a", "/ab"), ("/a", "/"), ("/a/*", "/a"), ("a*a", "a"), ("a*b*c", "acb"), ("", "x"), ("/a.", "/ab")] {
            assert!(!covers(pattern, text), "{pattern} {text}");
        }
    }
}
