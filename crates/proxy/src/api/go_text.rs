//! How Go writes JSON, where it writes it otherwise than others do.

use serde_json::{Number, Value};

/// Go escapes what could end a script in an HTML page.
pub(super) fn json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            // All of them stand in strings.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A number of a whole value has no fraction: `1`, not `1.0`.
pub(super) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and far below 2^63")]
        return Value::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// A toxicity is a `float32` there, and written with as few digits as tell it from its neighbours.
pub(super) fn float32(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "this is the rounding that is wanted")]
    let short = (value as f32).to_string();
    number(short.parse().unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_written_as_short_as_go_writes_them() {
        assert_eq!(json(&json!([number(1.0), number(0.5), float32(0.2), float32(0.200_000_003), float32(1.0)])), "[1,0.5,0.2,0.2,1]");
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(json(&json!({"a<": "b&c>"})), r#"{"a\u003c":"b\u0026c\u003e"}"#);
    }
}
