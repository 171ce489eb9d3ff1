//! From a JSON value to a type, with every error instead of the first.
//!
//! serde stops at the first error. Here each error is noted, the value is mended where it was found (an unknown field is
//! taken out, a value that does not fit is replaced by one that does), and reading starts again. What was mended is
//! remembered, so that nothing is said about values that the user did not write.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::words::{self, Complaint, ExtraKey};
use crate::{Diagnostic, Document, Path, PathSegment};

/// One thing that does not fit a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, from the root of what was decoded.
    pub path: Path,
    /// It is the key that is wrong (an unknown field), or what the key leads to lacks something.
    pub at_key: bool,
    /// What is wrong: a lower-case fragment that names the thing.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Problem {
    /// With its place, for a value that stands at `base` in the document.
    pub fn locate(&self, document: &Document, base: &Path) -> Diagnostic {
        let path = base.join(&self.path);
        if self.at_key {
            document.at_key(&path, self.message.clone(), self.hint.clone())
        } else {
            document.at(&path, self.message.clone(), self.hint.clone())
        }
    }
}

/// What came of reading a value as a type.
#[derive(Debug)]
pub struct Decoded<T> {
    /// The value. With problems it is the mended one, good only for finding more of them; none where it cannot be mended.
    pub value: Option<T>,
    /// Each thing that does not fit.
    pub problems: Vec<Problem>,
    /// Where the value was mended: nothing at or below these is the user's.
    pub mended: Vec<Path>,
}

/// Beyond this many, more messages help nobody.
const MAX_PROBLEMS: usize = 50;
/// Each round either reports or mends; a value that still does not fit after this many is left.
const MAX_ROUNDS: usize = 200;

/// Reads a value as a type, and says everything that does not fit. `root` is how messages call the value as a whole.
pub fn decode<T: DeserializeOwned>(json: &Value, root: &str) -> Decoded<T> {
    let mut decoder = Decoder { root, work: json.clone(), problems: Vec::new(), mended: Vec::new(), words: Vec::new() };
    let mut value = None;
    for _ in 0..MAX_ROUNDS {
        match attempt::<T>(&decoder.work) {
            Ok(good) => {
                value = Some(good);
                break;
            }
            Err((path, message)) => {
                if decoder.problems.len() >= MAX_PROBLEMS || !decoder.mend::<T>(&path, &message) {
                    break;
                }
            }
        }
    }
    Decoded { value, problems: decoder.problems, mended: decoder.mended }
}

fn attempt<T: DeserializeOwned>(json: &Value) -> Result<T, (Path, String)> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let mut path = Path::default();
        for segment in error.path() {
            match segment {
                serde_path_to_error::Segment::Seq { index } => path = path.index(*index),
                serde_path_to_error::Segment::Map { key } => path = path.key(key),
                // `percent` in `select: { percent: 30% }` is a key of the text too.
                serde_path_to_error::Segment::Enum { variant } => {
                    if get(json, &path).is_some_and(|value| value.get(variant).is_some()) {
                        path = path.key(variant);
                    }
                }
                serde_path_to_error::Segment::Unknown => break,
            }
        }
        (path, error.inner().to_string())
    })
}

struct Decoder<'a> {
    root: &'a str,
    work: Value,
    problems: Vec<Problem>,
    mended: Vec<Path>,
    /// Words that fit at a place, as far as errors have told.
    words: Vec<(Path, Vec<String>)>,
}

impl Decoder<'_> {
    fn is_mended(&self, path: &Path) -> bool {
        self.mended.iter().any(|mended| path.starts_with(mended))
    }

    fn report(&mut self, path: &Path, at_key: bool, message: String, hint: Option<String>) {
        if !self.is_mended(path) {
            self.problems.push(Problem { path: path.clone(), at_key, message, hint });
        }
    }

    /// Notes the error and mends the value; false where that cannot be done.
    fn mend<T: DeserializeOwned>(&mut self, path: &Path, message: &str) -> bool {
        let found = get(&self.work, path).cloned().unwrap_or_default();
        match words::complaint(self.root, path, message, &found) {
            Complaint::Unknown { message, hint, meant } => {
                self.report(path, true, message, hint);
                // The field that was meant is not missing: it is misspelt.
                self.mended.extend(meant.map(|meant| path.parent().key(&meant)));
                remove(&mut self.work, path)
            }
            Complaint::Extra { keys } => keys.into_iter().all(|ExtraKey { key, message, hint, meant }| {
                self.report(&path.key(&key), true, message, hint);
                self.mended.extend(meant.map(|meant| path.key(&meant)));
                remove(&mut self.work, &path.key(&key))
            }),
            Complaint::Missing { field, message, hint } => {
                let full = path.key(&field);
                if !self.is_mended(&full) {
                    self.report(path, true, message, hint);
                    self.mended.push(full.clone());
                }
                self.fill::<T>(&full)
            }
            Complaint::Misfit { message: said, hint, words } => {
                // A second complaint about the same place means that taking it out did not help.
                let again = self.mended.contains(path);
                // A value that no longer fits because of what was taken out of it was the user's fault only once.
                let fallout = message.starts_with("invalid ") && self.mended.iter().any(|mended| mended.starts_with(path));
                if !fallout {
                    self.report(path, false, said, hint);
                }
                self.words.push((path.clone(), words));
                if !again {
                    self.mended.push(path.clone());
                }
                match path.0.last() {
                    None => false,
                    Some(PathSegment::Key(_)) if !again => remove(&mut self.work, path),
                    Some(_) => self.fill::<T>(path),
                }
            }
        }
    }

    /// Puts in a value that fits well enough for reading to go on past it.
    fn fill<T: DeserializeOwned>(&mut self, path: &Path) -> bool {
        let words = self.words.iter().filter(|(at, _)| at == path).flat_map(|(_, words)| words.iter().take(1)).map(|word| json!(word));
        let mut candidates: Vec<Value> = words.collect();
        candidates.extend([
            json!("x"),
            json!({}),
            json!([]),
            json!("1s"),
            json!(1),
            json!("1/s"),
            json!("1MiB"),
            json!("1%"),
            json!(true),
            json!({ "process": {} }),
            json!({ "name": "x", "http": {} }),
        ]);
        for candidate in candidates {
            if !set(&mut self.work, path, candidate) {
                return false;
            }
            // An error elsewhere, or of a field that can be filled in its turn, is a step forward.
            match attempt::<T>(&self.work) {
                Ok(_) => return true,
                Err((at, _)) if !at.starts_with(path) => return true,
                Err((_, message)) if message.starts_with("missing field") => return true,
                Err(_) => {}
            }
        }
        false
    }
}

fn get<'a>(value: &'a Value, path: &Path) -> Option<&'a Value> {
    path.0.iter().try_fold(value, |value, segment| match segment {
        PathSegment::Key(key) => value.get(key),
        PathSegment::Index(index) => value.get(index),
    })
}

fn get_mut<'a>(value: &'a mut Value, segments: &[PathSegment]) -> Option<&'a mut Value> {
    segments.iter().try_fold(value, |value, segment| match segment {
        PathSegment::Key(key) => value.get_mut(key),
        PathSegment::Index(index) => value.get_mut(index),
    })
}

fn remove(value: &mut Value, path: &Path) -> bool {
    let Some((PathSegment::Key(key), parents)) = path.0.split_last() else { return false };
    get_mut(value, parents).and_then(Value::as_object_mut).is_some_and(|map| map.shift_remove(key).is_some())
}

fn set(value: &mut Value, path: &Path, new: Value) -> bool {
    let Some((last, parents)) = path.0.split_last() else { return false };
    let Some(parent) = get_mut(value, parents) else { return false };
    match (last, parent) {
        (PathSegment::Key(key), Value::Object(map)) => {
            map.insert(key.clone(), new);
            true
        }
        (PathSegment::Index(index), Value::Array(items)) => items.get_mut(*index).map(|item| *item = new).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Experiment, Select};

    fn messages(json: &Value) -> Vec<String> {
        decode::<Experiment>(json, "the manifest").problems.into_iter().map(|p| format!("{}: {}", p.path, p.message)).collect()
    }

    #[test]
    fn every_error_is_found_and_none_that_only_follows_from_another() {
        let found = messages(&json!({
            "apiVersion": "squall.dev/v1", "kind": "Experiment",
            "metadata": { "name": 5, "label": {} },
            "spec": {
                "hypothesis": { "statement": "x", "probes": ["nonsense", { "name": "a", "http": {}, "expct": {} }, { "tcp": {} }] },
                "method": { "fault": "x" },
                "traffic": [{ "name": "t", "rate": 5 }, { "name": "u" }],
                "guards": [{ "probe": "a", "abort": { "gt": "5x" } }],
                "surprise": 1,
            },
        }));
        assert_eq!(
            found,
            [
                "metadata.name: `name` must be a text, not the number 5",
                "metadata.label: unknown field `label`",
                "spec.hypothesis.probes[0]: element 1 of `probes` must be a probe: `name`, a kind such as `http`, and `expect`, not the text `nonsense`",
                "spec.hypothesis.probes[1].expct: unknown field `expct`",
                "spec.hypothesis.probes[2]: `name` is missing",
                "spec.method: `method` must be a list, not a map",
                "spec.traffic[0].rate: `rate`: `5` has no unit",
                "spec.traffic[1]: `rate` is missing",
                "spec.guards[0].abort.gt: `gt`: `x` in `5x` is not a known unit",
                "spec.surprise: unknown field `surprise`",
            ]
        );
    }

    #[test]
    fn a_choice_is_told_by_its_key() {
        let decoded = decode::<Select>(&json!({ "percent": "200%" }), "`select`");
        assert_eq!(decoded.problems[0].path.to_string(), "percent");
    }

    #[test]
    fn what_follows_a_misspelt_choice_is_still_read() {
        let spec = json!({ "windows": [{ "days": ["Tuesday"], "from": "9", "to": "10" }, { "from": "9" }], "cap": {} });
        let found: Vec<String> = decode::<crate::PolicySpec>(&spec, "`spec`").problems.into_iter().map(|p| p.path.to_string()).collect();
        assert_eq!(found, ["windows[0].days[0]", "windows[1]", "cap"]);
    }

    #[test]
    fn nothing_at_all_is_one_error() {
        assert_eq!(messages(&json!(null)).len(), 1);
        assert_eq!(messages(&json!([])).len(), 1);
    }
}
