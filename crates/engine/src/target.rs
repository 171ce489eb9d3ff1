//! What can be broken, and how it is found.

use std::collections::BTreeMap;
use std::future::Future;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ArgError;

/// One thing that can be broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// `process`, `host`, `proxy`…
    pub kind: String,
    /// Unique on the host and never reused: `process:1234:5678` is pid 1234 that started at tick 5678.
    pub id: String,
    /// For people: `payments (pid 1234)`.
    pub label: String,
    /// What faults need of it, as the kind's own type: `squall_sys::ProcessFacts` for processes, null for the host.
    pub facts: serde_json::Value,
}

/// The `facts` of a target that is on another host: what the server's engine has in place of the target itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placed {
    /// The host's name.
    pub host: String,
    /// The host's labels.
    pub labels: BTreeMap<String, String>,
    /// As the host itself knows it.
    pub target: Box<Target>,
}

impl Target {
    /// What it is known as on its own host.
    pub fn own_facts(&self) -> &serde_json::Value {
        self.facts.pointer("/target/facts").unwrap_or(&self.facts)
    }

    /// The value of a label of the host that the target is on; `host` is its name. Nothing for a target on this host.
    pub fn label_of_host(&self, label: &str) -> Option<&str> {
        let host = self.facts.get("host")?.as_str()?;
        let of_labels = self.facts.get("labels")?.get(label).and_then(serde_json::Value::as_str);
        if label == "host" { Some(host) } else { of_labels }
    }
}

/// A kind of target. Adding one is one file with this implementation and one entry in a list.
pub trait TargetKind: Send + Sync + 'static {
    /// What the user writes under the kind's key.
    type Selector: DeserializeOwned + JsonSchema + Send + Sync;

    /// Name, summary, example.
    const META: TargetMeta;

    /// Checks what the types cannot say.
    fn check(&self, selector: &Self::Selector) -> Vec<ArgError> {
        let _ = selector;
        Vec::new()
    }

    /// Every match, in a stable order. Never Squall itself, its ancestors or process 1.
    fn find(&self, selector: &Self::Selector) -> impl Future<Output = Result<Vec<Target>, FindError>> + Send;
}

/// What is said of a kind of target.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TargetMeta {
    /// The key in the manifest.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What may be said of one in the questions of a comparison.
    pub variables: &'static [Variable],
    /// One target, in YAML.
    pub example: &'static str,
}

/// Something that is known of a target and may be written as `{{target.NAME}}` in the questions of a comparison.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Where it is in the target's facts (JSON Pointer, RFC 6901).
    #[serde(skip)]
    pub place: &'static str,
    /// It is a number.
    pub number: bool,
    /// What it is.
    pub what: &'static str,
}

/// Targets could not be looked for. (Finding none is not an error here; the engine makes it one.)
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct FindError {
    /// What stands in the way.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}
