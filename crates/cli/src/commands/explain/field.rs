//! Fields of manifests, explained from their schema, with the part of a whole example that shows them.

use serde_json::Value;
use squall_engine::{Registry, experiment_schema, policy_schema};
use squall_model::{Document, Path};

use super::topic::{Entry, Fact, Section, Topic};

/// Every field of an experiment, used.
pub(super) const EXPERIMENT: &str = include_str!("example.yaml");
/// Every field of a policy, used.
pub(super) const POLICY: &str = include_str!("policy.yaml");

/// The field at a path such as `spec.method.ramp` or `policy.spec.caps`; indices of lists may be left out.
pub(super) fn find(name: &str, registry: &Registry) -> Option<Topic> {
    let (root, path, example) = match name.split_once('.').map_or((name, ""), |(first, rest)| (first, rest)) {
        ("experiment", rest) => (experiment_schema(registry), rest, EXPERIMENT),
        ("policy", rest) => (policy_schema(), rest, POLICY),
        _ => (experiment_schema(registry), name, EXPERIMENT),
    };
    let keys: Vec<&str> = path.split(['.', '[', ']']).filter(|key| !key.is_empty() && key.parse::<usize>().is_err()).collect();
    let mut field = Field { schema: &root, root: &root, required: true };
    for key in &keys {
        field = field.child(key)?;
    }
    let mut facts = vec![Fact { name: "type", value: field.kind() }];
    if !keys.is_empty() {
        facts.push(Fact { name: "required", value: if field.required { "yes" } else { "no" }.into() });
    }
    if let Some(default) = field.schema.get("default").filter(|default| !is_nothing(default)) {
        facts.push(Fact { name: "default", value: shown(default) });
    }
    let entries = field.entries();
    let choices = field.choices();
    let mut sections = Vec::new();
    for (title, entries) in [("Fields", entries), ("Values", choices)] {
        if !entries.is_empty() {
            sections.push(Section { title: title.into(), entries });
        }
    }
    Some(Topic { name: name.to_owned(), text: field.description(), facts, sections, example: snippet(example, &keys) })
}

/// The fields of a schema of its own, such as a fault's arguments.
pub(super) fn entries(schema: &Value) -> Vec<Entry> {
    Field { schema, root: schema, required: true }.entries()
}

#[derive(Clone, Copy)]
struct Field<'a> {
    /// As it stands at the field: with its description and default, before references are followed.
    schema: &'a Value,
    root: &'a Value,
    required: bool,
}

impl<'a> Field<'a> {
    /// Past references, `null` and lists of one schema.
    fn resolved(&self) -> &'a Value {
        let mut schema = self.schema;
        // Schemas do not nest deeper than manifests; a cycle of references would.
        for _ in 0..32 {
            if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
                match self.root.get("$defs").and_then(|definitions| definitions.get(name)) {
                    Some(definition) => schema = definition,
                    None => return schema,
                }
            } else if let Some(only) = only_choice(schema) {
                schema = only;
            } else {
                return schema;
            }
        }
        schema
    }

    /// What a list holds, for a list; otherwise the field itself.
    fn element(&self) -> &'a Value {
        let resolved = self.resolved();
        match resolved.get("items") {
            Some(items) => Field { schema: items, ..*self }.resolved(),
            None => resolved,
        }
    }

    fn child(&self, key: &str) -> Option<Self> {
        let element = self.element();
        if let Some(schema) = element.get("properties").and_then(|properties| properties.get(key)) {
            let required = element.get("required").and_then(Value::as_array).is_some_and(|list| list.iter().any(|name| name == key));
            return Some(Field { schema, root: self.root, required });
        }
        // Choices such as `{ percent: 30% }` have one property each.
        let choices = element.get("oneOf").and_then(Value::as_array)?;
        let schema = choices.iter().find_map(|choice| choice.get("properties")?.get(key))?;
        Some(Field { schema, root: self.root, required: false })
    }

    fn entries(&self) -> Vec<Entry> {
        let Some(properties) = self.element().get("properties").and_then(Value::as_object) else { return Vec::new() };
        let entry = |key: &String| {
            let field = self.child(key)?;
            let mut note = field.kind();
            if field.required {
                note.push_str(", required");
            }
            if let Some(default) = field.schema.get("default").filter(|default| !default.is_null()) {
                note = format!("{note}, default {}", shown(default));
            }
            Some(Entry { name: key.clone(), text: first_sentence(&field.description()), note })
        };
        properties.keys().filter_map(entry).collect()
    }

    /// The words and small maps that the field can be.
    fn choices(&self) -> Vec<Entry> {
        let element = self.element();
        let Some(choices) = element.get("oneOf").or_else(|| element.get("anyOf")).and_then(Value::as_array) else { return Vec::new() };
        let entry = |choice: &Value| {
            let text = choice.get("description").and_then(Value::as_str).map(first_sentence).unwrap_or_default();
            let names: Vec<String> = match (choice.get("const"), choice.get("enum"), choice.get("properties").and_then(Value::as_object)) {
                (Some(word), ..) => vec![shown(word)],
                (_, Some(Value::Array(words)), _) => vec![words.iter().map(shown).collect::<Vec<_>>().join(", ")],
                (.., Some(properties)) => properties.keys().map(|key| format!("{{ {key}: … }}")).collect(),
                _ => Vec::new(),
            };
            names.into_iter().map(move |name| Entry { name, text: text.clone(), note: String::new() }).collect::<Vec<_>>()
        };
        choices.iter().flat_map(entry).collect()
    }

    fn description(&self) -> String {
        let own = self.schema.get("description").or_else(|| self.resolved().get("description"));
        // Line breaks within a paragraph are the source's.
        let text = own.and_then(Value::as_str).unwrap_or_default();
        text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
    }

    fn kind(&self) -> String {
        let resolved = self.resolved();
        let named = self.schema.get("$ref").or_else(|| only_choice(self.schema).and_then(|only| only.get("$ref")));
        match named.and_then(Value::as_str).and_then(|name| name.rsplit('/').next()) {
            Some("Time") => return "time".into(),
            Some("Bytes") => return "amount of data".into(),
            Some("Rate") => return "rate".into(),
            Some("Percent") => return "percentage".into(),
            Some("Quantity") => return "quantity".into(),
            _ => {}
        }
        if let Some(items) = resolved.get("items") {
            return format!("list of {}", Field { schema: items, ..*self }.kind());
        }
        if resolved.get("oneOf").is_some() && resolved.get("properties").is_none() {
            return "a choice".into();
        }
        if resolved.get("enum").is_some() || resolved.get("const").is_some() {
            return "a word".into();
        }
        let word = |kind: &str| match kind {
            "string" => Some("text"),
            "integer" => Some("whole number"),
            "number" => Some("number"),
            "boolean" => Some("true or false"),
            "object" => Some("map"),
            "array" => Some("list"),
            _ => None,
        };
        let kinds: Vec<&str> = match resolved.get("type") {
            Some(Value::String(kind)) => word(kind).into_iter().collect(),
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).filter_map(word).collect(),
            _ => Vec::new(),
        };
        if kinds.is_empty() { "any value".into() } else { kinds.join(" or ") }
    }
}

/// The one schema of an `anyOf` or `allOf` besides `null`.
fn only_choice(schema: &Value) -> Option<&Value> {
    let choices = schema.get("anyOf").or_else(|| schema.get("allOf"))?.as_array()?;
    let mut real = choices.iter().filter(|choice| choice.get("type").is_none_or(|kind| kind != "null") && choice.get("if").is_none());
    real.next().filter(|_| real.next().is_none())
}

pub(super) fn first_sentence(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    paragraph.split_inclusive(". ").next().unwrap_or_default().trim().to_owned()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A default that needs no telling.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The lines of an example that show a field.
fn snippet(example: &str, keys: &[&str]) -> Option<String> {
    if keys.is_empty() {
        return Some(example.to_owned());
    }
    let document = Document::parse(example).ok()?;
    let path = locate(&document.value, keys, &Path::default())?;
    let (key, value) = (document.key_place(&path), document.place(&path));
    let start = example[..key.span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = example[value.span.end..].find('\n').map_or(example.len(), |at| value.span.end + at);
    let lines: Vec<&str> = example[start..end].lines().collect();
    let indent = lines.iter().filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    Some(lines.into_iter().map(|line| line.get(indent..).unwrap_or_default()).collect::<Vec<_>>().join("\n"))
}

/// The first place where the keys lead, through any elements of lists.
fn locate(value: &Value, keys: &[&str], path: &Path) -> Option<Path> {
    if let Value::Array(items) = value {
        return items.iter().enumerate().find_map(|(i, item)| locate(item, keys, &path.index(i)));
    }
    match keys.split_first() {
        None => Some(path.clone()),
        Some((key, rest)) => locate_key(value, key, rest, path),
    }
}

fn locate_key(value: &Value, key: &str, rest: &[&str], path: &Path) -> Option<Path> {
    let found = value.get(key)?;
    let path = path.key(key);
    if rest.is_empty() { Some(path) } else { locate(found, rest, &path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::explain::topic;
    use crate::registry::registry;

    #[test]
    fn the_examples_are_valid() {
        let errors = squall_engine::validate_experiment(EXPERIMENT, &registry()).map(drop).err().unwrap_or_default();
        assert!(errors.is_empty(), "{errors:#?}");
        let errors = squall_model::parse_policy(POLICY).map(drop).err().unwrap_or_default();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    /// Every path that a schema has, without following steps into steps.
    fn paths(field: Field<'_>, prefix: &str, depth: usize, out: &mut Vec<String>) {
        for entry in field.entries() {
            let path = if prefix.is_empty() { entry.name.clone() } else { format!("{prefix}.{}", entry.name) };
            out.push(path.clone());
            if depth > 0 && !matches!(entry.name.as_str(), "parallel" | "sequence") {
                paths(field.child(&entry.name).expect("a field"), &path, depth - 1, out);
            }
        }
    }

    #[test]
    fn every_field_is_described_and_those_of_the_manifest_itself_have_an_example() {
        let registry = registry();
        let root = experiment_schema(&registry);
        let mut all = Vec::new();
        paths(Field { schema: &root, root: &root, required: true }, "", 4, &mut all);
        assert!(all.len() > 60, "{all:?}");
        for path in all {
            let topic = topic::find(&path, &registry).unwrap_or_else(|| panic!("no topic {path}"));
            assert!(!topic.text.is_empty(), "{path} is not described");
        }
        for path in [
            "spec.method.ramp",
            "spec.method.ramp.percent",
            "spec.guards.unmeasurable",
            "spec.method[0].target.select",
            "policy.spec.freezes.reason",
        ] {
            assert!(topic::find(path, &registry).and_then(|topic| topic.example).is_some(), "{path}");
        }
    }

    #[test]
    fn every_topic_of_the_list_is_explained() {
        let registry = registry();
        for name in topic::names(&registry) {
            assert!(topic::find(&name, &registry).is_some_and(|topic| !topic.text.is_empty()), "{name}");
        }
        assert!(topic::find("spec.methud", &registry).is_none());
    }

    #[test]
    fn a_field_is_shown_with_its_part_of_the_example() {
        assert_eq!(snippet(EXPERIMENT, &["spec", "method", "ramp"]).as_deref(), Some("ramp: { percent: [10%, 50%, 100%], every: 30s }"));
        assert_eq!(
            snippet(EXPERIMENT, &["spec", "guards"]).as_deref(),
            Some("guards:\n  - probe: checkout p99\n    abort: { gt: 2s, for: 3s }\n    unmeasurable: { abortAfter: 10s }")
        );
    }
}
