//! Comparisons and their thresholds.

use regex::Regex;

use crate::{Dimension, Expectation, ExpectationError, Quantity, quoted};

/// What is wrong with a comparison, whatever it is compared with: key within the expectation, message, hint.
pub fn check_comparison(expectation: &Expectation) -> Vec<(Option<&'static str>, String, String)> {
    let keys = comparisons(expectation);
    let mut found = Vec::new();
    match keys.as_slice() {
        [] => {
            let hint = "write one of `lt`, `le`, `gt`, `ge`, `eq`, `ne`, `between`, `in`, `matches`, such as `lt: 500ms`".to_owned();
            found.push((None, "no comparison".into(), hint));
        }
        [_] => {}
        [_, second, ..] => {
            let message = format!("more than one comparison: {}", quoted(&keys));
            found.push((Some(*second), message, "keep one; for a range write `between: [low, high]`".into()));
        }
    }
    if let Some(pattern) = &expectation.matches
        && let Err(error) = Regex::new(pattern)
    {
        let detail = error.to_string();
        let detail = detail.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let hint = "escape characters such as `(` and `[` with `\\`, and put the pattern in single quotes".to_owned();
        found.push((Some("matches"), format!("`{pattern}` is not a regular expression: {detail}"), hint));
    }
    if expectation.one_of.as_ref().is_some_and(Vec::is_empty) {
        found.push((Some("in"), "`in` is empty, so nothing satisfies it".into(), "list the good values".into()));
    }
    if let Some([low, high]) = expectation.between
        && low.dimension == high.dimension
        && low.value > high.value
    {
        let message = format!("`between` goes from {low} down to {high}, which nothing satisfies");
        found.push((Some("between"), message, "swap the two".into()));
    }
    found
}

/// What is wrong with the threshold for values of a dimension, beyond what [`check_comparison`] finds.
pub fn check_threshold(expectation: &Expectation, dimension: Dimension) -> Option<(Option<&'static str>, String, String)> {
    let key = *comparisons(expectation).first()?;
    let numeric = matches!(key, "lt" | "le" | "gt" | "ge" | "between");
    if dimension == Dimension::Text && numeric {
        let message = format!("`{key}` compares numbers, but this probe answers with text");
        return Some((Some(key), message, "use `eq`, `ne`, `in` or `matches`".into()));
    }
    match expectation.bound(dimension) {
        Err(ExpectationError::Dimension { threshold, value, example }) => {
            let message = format!("the threshold is {}, but the probe measures {}", article(threshold), article(value));
            let hint = match bare_time(expectation, key, threshold, value) {
                Some(text) => format!("add the unit: `{text}ms` or `{text}s`"),
                None => format!("write it like `{example}`"),
            };
            Some((Some(key), message, hint))
        }
        Err(ExpectationError::BadValue(_)) if matches!((key, &expectation.eq), ("eq", Some(serde_json::Value::Array(_)))) => {
            let hint = "for one of several write `in: [200, 204]`; for a range `between: [200, 299]`";
            Some((Some(key), "`eq` takes one value, not a list".into(), hint.into()))
        }
        Err(ExpectationError::BadValue(message)) if !message.starts_with("`in` is empty") => {
            let (message, hint) = message.split_once("; ").unwrap_or((&message, "write a value of the kind that the probe measures"));
            Some((Some(key), message.to_owned(), hint.to_owned()))
        }
        // Ends of unlike units: told apart only now.
        Err(ExpectationError::Swapped(low, high)) if expectation.between.is_some_and(|[low, high]| low.dimension != high.dimension) => {
            Some((Some(key), format!("`between` goes from {low} down to {high}, which nothing satisfies"), "swap the two".into()))
        }
        _ => None,
    }
}

fn article(dimension: Dimension) -> String {
    format!("{} {dimension}", if dimension == Dimension::Bytes { "an" } else { "a" })
}

fn bare_time(expectation: &Expectation, key: &str, threshold: Dimension, value: Dimension) -> Option<String> {
    if (threshold, value) != (Dimension::Number, Dimension::Time) {
        return None;
    }
    let quantity: Quantity = match key {
        "lt" => expectation.lt?,
        "le" => expectation.le?,
        "gt" => expectation.gt?,
        "ge" => expectation.ge?,
        _ => return None,
    };
    Some(quantity.to_string())
}

/// The comparisons that are given.
fn comparisons(e: &Expectation) -> Vec<&'static str> {
    let given = [
        ("lt", e.lt.is_some()),
        ("le", e.le.is_some()),
        ("gt", e.gt.is_some()),
        ("ge", e.ge.is_some()),
        ("eq", e.eq.is_some()),
        ("ne", e.ne.is_some()),
        ("between", e.between.is_some()),
        ("in", e.one_of.is_some()),
        ("matches", e.matches.is_some()),
    ];
    given.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
}
