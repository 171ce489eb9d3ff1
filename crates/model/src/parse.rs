//! From text to an [`Experiment`] or a [`Policy`], with everything that can be checked without knowing the kinds.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::semantics::{self, Checker};
use crate::{Diagnostic, Diagnostics, Document, Experiment, Path, Policy, decode, nearest};

/// The one version of the manifest format that there is.
pub const API_VERSION: &str = "squall.dev/v1";

/// A manifest that may have errors, read as far as it goes.
#[derive(Debug)]
pub struct Reading<T> {
    /// The manifest. With errors it is a mended one, good only for finding more of them; none where that cannot be.
    pub value: Option<T>,
    /// The text with its places.
    pub document: Document,
    /// What is wrong so far, in order of place.
    pub diagnostics: Diagnostics,
    /// Where the manifest was mended: nothing at or below these paths is the user's.
    pub mended: Vec<Path>,
}

impl<T> Reading<T> {
    /// Adds what was found in the value, except about what the user did not write.
    pub fn add(&mut self, found: Diagnostics) {
        let mended: Vec<String> = self.mended.iter().map(ToString::to_string).collect();
        let is_mended = |path: &str| {
            mended
                .iter()
                .any(|mended| path.strip_prefix(mended.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
        };
        self.diagnostics.extend(found.into_iter().filter(|diagnostic| !is_mended(&diagnostic.path)));
        in_order(&mut self.diagnostics);
    }

    /// The manifest if nothing is wrong.
    pub fn finish(self) -> Result<(T, Document), Diagnostics> {
        match self.value {
            Some(value) if self.diagnostics.is_empty() => Ok((value, self.document)),
            _ => Err(self.diagnostics),
        }
    }
}

/// Reads and checks an experiment. The kinds of faults, probes and targets are checked by `squall-engine`.
pub fn parse_experiment(text: &str) -> Result<(Experiment, Document), Diagnostics> {
    read_experiment(text)?.finish()
}

/// Reads and checks a policy.
pub fn parse_policy(text: &str) -> Result<(Policy, Document), Diagnostics> {
    read::<Policy>(text, "Policy", semantics::policy)?.finish()
}

/// Reads a settings file: YAML without the header of a manifest. What is wrong comes with its place.
pub fn parse_settings<T: DeserializeOwned>(text: &str) -> Result<T, Diagnostics> {
    // Where every setting may be left out, all of them may.
    let says_nothing = text.trim_start_matches('\u{feff}').lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let document = Document::parse(if says_nothing { "{}" } else { text })?;
    let decoded = decode::<T>(&document.value, "the settings");
    let mut diagnostics: Diagnostics = decoded.problems.iter().map(|problem| problem.locate(&document, &Path::default())).collect();
    in_order(&mut diagnostics);
    match decoded.value {
        Some(value) if diagnostics.is_empty() => Ok(value),
        _ => Err(diagnostics),
    }
}

/// Reads an experiment as far as it goes. An error means that the text is not even YAML, or another kind of manifest.
pub fn read_experiment(text: &str) -> Result<Reading<Experiment>, Diagnostics> {
    read::<Experiment>(text, "Experiment", semantics::experiment)
}

fn read<T: DeserializeOwned + Serialize>(text: &str, kind: &str, check: fn(&T, &mut Checker<'_>)) -> Result<Reading<T>, Diagnostics> {
    let document = Document::parse(text)?;
    let mut diagnostics = header(&document, kind)?;
    let decoded = decode::<T>(&document.value, "the manifest");
    diagnostics.extend(decoded.problems.iter().map(|problem| problem.locate(&document, &Path::default())));
    if let Some(value) = &decoded.value {
        if decoded.problems.is_empty() {
            let again = serde_json::to_value(value).unwrap_or_default();
            lists_for_maps(&document, &document.value, &again, &Path::default(), &mut diagnostics);
        }
        let mut checker = Checker::new(&document, &decoded.mended);
        check(value, &mut checker);
        diagnostics.append(&mut checker.found);
    }
    in_order(&mut diagnostics);
    Ok(Reading { value: decoded.value, document, diagnostics, mended: decoded.mended })
}

/// serde takes a list for a struct, field by field. A reader of the manifest could not, so neither do we.
fn lists_for_maps(document: &Document, written: &Value, again: &Value, path: &Path, found: &mut Diagnostics) {
    match (written, again) {
        (Value::Array(_), Value::Object(_)) => {
            let hint = "write its fields by name, as `key: value`".to_owned();
            found.push(document.at(path, "here has to be a map (`key: value`), not a list", Some(hint)));
        }
        (Value::Array(written), Value::Array(again)) => {
            written.iter().zip(again).enumerate().for_each(|(i, (w, a))| lists_for_maps(document, w, a, &path.index(i), found));
        }
        (Value::Object(written), Value::Object(again)) => {
            let both = written.iter().filter_map(|(key, w)| again.get(key).map(|a| (key, w, a)));
            both.for_each(|(key, w, a)| lists_for_maps(document, w, a, &path.key(key), found));
        }
        _ => {}
    }
}

/// By place, each once.
fn in_order(diagnostics: &mut Diagnostics) {
    diagnostics.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
    diagnostics.dedup();
}

/// `apiVersion` and `kind`. A manifest of another kind is refused at once: its other fields would only be misunderstood.
fn header(document: &Document, kind: &str) -> Result<Diagnostics, Diagnostics> {
    let mut found = Vec::new();
    let root = Path::default();
    if document.value.is_array() {
        let hint = "one file holds one manifest: remove the `- `, or the brackets".to_owned();
        return Err(vec![document.at(&root, "the manifest is a list, and has to be a map (`key: value`)", Some(hint))]);
    }
    if let Some(Value::String(written)) = document.value.get("kind")
        && written != kind
    {
        let path = root.key("kind");
        if nearest(written, [kind]).is_none() {
            let article = if kind == "Experiment" { "an" } else { "a" };
            let kinds = ["Experiment", "Policy"];
            let hint = match nearest(written, kinds) {
                Some("Policy") => "a policy is given with `--policy`, not run".into(),
                Some(_) => "a policy starts with `kind: Policy`".into(),
                None => format!("Squall's own kinds are `Experiment` and `Policy`; write `kind: {kind}` here"),
            };
            return Err(vec![document.at(&path, format!("this is a `{written}`, not {article} `{kind}`"), Some(hint))]);
        }
        found.push(document.at(&path, format!("unknown kind `{written}`"), Some(format!("did you mean `{kind}`?"))));
    }
    if let Some(Value::String(written)) = document.value.get("apiVersion")
        && written != API_VERSION
    {
        let message = format!("unknown version `{written}`");
        let error: Diagnostic = document.at(&root.key("apiVersion"), message, Some(format!("this Squall reads `{API_VERSION}`")));
        if !written.starts_with("squall") && nearest(written, [API_VERSION]).is_none() {
            found.push(error);
            return Err(found);
        }
        found.push(error);
    }
    Ok(found)
}
