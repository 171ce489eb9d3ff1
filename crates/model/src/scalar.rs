//! What YAML's scalars mean.

use serde_json::{Number, Value};

/// A scalar by the core schema (YAML 1.2.2, section 10.3.2). Quoted ones are texts.
pub(crate) fn resolve(text: &str, plain: bool) -> Result<Value, String> {
    if !plain {
        return Ok(Value::String(text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!("`{text}` is not a finite number"));
    }
    if let Some(number) = integer(text) {
        return Ok(Value::Number(number));
    }
    if is_float(unsigned) {
        let number = text.parse::<f64>().ok().and_then(Number::from_f64);
        return number.map(Value::Number).ok_or_else(|| format!("the number `{text}` is too large"));
    }
    Ok(Value::String(text.to_owned()))
}

fn integer(text: &str) -> Option<Number> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+')).map(Number::from);
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Beyond 64 bits it is read as a float, a step later.
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

/// `[0-9]+(\.[0-9]*)?` or `\.[0-9]+`, with an exponent or without.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let good_exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && good_exponent
}

/// A scalar with a tag of the core schema, which it has to be.
pub(crate) fn tagged(text: &str, suffix: &str) -> Result<Value, String> {
    let value = resolve(text, true)?;
    match (suffix, &value) {
        ("str", _) => Ok(Value::String(text.to_owned())),
        ("int", Value::Number(number)) if !number.is_f64() => Ok(value),
        ("float", Value::Number(_)) | ("bool", Value::Bool(_)) | ("null", Value::Null) => Ok(value),
        _ => Err(format!("`{text}` is not what its tag `!!{suffix}` says")),
    }
}
