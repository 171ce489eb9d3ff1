//! serde's messages in words for people. serde says what a type lacks; people want to know what to write.

use serde_json::Value;

use crate::{Path, PathSegment, Probe, Target, did_you_mean};

/// What is wrong, sorted by what has to be done about it.
pub(crate) enum Complaint {
    /// The field at the path does not belong there.
    Unknown { message: String, hint: Option<String> },
    /// Some fields of the map at the path do not belong there: key, message, hint.
    Extra { keys: Vec<(String, String, Option<String>)> },
    /// The map at the path lacks a field.
    Missing { field: String, message: String, hint: Option<String> },
    /// The value at the path does not fit.
    Misfit { message: String, hint: Option<String> },
}

/// Puts an error of serde at a path, where `found` stands, into words.
pub(crate) fn complaint(root: &str, path: &Path, message: &str, found: &Value) -> Complaint {
    if message.starts_with("unknown field `")
        && let Some(PathSegment::Key(key)) = path.0.last()
    {
        return Complaint::Unknown { message: format!("unknown field `{key}`"), hint: Some(unknown_hint(key, &expected_words(message))) };
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
    let (message, hint) = misfit(root, path, message, found);
    Complaint::Misfit { message, hint }
}

/// What a hint for an unknown field says.
fn unknown_hint(key: &str, fields: &[&str]) -> String {
    match fields {
        [] => "there are no fields here; remove it".into(),
        fields => nearest(key, fields.iter().copied())
            .map_or_else(|| format!("the fields here are {}", quoted(fields)), |meant| format!("did you mean `{meant}`?")),
    }
}

/// The candidate that was probably meant: near in letters, or another system's word for the same.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const SYNONYMS: &[(&str, &str)] = &[
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
fn extra_kinds(what: &str, found: &Value) -> Vec<(String, String, Option<String>)> {
    let (fields, kinds): (&[&str], &[&str]) =
        if what == "a target" { (&Target::FIELDS, &Target::USUAL_KINDS) } else { (&Probe::FIELDS, &Probe::USUAL_KINDS) };
    let keys: Vec<&str> =
        found.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).filter(|key| !fields.contains(key)).collect();
    let (known, unknown): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| kinds.contains(key));
    if !known.is_empty() && !unknown.is_empty() {
        let hint = |key: &str| {
            let all = || format!("{what} has {}, and one kind", quoted(fields));
            nearest(key, fields.iter().copied()).map_or_else(all, |meant| format!("did you mean `{meant}`?"))
        };
        return unknown.into_iter().map(|key| (key.to_owned(), format!("unknown field `{key}`"), Some(hint(key)))).collect();
    }
    // No known kind, or several: the first key stays as the kind, unless a later one is nearer to one.
    let kept = keys.iter().find(|key| nearest(key, fields.iter().copied()).is_none()).or(keys.first()).copied();
    let message = |key: &str| match kept {
        Some(kept) => format!("{what} has one kind, but here are `{kept}` and `{key}`"),
        None => format!("{what} has no kind"),
    };
    let hint = |key: &str| {
        let apart = format!("make two of it, or remove one; the fields besides the kind are {}", quoted(fields));
        nearest(key, fields.iter().copied()).map_or(apart, |meant| format!("did you mean `{meant}`?"))
    };
    keys.iter().filter(|key| Some(**key) != kept).map(|key| ((*key).to_owned(), message(key), Some(hint(key)))).collect()
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
    if let Some(hint) = choice_hint(path)
        && message.starts_with("invalid ")
    {
        return (format!("{subject} cannot be {}", shown(found)), Some(hint.into()));
    }
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    if let Some(expected) = expected
        && message.starts_with("invalid length ")
    {
        let length = found.as_array().map_or_else(String::new, |items| format!(", not {}", items.len()));
        let count = expected.rsplit(' ').next().unwrap_or_default();
        return (format!("{subject} has {count} elements{length}"), Some("write them as `[first, second]`".into()));
    }
    if let Some(expected) = expected
        && (message.starts_with("invalid type: ") || message.starts_with("invalid value: "))
    {
        if found.is_null() {
            return (format!("{subject} has no value"), Some(format!("write {}, or remove it", human(expected))));
        }
        let human = human(expected);
        return (format!("{subject} must be {human}, not {}", shown(found)), type_hint(&human, found));
    }
    // Errors of our own say what is wrong, then, behind a semicolon, what to write.
    let message = if path.0.is_empty() { message.to_owned() } else { format!("{subject}: {message}") };
    match message.split_once("; ") {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (message, None),
    }
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
