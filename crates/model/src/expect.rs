//! What a probe's value is compared with.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Dimension, Quantity, Time, Value};

/// One comparison with its threshold: exactly one of `lt le gt ge eq ne between in matches`.
///
/// With `for`, the expectation counts as broken only when it has been broken for that long without a pause.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Less than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lt: Option<Quantity>,
    /// Less than or equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub le: Option<Quantity>,
    /// Greater than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gt: Option<Quantity>,
    /// Greater than or equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ge: Option<Quantity>,
    /// Equal: a number, a text or true/false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eq: Option<serde_json::Value>,
    /// Not equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ne: Option<serde_json::Value>,
    /// From the first to the second, both included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<[Quantity; 2]>,
    /// One of these.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<serde_json::Value>>,
    /// A regular expression found in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// How long it must be broken without a pause before that counts.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub persist: Option<Time>,
}

/// An expectation made ready to compare: the one comparison that it holds.
#[derive(Debug, Clone)]
pub enum Bound {
    /// `lt`
    Lt(Quantity),
    /// `le`
    Le(Quantity),
    /// `gt`
    Gt(Quantity),
    /// `ge`
    Ge(Quantity),
    /// `between`, both ends included
    Between(Quantity, Quantity),
    /// `eq`, or `in` with several
    OneOf(Vec<Value>),
    /// `ne`
    Ne(Value),
    /// `matches`
    Matches(Regex),
}

/// Why an expectation cannot be used. The message names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpectationError {
    /// No comparison.
    #[error("no comparison; write one of `lt`, `le`, `gt`, `ge`, `eq`, `ne`, `between`, `in`, `matches`")]
    Empty,
    /// More than one comparison.
    #[error("more than one comparison ({0}); keep one, or use `between`")]
    Several(String),
    /// The threshold is of another dimension than the value.
    #[error("the threshold is a {threshold} but the value is a {value}; write it like `{example}`")]
    Dimension {
        /// Of the threshold.
        threshold: Dimension,
        /// Of the value.
        value: Dimension,
        /// A good one.
        example: &'static str,
    },
    /// `between` with its ends swapped.
    #[error("`between` goes from {0} to {1}, which nothing satisfies; swap the two")]
    Swapped(String, String),
    /// Not a regular expression.
    #[error("`matches` is not a regular expression: {0}")]
    Regex(String),
    /// `in` with nothing to choose from, or a list or map where a plain value belongs.
    #[error("{0}")]
    BadValue(String),
}

impl Expectation {
    /// The one comparison, checked against the dimension of the values that will come. A bare number passes for a ratio,
    /// and for a rate or an amount of data in their base units, but never for a time.
    pub fn bound(&self, dimension: Dimension) -> Result<Bound, ExpectationError> {
        let check = |quantity: Quantity| check_dimension(quantity, dimension);
        let mut found: Vec<(&str, Bound)> = Vec::new();
        if let Some(q) = self.lt {
            found.push(("lt", Bound::Lt(check(q)?)));
        }
        if let Some(q) = self.le {
            found.push(("le", Bound::Le(check(q)?)));
        }
        if let Some(q) = self.gt {
            found.push(("gt", Bound::Gt(check(q)?)));
        }
        if let Some(q) = self.ge {
            found.push(("ge", Bound::Ge(check(q)?)));
        }
        if let Some(value) = &self.eq {
            found.push(("eq", Bound::OneOf(vec![scalar(value, dimension)?])));
        }
        if let Some(value) = &self.ne {
            found.push(("ne", Bound::Ne(scalar(value, dimension)?)));
        }
        if let Some([low, high]) = self.between {
            let (low, high) = (check(low)?, check(high)?);
            if low.value > high.value {
                return Err(ExpectationError::Swapped(low.to_string(), high.to_string()));
            }
            found.push(("between", Bound::Between(low, high)));
        }
        if let Some(values) = &self.one_of {
            if values.is_empty() {
                return Err(ExpectationError::BadValue("`in` is empty, so nothing satisfies it; list the good values".into()));
            }
            let values = values.iter().map(|v| scalar(v, dimension)).collect::<Result<_, _>>()?;
            found.push(("in", Bound::OneOf(values)));
        }
        if let Some(pattern) = &self.matches {
            let regex =
                Regex::new(pattern).map_err(|e| ExpectationError::Regex(e.to_string().lines().last().unwrap_or_default().into()))?;
            found.push(("matches", Bound::Matches(regex)));
        }
        match found.len() {
            0 => Err(ExpectationError::Empty),
            1 => Ok(found.remove(0).1),
            _ => Err(ExpectationError::Several(found.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", "))),
        }
    }

    /// The expectation in words, for people: `< 500ms`.
    pub fn describe(&self) -> String {
        let plain = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let comparison = if let Some(q) = self.lt {
            format!("< {q}")
        } else if let Some(q) = self.le {
            format!("≤ {q}")
        } else if let Some(q) = self.gt {
            format!("> {q}")
        } else if let Some(q) = self.ge {
            format!("≥ {q}")
        } else if let Some(v) = &self.eq {
            format!("= {}", plain(v))
        } else if let Some(v) = &self.ne {
            format!("≠ {}", plain(v))
        } else if let Some([low, high]) = self.between {
            format!("{low} to {high}")
        } else if let Some(values) = &self.one_of {
            format!("one of {}", values.iter().map(plain).collect::<Vec<_>>().join(", "))
        } else if let Some(pattern) = &self.matches {
            format!("matches /{pattern}/")
        } else {
            String::new()
        };
        self.persist.map_or_else(|| comparison.clone(), |time| format!("{comparison} for {time}"))
    }
}

fn check_dimension(mut quantity: Quantity, dimension: Dimension) -> Result<Quantity, ExpectationError> {
    let compatible = match (quantity.dimension, dimension) {
        (a, b) if a == b => true,
        (Dimension::Number, Dimension::Ratio | Dimension::Bytes | Dimension::Rate) => true,
        // A probe that cannot know its unit (PromQL, a command's output) takes any threshold in base units.
        (Dimension::Ratio | Dimension::Time | Dimension::Bytes | Dimension::Rate, Dimension::Number) => return Ok(quantity),
        _ => false,
    };
    if !compatible {
        return Err(ExpectationError::Dimension { threshold: quantity.dimension, value: dimension, example: dimension.example() });
    }
    quantity.dimension = dimension;
    Ok(quantity)
}

fn scalar(value: &serde_json::Value, dimension: Dimension) -> Result<Value, ExpectationError> {
    match value {
        serde_json::Value::Bool(flag) => Ok(Value::Number(f64::from(u8::from(*flag)))),
        serde_json::Value::Number(number) if dimension == Dimension::Text => Ok(Value::Text(number.to_string())),
        serde_json::Value::Number(number) => {
            let quantity = Quantity::new(number.as_f64().unwrap_or(f64::NAN), Dimension::Number);
            Ok(Value::Number(check_dimension(quantity, dimension)?.value))
        }
        serde_json::Value::String(text) if dimension == Dimension::Text => Ok(Value::Text(text.clone())),
        serde_json::Value::String(text) => {
            let quantity: Quantity = text.parse().map_err(|e: crate::UnitError| ExpectationError::BadValue(e.to_string()))?;
            Ok(Value::Number(check_dimension(quantity, dimension)?.value))
        }
        _ => Err(ExpectationError::BadValue("expected one number or text, not a list or a map".into())),
    }
}

impl Bound {
    /// Whether the value satisfies the comparison. A text never satisfies a numeric one, nor the other way round.
    #[expect(clippy::float_cmp, reason = "`eq` on numbers means equal; users who want a margin write `between`")]
    pub fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Lt(q), Value::Number(v)) => *v < q.value,
            (Self::Le(q), Value::Number(v)) => *v <= q.value,
            (Self::Gt(q), Value::Number(v)) => *v > q.value,
            (Self::Ge(q), Value::Number(v)) => *v >= q.value,
            (Self::Between(low, high), Value::Number(v)) => *v >= low.value && *v <= high.value,
            (Self::OneOf(values), Value::Number(v)) => values.iter().any(|x| matches!(x, Value::Number(n) if n == v)),
            (Self::OneOf(values), Value::Text(v)) => values.iter().any(|x| matches!(x, Value::Text(t) if t == v)),
            (Self::Ne(Value::Number(n)), Value::Number(v)) => n != v && !v.is_nan(),
            (Self::Ne(Value::Text(t)), Value::Text(v)) => t != v,
            (Self::Matches(regex), Value::Text(v)) => regex.is_match(v),
            (Self::Matches(regex), Value::Number(v)) => regex.is_match(&v.to_string()),
            _ => false,
        }
    }

    /// The numeric thresholds, in base units, for charts: none for texts.
    pub fn thresholds(&self) -> Vec<f64> {
        match self {
            Self::Lt(q) | Self::Le(q) | Self::Gt(q) | Self::Ge(q) => vec![q.value],
            Self::Between(low, high) => vec![low.value, high.value],
            Self::OneOf(values) => values.iter().filter_map(|v| if let Value::Number(n) = v { Some(*n) } else { None }).collect(),
            Self::Ne(_) | Self::Matches(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(json: serde_json::Value) -> Expectation {
        serde_json::from_value(json).expect("an expectation")
    }

    #[test]
    fn a_time_wants_a_time() {
        let bound = expectation(serde_json::json!({ "lt": "500ms" })).bound(Dimension::Time).expect("good");
        assert!(bound.holds(&Value::Number(0.499)) && !bound.holds(&Value::Number(0.5)));
        let error = expectation(serde_json::json!({ "lt": 500 })).bound(Dimension::Time).expect_err("a bare number");
        assert_eq!(error.to_string(), "the threshold is a number but the value is a time; write it like `500ms`");
    }

    #[test]
    fn nan_satisfies_nothing() {
        for json in
            [serde_json::json!({ "lt": 1 }), serde_json::json!({ "ge": 1 }), serde_json::json!({ "ne": 1 }), serde_json::json!({ "eq": 1 })]
        {
            assert!(!expectation(json).bound(Dimension::Number).expect("good").holds(&Value::Number(f64::NAN)));
        }
    }

    #[test]
    fn one_comparison_is_needed_and_two_are_too_many() {
        assert_eq!(expectation(serde_json::json!({})).bound(Dimension::Number).expect_err("none"), ExpectationError::Empty);
        let error = expectation(serde_json::json!({ "lt": 1, "gt": 2 })).bound(Dimension::Number).expect_err("two");
        assert_eq!(error.to_string(), "more than one comparison (`lt`, `gt`); keep one, or use `between`");
    }
}
