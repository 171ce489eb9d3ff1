//! serde's messages in words for people. serde says what a type lacks; people want to know what to write.

use serde_json::Value;

use crate::{Compare, Path, PathSegment, Probe, Target, did_you_mean};

/// What is wrong, sorted by what has to be done about it.
pub(crate) enum Complaint {
    /// The field at the path does not belong there.
    Unknown { message: String, hint: Option<String>, meant: Option<String> },
    /// Some fields of the map at the path do not belong there.
    Extra { keys: Vec<ExtraKey> },
    /// The map at the path lacks a field.
    Missing { field: String, message: String, hint: Option<String> },
    /// The value at the path does not fit; some words that would, where they are known.
    Misfit { message: String, hint: Option<String>, words: Vec<String> },
}

/// A key that does not belong where it is.
pub(crate) struct ExtraKey {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The field that was probably meant.
    pub(crate) meant: Option<String>,
}

/// Puts an error of serde at a path, where `found` stands, into words.
pub(crate) fn complaint(root: &str, path: &Path, message: &str, found: &Value) -> Complaint {
    if message.starts_with("unknown field `")
        && let Some(PathSegment::Key(key)) = path.0.last()
    {
        let fields = expected_words(message);
        let meant = nearest(key, fields.iter().copied()).map(str::to_owned);
        return Complaint::Unknown {
            message: format!("unknown field `{key}`"),
            hint: Some(unknown_hint(meant.as_deref(), &fields)),
            meant,
        };
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return Complaint::Missing { field: field.into(), message: format!("`{field}` is missing"), hint: Some(missing_hint(field)) };
    }
    if let Some(what) = message.split_once(" has more than one kind: ").map(|(what, _)| what) {
        let keys = extra_kinds(what, found);
        if !keys.is_empty() {
            return Complaint::Extra { keys };
        }
    }
    let words = if message.starts_with("unknown variant `") { expected_words(message) } else { Vec::new() };
    let words = words.into_iter().map(str::to_owned).collect();
    let (message, hint) = misfit(root, path, message, found);
    Complaint::Misfit { message, hint, words }
}

/// What a hint for an unknown field says.
fn unknown_hint(meant: Option<&str>, fields: &[&str]) -> String {
    match (meant, fields) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, []) => "there are no fields here; remove it".into(),
        (None, fields) => format!("the fields here are {}", quoted(fields)),
    }
}

/// The candidate that was probably meant: near in letters, or another system's word for the same.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const SYNONYMS: &[(&str, &str)] = &[
        ("<", "lt"),
        ("<=", "le"),
        (">", "gt"),
        (">=", "ge"),
        ("=", "eq"),
        ("==", "eq"),
        ("!=", "ne"),
        ("duration", "for"),
        ("delay", "after"),
        ("interval", "every"),
        ("period", "every"),
        ("expected", "expect"),
        ("expectation", "expect"),
        ("args", "with"),
        ("arguments", "with"),
        ("params", "with"),
        ("parameters", "with"),
        ("action", "fault"),
        ("steps", "method"),
        ("load", "traffic"),
        ("abortconditions", "guards"),
        ("stopconditions", "guards"),
        ("description", "statement"),
        ("title", "statement"),
        ("timezone", "timeZone"),
        ("tz", "timeZone"),
        ("selector", "target"),
        ("exclude", "except"),
        ("regex", "matches"),
        ("equals", "eq"),
        ("min", "ge"),
        ("max", "le"),
        ("maxduration", "duration"),
        ("condition", "when"),
        ("if", "when"),
        ("serial", "sequence"),
        ("pid", "pids"),
    ];
    if word.len() > 100 {
        return None;
    }
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let word = word.to_lowercase().replace(['_', '-'], "");
    let same = candidates.iter().copied().find(|candidate| candidate.to_lowercase().replace(['_', '-'], "") == word);
    let synonym =
        || SYNONYMS.iter().filter(|(other, _)| *other == word).find_map(|(_, ours)| candidates.iter().copied().find(|c| c == ours));
    same.or_else(synonym).or_else(|| did_you_mean(&word, candidates.iter().copied()))
}

/// Words in backquotes, separated by commas.
pub fn quoted<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A value on one line, as YAML has it in flow style: `{ name: payments, port: 8082 }`.
pub fn inline(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "{}".into(),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{}: {}", inline_text(key), inline(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(text) => inline_text(text),
        other => other.to_string(),
    }
}

/// A text without quotes where YAML reads it back as the same, else in those of JSON.
fn inline_text(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '_'));
    let safe = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ' ' | '+' | '%' | '*');
    let word = matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null");
    let number = text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o");
    let plain = starts && text.chars().all(safe) && !text.ends_with(' ') && !word && !number;
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

/// The words that serde lists behind `expected`.
fn expected_words(message: &str) -> Vec<&str> {
    let list = message.rfind("`, expected ").map_or("", |at| &message[at + 2..]);
    list.split('`').skip(1).step_by(2).collect()
}

/// An example for each field that can be missing.
fn missing_hint(field: &str) -> String {
    let example = match field {
        "apiVersion" => "apiVersion: squall.dev/v1",
        "kind" => "kind: Experiment",
        "metadata" => "metadata: { name: my-experiment }",
        "name" => "name: a-name",
        "spec" => "spec:` with `hypothesis` and `method` below it; see `squall explain spec",
        "hypothesis" => "hypothesis:` with `statement` and `probes` below it; see `squall explain spec.hypothesis",
        "statement" => "statement: Checkout stays fast while payments is slow.",
        "probes" => "probes:` with at least one probe below it; see `squall explain probes",
        "method" => "method:` with at least one step below it; see `squall explain spec.method",
        "rate" => "rate: 100/s",
        "url" => "url: http://127.0.0.1:8080/",
        "times" => "times: 3",
        "percent" => "percent: [10%, 50%, 100%]",
        "every" => "every: 30s",
        "message" => "message: Look at the dashboard",
        "timeout" => "timeout: 10m",
        "probe" => "probe:` and the name of a probe of the hypothesis, such as `probe: errors",
        "is" => "is: { lt: 0.01 }",
        "abort" => "abort: { gt: 5% }",
        "actions" => "actions: [{ name: reset, command: [./reset.sh] }]",
        "cron" => "cron: 0 10 * * 1-5",
        "over" => "over: 30s",
        "reason" => "reason: end-of-year freeze",
        _ => return format!("add `{field}: …`"),
    };
    format!("add `{example}`")
}

/// Which of the keys of a probe or target are not its kind.
fn extra_kinds(what: &str, found: &Value) -> Vec<ExtraKey> {
    let (fields, kinds): (&[&str], &[&str]) = match what {
        "a target" => (&Target::FIELDS, &Target::USUAL_KINDS),
        "a comparison" => (&Compare::FIELDS, &Probe::USUAL_KINDS),
        _ => (&Probe::FIELDS, &Probe::USUAL_KINDS),
    };
    let keys: Vec<&str> =
        found.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).filter(|key| !fields.contains(key)).collect();
    let (known, unknown): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| kinds.contains(key));
    let extra = |key: &str, message: String, otherwise: String| {
        let meant = nearest(key, fields.iter().copied());
        let hint = meant.map_or(otherwise, |meant| format!("did you mean `{meant}`?"));
        ExtraKey { key: key.to_owned(), message, hint: Some(hint), meant: meant.map(str::to_owned) }
    };
    if let Some(kind) = known.first()
        && !unknown.is_empty()
    {
        let hint = format!("besides its kind {what} has {}; does it belong inside `{kind}`?", quoted(fields));
        return unknown.into_iter().map(|key| extra(key, format!("unknown field `{key}`"), hint.clone())).collect();
    }
    // No known kind, or several: the first key stays as the kind, unless a later one is nearer to one.
    let Some(kept) = keys.iter().find(|key| nearest(key, fields.iter().copied()).is_none()).or(keys.first()).copied() else {
        return Vec::new();
    };
    let hint = format!("make two of it, or remove one; the fields besides the kind are {}", quoted(fields));
    let others = keys.iter().filter(|key| **key != kept);
    others.map(|key| extra(key, format!("{what} has one kind, but here are `{kept}` and `{key}`"), hint.clone())).collect()
}

/// How the thing at a path is called in a message.
fn subject(root: &str, path: &Path) -> String {
    match path.0.as_slice() {
        [] => root.to_owned(),
        [.., PathSegment::Key(key)] => format!("`{key}`"),
        [.., PathSegment::Key(key), PathSegment::Index(index)] => format!("element {} of `{key}`", index + 1),
        [.., PathSegment::Index(index)] => format!("element {}", index + 1),
    }
}

fn misfit(root: &str, path: &Path, message: &str, found: &Value) -> (String, Option<String>) {
    let subject = subject(root, path);
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let word = rest.split("`, expected ").next().unwrap_or_default();
        let words = expected_words(message);
        let near = nearest(word, words.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        let hint = choice_hint(path).map(str::to_owned).or(near).unwrap_or_else(|| format!("write one of {}", quoted(&words)));
        return (format!("{subject} cannot be `{word}`"), Some(hint));
    }
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    let choice = |e: &str| e == "string or map" || e == "map with a single key" || e.ends_with(" variant");
    if let Some(hint) = choice_hint(path)
        && expected.is_some_and(choice)
    {
        return (format!("{subject} cannot be {}", shown(found)), Some(hint.into()));
    }
    if let Some(expected) = expected
        && message.starts_with("invalid length ")
    {
        let length = found.as_array().map_or_else(String::new, |items| format!(", not {}", items.len()));
        let count = expected.rsplit(' ').next().unwrap_or_default();
        return (format!("{subject} needs {count} elements{length}"), Some("write them as `[first, second]`".into()));
    }
    if let Some(expected) = expected
        && (message.starts_with("invalid type: ") || message.starts_with("invalid value: "))
    {
        if found.is_null() {
            let human = human(expected);
            let hint = if human.starts_with("a map") { example_hint(root, path, &human) } else { format!("write {human}, or remove it") };
            return (format!("{subject} has no value"), Some(hint));
        }
        let human = human(expected);
        let hint = type_hint(&human, found).unwrap_or_else(|| example_hint(root, path, &human));
        return (format!("{subject} must be {human}, not {}", shown(found)), Some(hint));
    }
    // Errors of our own say what is wrong, then, behind a semicolon, what to write.
    let message =
        message.replace("is not a unit of number", "is not a known unit").replace("unit of amount of data", "unit for amounts of data");
    let (message, hint) = message.split_once("; ").map_or((message.as_str(), None), |(message, hint)| (message, Some(hint)));
    let hint = hint.map(|hint| with_unit(message, hint).unwrap_or_else(|| hint.to_owned()));
    (if path.0.is_empty() { message.to_owned() } else { format!("{subject}: {message}") }, hint)
}

/// The user's own number with a unit, rather than any example.
fn with_unit(message: &str, hint: &str) -> Option<String> {
    let number = message.strip_prefix('`')?.strip_suffix("` has no unit")?;
    match hint {
        "write it like `500ms`" => Some(format!("write `{number}s` or `{number}ms`")),
        "write it like `100/s`" => Some(format!("write `{number}/s`")),
        _ => None,
    }
}

/// How a value of the expected type is written.
fn example_hint(root: &str, path: &Path, expected: &str) -> String {
    let key = match path.0.last() {
        Some(PathSegment::Key(key)) => Some(key.as_str()),
        Some(PathSegment::Index(_)) => None,
        None => root.strip_prefix('`').and_then(|root| root.strip_suffix('`')),
    };
    let Some(key) = key else {
        return match expected {
            _ if expected.starts_with("a probe") => {
                "write it like `{ name: up, http: { url: \"http://127.0.0.1:8080/\" }, expect: { eq: 200 } }`".into()
            }
            _ if expected.starts_with("a map") => "write its fields as `key: value`, each on its own line".into(),
            _ => format!("write {expected} here"),
        };
    };
    let example = match key {
        "expect" | "is" => "{ lt: 500ms }",
        "abort" => "{ gt: 5% }",
        "steady" => "{ for: 30s, every: 1s }",
        "recovery" => "{ within: 60s, stable: 10s }",
        "repeat" => "{ times: 3, pause: 5s }",
        "ramp" => "{ percent: [10%, 50%, 100%], every: 30s }",
        "suspend" => "{ message: Look at the dashboard, timeout: 10m }",
        "when" => "{ probe: errors, is: { lt: 0.01 } }",
        "schedule" => "{ cron: 0 10 * * 1-5, timeZone: Europe/Berlin }",
        "metadata" => "{ name: my-experiment }",
        "target" => "{ process: { name: payments } }",
        "http" => "{ url: \"http://127.0.0.1:8080/\" }",
        "process" => "{ name: payments }",
        "port" => "8080",
        _ if expected.starts_with("a map") => {
            return format!("write its fields on the lines below `{key}:`, or `{key}: {{ field: value }}`");
        }
        _ if expected.starts_with("a whole number") => "3",
        _ if expected == "a number" => "0.5",
        _ => return format!("write {expected} here"),
    };
    format!("write it like `{key}: {example}`")
}

/// What can be written where the choices are words and small maps.
fn choice_hint(path: &Path) -> Option<&'static str> {
    match path.0.last() {
        Some(PathSegment::Key(key)) => match key.as_str() {
            "select" => Some("write `one`, `all`, `specific`, `{ count: 3 }`, `{ percent: 30% }` or `{ randomUpTo: 50% }`"),
            "unmeasurable" => Some("write `abortAtThird`, `ignore` or `{ abortAfter: 10s }`"),
            "version" => Some("write `\"1.1\"` or `\"2\"`, in quotes"),
            _ => None,
        },
        _ => None,
    }
}

/// What serde expected, in words for people.
fn human(expected: &str) -> String {
    match expected {
        "a string" | "string" | "a borrowed string" => "a text".into(),
        "a boolean" | "bool" => "`true` or `false`".into(),
        "a sequence" => "a list".into(),
        "a map" => "a map (`key: value`)".into(),
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" => "a whole number from 0 to 4294967295".into(),
        "u64" | "usize" => "a whole number from 0".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "string or map" => "a word or a map".into(),
        "map with a single key" => "a map with one key".into(),
        _ if expected.starts_with("struct ") => "a map (`key: value`)".into(),
        _ if expected.starts_with("an array of length ") || expected.starts_with("a tuple of size ") => {
            format!("a list of {}", expected.rsplit(' ').next().unwrap_or_default())
        }
        _ => expected.to_owned(),
    }
}

/// A value in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "empty".into(),
        Value::Bool(flag) => format!("`{flag}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() > 40 => format!("the text `{}…`", text.chars().take(40).collect::<String>()),
        Value::String(text) => format!("the text `{text}`"),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

fn type_hint(expected: &str, found: &Value) -> Option<String> {
    match (expected, found) {
        ("a text", Value::Number(_) | Value::Bool(_)) => Some(format!("put it in quotes: `\"{found}\"`")),
        ("`true` or `false`", Value::String(text)) if matches!(text.to_lowercase().as_str(), "yes" | "on" | "y") => {
            Some("write `true`; YAML 1.2 knows no other word for it".into())
        }
        ("`true` or `false`", Value::String(text)) if matches!(text.to_lowercase().as_str(), "no" | "off" | "n") => {
            Some("write `false`; YAML 1.2 knows no other word for it".into())
        }
        ("a list", Value::Object(_)) => Some("start each element with `- `".into()),
        ("a list", _) => Some("start each element with `- `, or write `[first, second]`".into()),
        (expected, Value::String(text)) if expected.starts_with("a whole number") && text.trim().parse::<i64>().is_ok() => {
            Some("remove the quotes".into())
        }
        ("a map (`key: value`)", Value::Array(_)) => Some("remove the `- `: this is not a list".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_people_write_them() {
        let value = json!({ "name": "payments", "delay": "200ms", "scope": { "peers": ["10.0.0.1:5432"], "share": "5%" }, "port": 8082, "n": null });
        let text = "{ name: payments, delay: 200ms, scope: { peers: [\"10.0.0.1:5432\"], share: 5% }, port: 8082, n: null }";
        assert_eq!(inline(&value), text);
        assert_eq!(inline(&json!({})), "{}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_as_it_was(text in "[ -~]{0,12}|[0-9a-z.%/+-]{1,6}", key in "[ -~]{1,8}", number in any::<i32>()) {
            let value = json!({ key: [text, number, true, null] });
            let read = crate::Document::parse(&inline(&value)).expect("YAML").value;
            prop_assert_eq!(read, value);
        }
    }
}
