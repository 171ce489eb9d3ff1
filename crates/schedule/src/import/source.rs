//! A text as a tree of values that remembers where each stands, whatever it was written in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use squall_model::{Diagnostic, Diagnostics, Document, Path, Place, did_you_mean};

/// A tree of values with their places.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) value: Value,
    places: Places,
    /// Where in another text this one is: its path, and how many lines come before it.
    within: Path,
    lines_before: usize,
}

#[derive(Debug, Clone)]
enum Places {
    Yaml(Document),
    Toml(BTreeMap<String, Place>),
}

impl Source {
    pub(super) fn yaml(document: &Document) -> Self {
        let value = document.value.clone();
        Self { value, places: Places::Yaml(document.clone()), within: Path::default(), lines_before: 0 }
    }

    pub(super) fn toml(value: Value, places: BTreeMap<String, Place>) -> Self {
        Self { value, places: Places::Toml(places), within: Path::default(), lines_before: 0 }
    }

    /// As a part of another text.
    pub(super) fn within(mut self, path: Path, lines_before: usize) -> Self {
        (self.within, self.lines_before) = (path, lines_before);
        self
    }

    /// About what stands at a path.
    pub(super) fn at(&self, path: &Path, message: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
        let Place { line, column, span } = match &self.places {
            Places::Yaml(document) => document.key_place(path),
            Places::Toml(places) => {
                let nearest = (0..=path.0.len()).rev().find_map(|length| places.get(&Path(path.0[..length].to_vec()).to_string()));
                nearest.cloned().unwrap_or(Place { line: 1, column: 1, span: 0..0 })
            }
        };
        let hint = Some(hint.into()).filter(|hint: &String| !hint.is_empty());
        Diagnostic { message: message.into(), line: line + self.lines_before, column, span, path: self.within.join(path).to_string(), hint }
    }
}

/// A map of a source, whose keys are asked for one by one; at the end, those that nobody asked for are unknown.
pub(super) struct Section<'a> {
    source: &'a Source,
    pub(super) path: Path,
    map: &'a Map<String, Value>,
    asked: Vec<&'static str>,
    /// What is said about it and does not keep it from being read.
    pub(super) warnings: Diagnostics,
    /// What does.
    pub(super) errors: Diagnostics,
}

impl<'a> Section<'a> {
    /// The map at a path; none if there is none. What is not a map is an error of the `parent`.
    pub(super) fn new(source: &'a Source, path: &Path) -> Result<Option<Self>, Diagnostics> {
        let found = path.0.iter().try_fold(&source.value, |value, segment| match segment {
            squall_model::PathSegment::Key(key) => value.get(key),
            squall_model::PathSegment::Index(index) => value.get(index),
        });
        match found {
            None => Ok(None),
            Some(Value::Object(map)) => {
                Ok(Some(Self { source, path: path.clone(), map, asked: Vec::new(), warnings: Vec::new(), errors: Vec::new() }))
            }
            Some(_) => Err(vec![source.at(path, "here has to be a table of keys and values", "")]),
        }
    }

    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let path = if key.is_empty() { self.path.clone() } else { self.path.key(key) };
        self.warnings.push(self.source.at(&path, message, hint));
    }

    pub(super) fn error(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.errors.push(self.source.at(&self.path.key(key), message, hint));
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A value of one type; what is of another is an error.
    fn typed<T>(&mut self, key: &'static str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.value(key)?;
        let read = read(value);
        if read.is_none() {
            self.error(key, format!("`{key}` has to be {what}, not {value}"), "");
        }
        read
    }

    pub(super) fn truth(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.typed(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn number(&mut self, key: &'static str) -> Option<f64> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A whole number from 0 up to `most`.
    pub(super) fn whole(&mut self, key: &'static str, most: u32) -> Option<u32> {
        let number = self.typed(key, &format!("a whole number from 0 to {most}"), Value::as_u64)?;
        match u32::try_from(number).ok().filter(|number| *number <= most) {
            None => {
                self.error(key, format!("`{key}` has to be a whole number from 0 to {most}, not {number}"), "");
                None
            }
            found => found,
        }
    }

    /// A list of texts, or a text that is such a list in JSON, as Chaos Monkey takes it from elsewhere.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list = |items: &[Value]| items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
        self.typed(key, "a list of texts", |value| match value {
            Value::Array(items) => list(items),
            Value::String(text) => serde_json::from_str::<Vec<String>>(text).ok(),
            _ => None,
        })
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// How many things a list has.
    pub(super) fn length(&mut self, key: &'static str) -> usize {
        self.typed(key, "a list", Value::as_array).map_or(0, Vec::len)
    }

    /// Says of a key that it has no equivalent, unless it has the value that changes nothing.
    pub(super) fn without_equivalent(&mut self, key: &'static str, nothing: &[Value], why: &str) {
        if let Some(value) = self.value(key)
            && !nothing.contains(value)
        {
            self.warn(key, format!("`{key}` has no equivalent"), why);
        }
    }

    /// Notes keys that are read as sections of their own.
    pub(super) fn known(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    /// What is said about it, with the keys that are unknown. With any error, all of it is an error.
    pub(super) fn finish(mut self, into: &mut Diagnostics) -> Result<(), Diagnostics> {
        let unknown: Vec<String> = self.map.keys().filter(|key| !self.asked.contains(&key.as_str())).cloned().collect();
        for key in unknown {
            let hint = match did_you_mean(&key, self.asked.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? it was left out"),
                None => "it was left out".into(),
            };
            self.warn(&key, format!("unknown key `{key}`"), hint);
        }
        into.append(&mut self.warnings);
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }
}
