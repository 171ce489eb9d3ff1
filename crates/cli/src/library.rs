//! The ready experiments of `library/`, and the parameters that they (and any manifest) may have.
//!
//! A parameter is written `${name}` or `${name:-default}` wherever a value stands; a default that is given once counts for
//! every mention in the file. `$${` stands for a `${` that is no parameter. Values come from `--set name=value`.

mod parameters;

use std::collections::BTreeMap;

use squall_model::did_you_mean;

use crate::context::CliError;

pub use parameters::{Parameter, fill, parameters_of};

/// Values of parameters, by name.
pub type Values = BTreeMap<String, String>;

macro_rules! library {
    ($($name:literal),* $(,)?) => {
        /// Name and text of every ready experiment. A file that is not listed here fails a test.
        const ENTRIES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../../library/", $name, ".yaml")))),*];
    };
}

library![
    "process-kill",
    "process-restart",
    "process-pause",
    "process-crash-loop",
    "slow-start",
    "ramped-pause",
    "dependency-failure",
    "cascading-failure",
    "retry-storm",
    "cache-loss",
    "cpu-saturation",
    "cpu-host-saturation",
    "memory-pressure",
    "memory-leak",
    "memory-spike",
    "app-latency",
    "app-errors",
    "custom-command",
    "custom-http",
    "game-day-step",
    "conditional-step",
    "parallel-steps",
    "dependency-latency",
    "dependency-down",
    "half-open-stall",
    "error-storm",
    "slow-body",
    "throttled-function",
    "cut-stream",
    "data-drift",
    "expired-certificate",
    "dns-failure",
    "etcd-leader-partition",
    "postgres-standby-cut",
];

/// A ready experiment.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Entry {
    /// Its name: `metadata.name`, and the file's.
    pub name: String,
    /// What it is good for, in one sentence or two.
    pub description: String,
    /// For searching.
    pub tags: Vec<String>,
    /// What can be set.
    pub parameters: Vec<Parameter>,
    /// The file.
    #[serde(skip)]
    pub text: &'static str,
}

impl Entry {
    fn new(name: &str, text: &'static str) -> Self {
        let annotation = |key: &str| annotation(text, key).unwrap_or_default();
        let mut parameters = parameters_of(text);
        for parameter in &mut parameters {
            parameter.meaning = annotation(&format!("param.{}", parameter.name));
        }
        let tags = annotation("tags").split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
        Self { name: name.into(), description: annotation("description"), tags, parameters, text }
    }

    /// Whether a search finds it: every word in its name, description or tags.
    pub fn matches(&self, search: &str) -> bool {
        let text = format!("{} {} {}", self.name, self.description, self.tags.join(" ")).to_lowercase();
        search.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}

/// One of `metadata.annotations`, which the library's files write one a line. (Before its parameters are filled in, a file
/// need not be YAML that can be parsed.)
fn annotation(text: &str, key: &str) -> Option<String> {
    let annotations = text.lines().skip_while(|line| line.trim_end() != "  annotations:").skip(1);
    let mut inside = annotations.take_while(|line| line.starts_with("    "));
    let value = inside.find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(':'))?.trim();
    Some(value.trim_matches('"').to_owned())
}

/// Every ready experiment, in the library's order.
pub fn entries() -> Vec<Entry> {
    ENTRIES.iter().map(|(name, text)| Entry::new(name, text)).collect()
}

/// A ready experiment by its name.
pub fn find(name: &str) -> Result<Entry, CliError> {
    let found = ENTRIES.iter().find(|(known, _)| *known == name);
    found.map(|(name, text)| Entry::new(name, text)).ok_or_else(|| {
        let hint = match did_you_mean(name, ENTRIES.iter().map(|(known, _)| *known)) {
            Some(near) => format!("did you mean `{near}`? `squall library list` has them all"),
            None => "`squall library list` has them all".to_owned(),
        };
        CliError::usage(format!("the library has no experiment `{name}`"), hint)
    })
}

/// The text of a ready experiment with its parameters filled in.
pub fn load(name: &str, values: &Values) -> anyhow::Result<String> {
    let entry = find(name)?;
    fill(entry.text, values).map_err(|error| {
        let hint = format!("`squall library show {name}` tells what each parameter means");
        CliError::usage(format!("library:{name}: {error}"), hint).into()
    })
}

/// Reads `NAME=VALUE` pairs. The last of several with one name counts.
pub fn parameters(set: &[String]) -> anyhow::Result<Values> {
    let mut values = Values::new();
    for pair in set {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| parameters::is_name(name)) else {
            let hint = "write --set NAME=VALUE, such as --set process=payments".to_owned();
            return Err(CliError::usage(format!("`{pair}` does not set a parameter"), hint).into());
        };
        if value.chars().any(char::is_control) {
            let hint = "a value stands on one line; edit a copy of the file for more (`squall library new`)".to_owned();
            return Err(CliError::usage(format!("the value of `{name}` has a line break or another control character"), hint).into());
        }
        values.insert(name.to_owned(), value.to_owned());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_under_its_own_name() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../library");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .expect("the library")
            .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
            .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
            .collect();
        files.sort();
        let mut listed: Vec<String> = ENTRIES.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(listed, files);
        for (name, text) in ENTRIES {
            assert!(text.contains(&format!("\n  name: {name}\n")), "{name}: metadata.name is the file's");
        }
    }

    #[test]
    fn every_entry_explains_itself_and_each_of_its_parameters() {
        for entry in entries() {
            assert!(entry.description.len() > 20, "{}: description", entry.name);
            assert!(!entry.tags.is_empty(), "{}: tags", entry.name);
            for parameter in &entry.parameters {
                assert!(parameter.meaning.len() > 5, "{}: annotation `param.{}`", entry.name, parameter.name);
                assert!(parameter.default.is_some(), "{}: `{}` has a default that fits the demo shop", entry.name, parameter.name);
            }
            let explained = entry.text.lines().filter(|line| line.trim_start().starts_with("param.")).count();
            assert_eq!(explained, entry.parameters.len(), "{}: each explained parameter is used", entry.name);
        }
    }

    #[test]
    fn every_entry_is_a_good_manifest_as_it_is() {
        for (name, _) in ENTRIES {
            let text = load(name, &Values::new()).expect(name);
            if let Err(found) = squall_model::parse_experiment(&text) {
                panic!("{name}: {found:#?}");
            }
        }
    }

    #[test]
    fn a_wrong_name_gets_the_near_one() {
        let error = find("proces-kill").expect_err("there is none");
        assert_eq!(error.hint.as_deref(), Some("did you mean `process-kill`? `squall library list` has them all"));
    }

    #[test]
    fn values_are_pairs_on_one_line() {
        let values = parameters(&["a=1".into(), "b=x=y".into(), "a=2".into()]).expect("good");
        assert_eq!((values["a"].as_str(), values["b"].as_str()), ("2", "x=y"));
        assert!(parameters(&["a".into()]).is_err());
        assert!(parameters(&["a=1\nkind: Policy".into()]).is_err());
    }
}
