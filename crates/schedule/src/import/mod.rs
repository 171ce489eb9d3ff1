//! Reads what was written for Netflix's Chaos Monkey: its `chaosmonkey.toml`, the configuration of one application (as
//! Spinnaker keeps it), and a Kubernetes `ConfigMap` that holds either. What has no equivalent is named with its place, and so
//! is what nobody knows.
//!
//! ```
//! use squall_schedule::import::Import;
//!
//! let mut import = Import::new("prod");
//! import.read("[chaosmonkey]\nenabled = true\nschedule_enabled = true\naccounts = [\"production\"]\nstart_hour = 10\n").unwrap();
//! let imported = import.finish().unwrap();
//! assert_eq!(imported.monkey.spec.hours.from, "10:00");
//! assert!(imported.monkey.spec.leashed);
//! ```

mod app;
mod config_map;
mod source;
mod toml;

use std::collections::BTreeMap;

use serde_json::Value;
use source::Source;
use squall_model::{API_VERSION, Diagnostic, Diagnostics, Document, Metadata};

use crate::{GroupRule, Monkey, MonkeySpec};

/// A monkey, and what did not go into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The monkey. It is always on the leash: what it would let loose has no hypothesis yet.
    pub monkey: Monkey,
    /// What has no equivalent, what was decided for you, and what is unknown, each with its place.
    pub warnings: Diagnostics,
}

/// An import of one or more files into one monkey: `chaosmonkey.toml` for the hours, applications for their groups.
#[derive(Debug)]
pub struct Import {
    monkey: Monkey,
    warnings: Diagnostics,
    /// Whether somebody asked for it to be off the leash.
    unleashed: bool,
}

impl Import {
    /// Begins one, into a monkey of this name. Its defaults are Chaos Monkey's.
    pub fn new(name: &str) -> Self {
        let spec = MonkeySpec { time_zone: Some("America/Los_Angeles".into()), ..MonkeySpec::default() };
        let metadata = Metadata { name: name.into(), ..Metadata::default() };
        let monkey = Monkey { api_version: API_VERSION.into(), kind: "Monkey".into(), metadata, spec };
        Self { monkey, warnings: Vec::new(), unleashed: false }
    }

    /// Reads one more file, whichever of the three forms it has.
    pub fn read(&mut self, text: &str) -> Result<(), Diagnostics> {
        // TOML's tables and YAML's maps exclude each other: `[chaosmonkey]` alone on a line is a list to YAML.
        let is_table = |line: &str| line.trim_start().starts_with('[') && line.contains(']') && !line.trim_end().ends_with(',');
        let first = text.lines().find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')).unwrap_or_default();
        if is_table(first) || (first.contains('=') && !first.contains(':') && !first.trim_start().starts_with('{')) {
            return self.toml(text);
        }
        let document = Document::parse(text)?;
        if document.value.get("kind").and_then(Value::as_str) == Some("ConfigMap") {
            return self.config_map(&document);
        }
        self.app(Source::yaml(&document))
    }

    /// The monkey, and what did not go into it.
    pub fn finish(mut self) -> Result<Imported, Diagnostics> {
        let spec = &mut self.monkey.spec;
        if spec.groups.is_empty() {
            let by = ["app", "account", "cluster", "region"].map(str::to_owned).to_vec();
            spec.groups.push(GroupRule { name: "clusters".into(), by, ..GroupRule::default() });
            self.warnings.push(general(
                "no application is configured, so all are treated as Chaos Monkey does by default: by cluster and region, every two work days",
                "import the configuration of each application as well, or edit `groups`",
            ));
        }
        if self.unleashed {
            self.warnings.push(general(
                "Chaos Monkey was off the leash, and this monkey is on it",
                "write a `hypothesis` with probes, so that it is known what a kill breaks; then write `leashed: false`",
            ));
        }
        if spec.faults.is_empty() && spec.groups.iter().all(|group| group.faults.is_empty()) {
            self.warnings.push(general(
                "Chaos Monkey ends whole instances; which fault stands for that here is not known",
                "write it under `faults`, such as `fault: process.kill` with its `target`",
            ));
        }
        let wrong = self.monkey.check();
        if wrong.is_empty() {
            return Ok(Imported { monkey: self.monkey, warnings: self.warnings });
        }
        let located = |problem: squall_model::Problem| Diagnostic {
            path: problem.path.to_string(),
            hint: problem.hint,
            ..general(&problem.message, "")
        };
        Err(wrong.into_iter().map(located).collect())
    }
}

/// About the whole rather than about a place.
fn general(message: &str, hint: &str) -> Diagnostic {
    Diagnostic { message: message.into(), line: 1, column: 1, span: 0..0, path: String::new(), hint: Some(hint.into()) }
}

/// Labels that a host has to have, from the fields of an account or an exception. `*` says nothing, so it is left out, unless
/// nothing else is said.
fn labels(fields: [(&str, Option<String>); 4]) -> BTreeMap<String, String> {
    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.filter(|value| value != "*")?))).collect()
}
