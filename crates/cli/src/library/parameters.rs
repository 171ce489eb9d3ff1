//! `${name}` and `${name:-default}` in the text of a manifest.

use std::borrow::Cow;
use std::collections::BTreeMap;

use squall_model::did_you_mean;

use super::Values;

/// A parameter of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value where none is set.
    pub default: Option<String>,
    /// What it is, from the annotation `param.NAME`.
    pub meaning: String,
}

/// The parameters of a manifest cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// No value and no default.
    #[error("line {line}: parameter `{name}` has no value; give it with --set {name}=VALUE, or write `$${{{name}}}` if it is none")]
    Missing {
        /// The parameter.
        name: String,
        /// Where, from 1.
        line: usize,
    },
    /// A value for something that is not there.
    #[error("there is no parameter `{name}`{near}")]
    Unknown {
        /// As given.
        name: String,
        /// What was probably meant, and what there is.
        near: String,
    },
}

/// Whether this can be the name of a parameter: a letter, then letters, digits, `_` and `-`.
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// A piece of a manifest's text.
enum Piece<'a> {
    Text(&'a str),
    Mention { name: &'a str, default: Option<&'a str>, line: usize },
}

/// Splits a text at its parameters.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut begin, mut from) = (0, 0);
    while let Some(found) = text[from..].find("${").map(|at| from + at) {
        let mention = text[found + 2..].split_once('}').and_then(|(inside, _)| {
            let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
            (is_name(name) && !inside.contains('\n')).then_some((name, default, found + 2 + inside.len() + 1))
        });
        if text[..found].ends_with('$') && mention.is_some() {
            // `$${` loses one dollar and is no parameter.
            pieces.push(Piece::Text(&text[begin..found - 1]));
            begin = found;
            from = found + 2;
        } else if let Some((name, default, end)) = mention {
            pieces.push(Piece::Text(&text[begin..found]));
            pieces.push(Piece::Mention { name, default, line: text[..found].matches('\n').count() + 1 });
            (begin, from) = (end, end);
        } else {
            from = found + 2;
        }
    }
    pieces.push(Piece::Text(&text[begin..]));
    pieces
}

/// The parameters of a manifest, in order of their first mention.
pub fn parameters_of(text: &str) -> Vec<Parameter> {
    let mut found: Vec<Parameter> = Vec::new();
    for piece in pieces(text) {
        let Piece::Mention { name, default, .. } = piece else { continue };
        let default = default.map(str::to_owned);
        match found.iter_mut().find(|p| p.name == name) {
            Some(known) => known.default = known.default.take().or(default),
            None => found.push(Parameter { name: name.into(), default, meaning: String::new() }),
        }
    }
    found
}

/// The text with every parameter filled in.
pub fn fill(text: &str, values: &Values) -> Result<String, FillError> {
    let known = parameters_of(text);
    for name in values.keys() {
        if !known.iter().any(|p| p.name == *name) {
            return Err(unknown(name, &known));
        }
    }
    let defaults: BTreeMap<&str, &str> = known.iter().filter_map(|p| Some((p.name.as_str(), p.default.as_deref()?))).collect();
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        out.push_str(&match piece {
            Piece::Text(text) => Cow::Borrowed(text),
            Piece::Mention { name, default, line } => {
                let value = values.get(name).map(String::as_str).or(default).or_else(|| defaults.get(name).copied());
                Cow::Borrowed(value.ok_or_else(|| FillError::Missing { name: name.into(), line })?)
            }
        });
    }
    Ok(out)
}

fn unknown(name: &str, known: &[Parameter]) -> FillError {
    let names = || known.iter().map(|p| p.name.as_str());
    let near = match did_you_mean(name, names()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; the manifest has none".to_owned(),
        None => format!("; there are {}", names().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
    };
    FillError::Unknown { name: name.into(), near }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_default_given_once_counts_everywhere() {
        let text = "a: ${x}\nb: ${x:-1}\nc: ${y:-two words}\n";
        assert_eq!(fill(text, &values(&[])).expect("good"), "a: 1\nb: 1\nc: two words\n");
        assert_eq!(fill(text, &values(&[("x", "9")])).expect("good"), "a: 9\nb: 9\nc: two words\n");
    }

    #[test]
    fn a_missing_value_is_an_error_with_its_line_and_the_next_step() {
        let error = fill("a: 1\nb: ${url}\n", &values(&[])).expect_err("missing");
        assert_eq!(
            error.to_string(),
            "line 2: parameter `url` has no value; give it with --set url=VALUE, or write `$${url}` if it is none"
        );
    }

    #[test]
    fn a_value_for_nothing_is_an_error() {
        let error = fill("a: ${process:-x}\n", &values(&[("proces", "y")])).expect_err("unknown");
        assert_eq!(error.to_string(), "there is no parameter `proces`; did you mean `process`?");
        assert_eq!(
            fill("a: 1\n", &values(&[("x", "y")])).expect_err("none").to_string(),
            "there is no parameter `x`; the manifest has none"
        );
    }

    #[test]
    fn what_is_no_parameter_stays_as_it_is() {
        for text in ["a: $x {y} $", "regex: '^a${2,3}'", "a: ${", "a: ${not one}", "a: ${un\nclosed}"] {
            assert_eq!(fill(text, &values(&[])).expect(text), text);
        }
        assert_eq!(fill("sh: echo $${HOME}", &values(&[])).expect("escaped"), "sh: echo ${HOME}");
    }

    #[test]
    fn filled_in_values_are_not_filled_in_again() {
        assert_eq!(fill("a: ${x}", &values(&[("x", "${x}")])).expect("good"), "a: ${x}");
    }
}
