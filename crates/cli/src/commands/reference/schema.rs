//! Tables of what a schema takes.

use std::fmt::Write as _;

use schemars::Schema;
use serde_json::Value;

/// Maps in maps are shown this deep.
const DEEPEST: usize = 3;

/// A table of the fields of an object's schema, with those of maps beneath (`request.set`), but for the maps named in `closed`.
/// `what` is what a field is called.
pub fn table(text: &mut String, what: &str, schema: &Schema, closed: &[&str]) {
    let mut lines = String::new();
    rows(&mut lines, "", schema.as_value(), schema.as_value(), closed);
    if !lines.is_empty() {
        let _ = write!(text, "\n| {what} | type | meaning |\n|---|---|---|\n{lines}");
    }
}

fn rows(text: &mut String, prefix: &str, schema: &Value, root: &Value, closed: &[&str]) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in properties {
        let name = format!("{prefix}{name}");
        let needed = if required.contains(&name.trim_start_matches(prefix)) { " (required)" } else { "" };
        let default = property.get("default").filter(|d| !d.is_null() && !is_empty(d));
        let default = default.map(|d| format!(" Default: `{d}`.")).unwrap_or_default();
        let inner = resolved(property, root);
        let described = property.get("description").or_else(|| inner.get("description")).and_then(Value::as_str).unwrap_or_default();
        let meaning = described.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(text, "| `{name}`{needed} | {} | {meaning}{default} |", type_of(property, root));
        if inner.get("properties").is_some() && name.matches('.').count() + 1 < DEEPEST && !closed.contains(&name.as_str()) {
            rows(text, &format!("{name}."), inner, root, closed);
        }
    }
}

/// A default of nothing needs no telling.
fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty) || value == ""
}

/// Past references, and the one choice besides `null`.
fn resolved<'a>(property: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(reference) = property.get("$ref").and_then(Value::as_str) {
        return root.pointer(reference.trim_start_matches('#')).unwrap_or(property);
    }
    let choices = property.get("anyOf").or_else(|| property.get("allOf")).and_then(Value::as_array).into_iter().flatten();
    let mut real = choices.filter(|choice| choice.get("type") != Some(&Value::from("null")));
    match (real.next(), real.next()) {
        (Some(only), None) => resolved(only, root),
        _ => property,
    }
}

/// The type of a property in a word or two.
fn type_of(property: &Value, root: &Value) -> String {
    if let Some(reference) = property.get("$ref").and_then(Value::as_str) {
        return match reference.rsplit('/').next().unwrap_or_default() {
            "Time" => "time".to_owned(),
            "Bytes" | "Size" => "size".to_owned(),
            "Rate" => "rate".to_owned(),
            "ByteRate" => "bytes a time".to_owned(),
            "Percent" => "percentage".to_owned(),
            _ => root.pointer(reference.trim_start_matches('#')).map(|inner| type_of(inner, root)).unwrap_or_default(),
        };
    }
    let values = words(property);
    if !values.is_empty() {
        return values;
    }
    if let Some(options) = property.get("anyOf").or_else(|| property.get("oneOf")).and_then(Value::as_array) {
        let kinds: Vec<String> = options.iter().filter(|o| o.get("type") != Some(&Value::from("null"))).map(|o| type_of(o, root)).collect();
        return kinds.join(" or ");
    }
    match property.get("type") {
        Some(Value::String(kind)) => word(kind, property, root),
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            kinds.map(|kind| word(kind, property, root)).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".into(),
    }
}

fn word(kind: &str, property: &Value, root: &Value) -> String {
    match kind {
        "array" => format!("list of {}", property.get("items").map(|items| type_of(items, root)).unwrap_or_default()),
        "object" => "map".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "`true`, `false`".to_owned(),
        "integer" => "whole number".to_owned(),
        kind => kind.to_owned(),
    }
}

/// The values of an enumeration, and the small maps that stand beside them.
fn words(schema: &Value) -> String {
    let plain =
        schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(|word| format!("`{word}`"));
    let described = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().flat_map(|choice| {
        let words = choice.get("const").into_iter().chain(choice.get("enum").and_then(Value::as_array).into_iter().flatten());
        let maps = choice.get("properties").and_then(Value::as_object).into_iter().flatten();
        let words = words.filter_map(Value::as_str).map(|word| format!("`{word}`")).collect::<Vec<_>>();
        words.into_iter().chain(maps.map(|(key, _)| format!("`{{ {key}: … }}`"))).collect::<Vec<_>>()
    });
    plain.chain(described).collect::<Vec<_>>().join(", ")
}
