//! JSON Schema (draft 2020-12) of manifests, for editors and other programs: the types' own schemas with the kinds put in.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use squall_model::{Experiment, Policy};

use crate::Registry;

/// Where the published schemas are.
const BASE: &str = "https://squall.dev/schema/v1";

/// The schema of an experiment with every kind of fault, probe and target that the registry has.
pub fn experiment_schema(registry: &Registry) -> Value {
    let mut schema = document_schema::<Experiment>("experiment", "Squall experiment", registry);
    schema["examples"] = json!([example()]);
    schema
}

/// The schema of any document that people write: its type's own, with the registry's kinds wherever it has probes, targets or faults.
pub fn document_schema<T: JsonSchema>(name: &str, title: &str, registry: &Registry) -> Value {
    let mut schema = base::<T>(name, title);
    if let Some(Value::Object(definitions)) = schema.get_mut("$defs") {
        units(definitions);
        if definitions.contains_key("Probe") {
            probes(definitions, registry);
        }
        if definitions.contains_key("Target") {
            targets(definitions, registry);
        }
        for holder in ["Step", "MonkeyFault"] {
            if definitions.contains_key(holder) {
                faults(definitions, registry, holder);
            }
        }
        one_of(definitions, "Step", &["fault", "parallel", "sequence", "wait", "suspend"]);
        one_of(definitions, "Expectation", &["lt", "le", "gt", "ge", "eq", "ne", "between", "in", "matches"]);
        one_of(definitions, "RollbackAction", &["command", "http"]);
        one_of(definitions, "Traffic", &["http", "mix"]);
    }
    schema
}

/// The schema of a policy.
pub fn policy_schema() -> Value {
    let mut schema = base::<Policy>("policy", "Squall policy");
    if let Some(Value::Object(definitions)) = schema.get_mut("$defs") {
        units(definitions);
    }
    schema
}

fn base<T: JsonSchema>(name: &str, title: &str) -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    if let Value::Object(map) = &mut schema {
        map.insert("$id".into(), json!(format!("{BASE}/{name}.json")));
        map.insert("title".into(), json!(title));
        // For editors that have opened the file as YAML or JSON, and for the file's own reference to its schema.
        if let Some(Value::Object(properties)) = map.get_mut("properties")
            && let Some(Value::Object(metadata)) = properties.get_mut("metadata")
        {
            metadata.insert("examples".into(), json!([{ "name": "checkout-survives-slow-payments", "labels": { "team": "checkout" } }]));
        }
    }
    schema
}

/// A bare number is a quantity only where no unit is needed: zero.
fn units(definitions: &mut Map<String, Value>) {
    for name in ["Time", "Bytes"] {
        if let Some(Value::Object(definition)) = definitions.get_mut(name) {
            definition.insert("minimum".into(), json!(0));
            definition.insert("maximum".into(), json!(0));
        }
    }
    if let Some(Value::Object(definition)) = definitions.get_mut("Rate") {
        definition.insert("type".into(), json!("string"));
    }
    if let Some(Value::Object(definition)) = definitions.get_mut("Percent") {
        definition.insert("minimum".into(), json!(0));
        definition.insert("maximum".into(), json!(100));
    }
}

/// Puts a kind's schema among the definitions as `name`, with the definitions that it brings.
fn adopt(definitions: &mut Map<String, Value>, name: &str, schema: schemars::Schema, summary: &str, example: &str) -> Value {
    let mut schema = schema.to_value();
    let own = schema.as_object_mut().and_then(|map| map.remove("$defs"));
    let mut renames = Vec::new();
    if let Some(Value::Object(own)) = own {
        for (key, definition) in own {
            let clash = definitions
                .get(&key)
                .is_some_and(|known| known != &definition && !matches!(key.as_str(), "Time" | "Bytes" | "Rate" | "Percent"));
            let new = if clash { format!("{name}.{key}") } else { key.clone() };
            if clash {
                renames.push((format!("#/$defs/{key}"), format!("#/$defs/{new}")));
            }
            definitions.entry(new).or_insert(definition);
        }
    }
    rename(&mut schema, &renames);
    for (_, new) in &renames {
        if let Some(definition) = definitions.get_mut(new.trim_start_matches("#/$defs/")) {
            rename(definition, &renames);
        }
    }
    if let Value::Object(map) = &mut schema {
        map.remove("$schema");
        map.insert("title".into(), json!(name));
        let detail = map.get("description").and_then(Value::as_str).filter(|text| !text.is_empty()).map(|text| format!("\n\n{text}"));
        map.insert("description".into(), json!(format!("{summary}.{}", detail.unwrap_or_default())));
        if let Some(example) = example_value(name, example) {
            map.insert("examples".into(), json!([example]));
        }
    }
    definitions.insert(name.to_owned(), schema);
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn rename(value: &mut Value, renames: &[(String, String)]) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(text) if key == "$ref" => {
                        if let Some((_, new)) = renames.iter().find(|(old, _)| old == text) {
                            new.clone_into(text);
                        }
                    }
                    _ => rename(value, renames),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renames)),
        _ => {}
    }
}

/// The arguments within a kind's YAML example: under `with`, or under the kind's own key, however deep.
fn example_value(name: &str, example: &str) -> Option<Value> {
    let document = squall_model::Document::parse(example).ok()?;
    let key = name.split_once('.').map_or(name, |(_, last)| last);
    let key = if name.starts_with("fault.") { "with" } else { key };
    find_key(&document.value, key).cloned()
}

fn find_key<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|value| find_key(value, key))),
        Value::Array(items) => items.iter().find_map(|item| find_key(item, key)),
        _ => None,
    }
}

fn object<'a>(definitions: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    definitions.get_mut(name).and_then(Value::as_object_mut)
}

/// Exactly one of these fields.
fn one_of(definitions: &mut Map<String, Value>, name: &str, fields: &[&str]) {
    let choices: Vec<Value> = fields.iter().map(|field| json!({ "required": [field] })).collect();
    if let Some(definition) = object(definitions, name) {
        definition.insert("oneOf".into(), json!(choices));
    }
}

/// Adds kinds as fields, exactly one of them.
fn kinds(definitions: &mut Map<String, Value>, name: &str, required: &[&str], kinds: Vec<(&'static str, Value)>) {
    let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
    if let Some(definition) = object(definitions, name) {
        definition.insert("additionalProperties".into(), json!(false));
        definition.insert("required".into(), json!(required));
        if let Some(properties) = definition.get_mut("properties").and_then(Value::as_object_mut) {
            properties.extend(kinds.into_iter().map(|(kind, schema)| (kind.to_owned(), schema)));
        }
    }
    one_of(definitions, name, &names);
}

fn probes(definitions: &mut Map<String, Value>, registry: &Registry) {
    let mut found: Vec<(&'static str, Value)> = Vec::new();
    for kind in &registry.probes {
        let meta = kind.meta();
        found.push((meta.name, adopt(definitions, &format!("probe.{}", meta.name), kind.schema(), meta.summary, meta.example)));
    }
    kinds(definitions, "Probe", &["name"], found.clone());
    if definitions.contains_key("Compare") {
        comparisons(definitions, found);
    }
}

/// A comparison is a probe of each target, and more: it has to say what a good answer is.
fn comparisons(definitions: &mut Map<String, Value>, probes: Vec<(&'static str, Value)>) {
    // The load of a run tells nothing of one target.
    let compared = probes.into_iter().filter(|(name, _)| *name != "traffic");
    let compared = compared.map(|(name, schema)| (name, with_placeholders(definitions, name).unwrap_or(schema))).collect();
    kinds(definitions, "Compare", &["name", "expect"], compared);
    let Some(properties) = object(definitions, "Compare").and_then(|compare| compare.get_mut("properties")) else { return };
    properties["expect"] = json!({
        "$ref": "#/$defs/Expectation",
        "description": "What a good answer is. One that is not, or that does not come in time, counts as a bad one. Without `for`.",
    });
    properties["timeout"]["description"] =
        json!("When to give up on an answer; then it counts as a bad one. By default the smaller of `every` and 5 s, but at least 1 s.");
}

/// The arguments of a kind of probe in a comparison, where a placeholder may stand for a number; none where there are no numbers.
fn with_placeholders(definitions: &mut Map<String, Value>, kind: &str) -> Option<Value> {
    let mut schema = definitions.get(&format!("probe.{kind}"))?.clone();
    let mut numbers = false;
    for property in schema.get_mut("properties")?.as_object_mut()?.values_mut() {
        let is_number = |of: &Value| matches!(of.as_str(), Some("integer" | "number"));
        let number = property.get("type").is_some_and(|of| is_number(of) || of.as_array().is_some_and(|all| all.iter().any(is_number)));
        if number {
            numbers = true;
            let description = property.get("description").cloned().unwrap_or_default();
            let placeholder = json!({ "type": "string", "pattern": r"^\{\{.*\}\}$" });
            *property = json!({ "description": description, "anyOf": [property.take(), placeholder] });
        }
    }
    if !numbers {
        return None;
    }
    let name = format!("compare.{kind}");
    schema["title"] = json!(name);
    definitions.insert(name.clone(), schema);
    Some(json!({ "$ref": format!("#/$defs/{name}") }))
}

fn targets(definitions: &mut Map<String, Value>, registry: &Registry) {
    let mut found = Vec::new();
    for kind in &registry.targets {
        let meta = kind.meta();
        found.push((meta.name, adopt(definitions, &format!("target.{}", meta.name), kind.schema(), meta.summary, meta.example)));
    }
    let selectors: Vec<Value> = found.iter().map(|(_, schema)| schema.clone()).collect();
    kinds(definitions, "Target", &[], found);
    let except = json!({ "description": "Matches of this selector (of the same kind) are left alone.", "anyOf": selectors });
    if let Some(properties) = object(definitions, "Target").and_then(|target| target.get_mut("properties")).and_then(Value::as_object_mut) {
        properties.insert("except".into(), except);
    }
}

/// Ties `with` of whatever holds a fault to the fault's kind.
fn faults(definitions: &mut Map<String, Value>, registry: &Registry, holder: &str) {
    let mut rules = Vec::new();
    let mut names = Vec::new();
    for fault in &registry.faults {
        let meta = fault.meta();
        let with = adopt(definitions, &format!("fault.{}", meta.name), fault.schema(), meta.summary, meta.example);
        let needs_with =
            definitions[&format!("fault.{}", meta.name)].get("required").and_then(Value::as_array).is_some_and(|r| !r.is_empty());
        let mut required = vec!["fault"];
        if needs_with {
            required.push("with");
        }
        if meta.lasting {
            required.push("for");
        }
        if !meta.targets.contains(&"host") {
            required.push("target");
        }
        let is = json!({ "properties": { "fault": { "const": meta.name } }, "required": ["fault"] });
        rules.push(json!({ "if": is, "then": { "properties": { "with": with }, "required": required } }));
        names.push(json!({ "const": meta.name, "description": meta.summary }));
    }
    let Some(step) = object(definitions, holder) else { return };
    step.insert("allOf".into(), json!(rules));
    if let Some(Value::Object(fault)) = step.get_mut("properties").and_then(|properties| properties.get_mut("fault")) {
        let examples: Vec<Value> = names.iter().map(|name| name["const"].clone()).collect();
        *fault = Map::from_iter([
            ("description".to_owned(), fault.get("description").cloned().unwrap_or_default()),
            ("type".to_owned(), json!("string")),
            ("anyOf".to_owned(), json!(names)),
            ("examples".to_owned(), json!(examples)),
        ]);
    }
}

/// A whole experiment.
fn example() -> Value {
    json!({
        "apiVersion": "squall.dev/v1",
        "kind": "Experiment",
        "metadata": { "name": "checkout-survives-paused-payments" },
        "spec": {
            "hypothesis": {
                "statement": "Checkout answers while payments is paused.",
                "probes": [{ "name": "checkout", "http": { "url": "http://127.0.0.1:8080/health" }, "expect": { "eq": 200 } }]
            },
            "method": [{ "fault": "process.pause", "target": { "process": { "name": "payments" } }, "for": "10s" }]
        }
    })
}
