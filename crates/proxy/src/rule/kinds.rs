//! Every kind of fault that a rule may name, for references and for experiments.

use schemars::Schema;
use serde_json::Value;

use crate::{data, http, stream, tls};

/// A kind of fault that a rule may name.
#[derive(Debug, Clone)]
pub struct RuleKind {
    /// `http.abort`; what stands before the point is its family.
    pub name: &'static str,
    /// What it does, in a sentence or more.
    pub description: String,
    /// Settings of an example, `status: 503`; empty for one that can do without.
    pub with: &'static str,
    /// What stands beside the settings in the example: `percent: 10%`; mostly nothing.
    pub choice: &'static str,
    /// The JSON Schema of its settings.
    pub schema: Schema,
}

/// Settings of examples, and what stands beside them. Those that cannot do without have one, and who shows more with some.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("http.delay", "delay: 500ms", ""),
    ("http.abort", "status: 503", "percent: 10%"),
    ("http.headers", "response: { set: { cache-control: no-store } }", ""),
    ("http.query", "remove: [page]", ""),
    ("http.body", "merge: { price: null }", ""),
    ("http.truncate", "after: 1KB", ""),
    ("http.length", "by: 10", ""),
    ("http.slowBody", "perSecond: 1KB", ""),
    ("http.rateLimit", "rate: 10/s", ""),
    ("function.coldStart", "delay: 3s", ""),
    ("stream.firstTokenDelay", "delay: 3s", ""),
    ("stream.slowTokens", "every: 200ms", ""),
    ("stream.stall", "after: 3", ""),
    ("stream.finishByLength", "after: 5", ""),
    ("data.drift", "fields: [/price], scale: 1.1", ""),
    ("data.missing", "fields: [/price]", ""),
    ("data.adversarial", "fields: [/name]", ""),
    ("data.invalid", "fields: [/price]", ""),
    ("data.stale", "by: 1h", ""),
    ("tls.expired", "ago: 1h", "percent: 10%"),
];

/// The names of all kinds, family by family, each with what makes the kind: schemas take longer to make than most programs need
/// them.
pub(crate) fn listed() -> impl Iterator<Item = (&'static str, Box<dyn FnOnce() -> RuleKind + Send>)> {
    let http = http::KINDS.iter().map(|kind| lazy(kind.name, None, kind.schema));
    let bodies = [stream::KINDS, stream::MODEL_KINDS, data::KINDS].into_iter().flatten().map(|kind| lazy(kind.name, None, kind.schema));
    let tls = tls::KINDS.iter().map(|kind| lazy(kind.name, Some(kind.summary), || kind.schema()));
    http.chain(bodies).chain(tls)
}

fn lazy(
    name: &'static str,
    summary: Option<&'static str>,
    schema: impl FnOnce() -> Schema + Send + 'static,
) -> (&'static str, Box<dyn FnOnce() -> RuleKind + Send>) {
    (name, Box::new(move || RuleKind::new(name, summary, schema())))
}

/// The names of all kinds, family by family.
pub fn names() -> impl Iterator<Item = &'static str> {
    listed().map(|(name, _)| name)
}

/// Every kind, family by family.
pub fn kinds() -> Vec<RuleKind> {
    listed().map(|(_, make)| make()).collect()
}

impl RuleKind {
    fn new(name: &'static str, summary: Option<&str>, schema: Schema) -> Self {
        let described = summary.or_else(|| schema.get("description").and_then(Value::as_str)).unwrap_or(name);
        let description = format!("{}.", described.lines().collect::<Vec<_>>().join(" ").trim_end_matches('.'));
        let (_, with, choice) = EXAMPLES.iter().find(|(kind, ..)| *kind == name).copied().unwrap_or((name, "", ""));
        Self { name, description, with, choice, schema }
    }

    /// The first sentence of its description, without the full stop.
    pub fn summary(&self) -> &str {
        self.description.split(". ").next().unwrap_or_default().trim_end_matches('.')
    }

    /// A rule, in YAML.
    pub fn example(&self) -> String {
        let with = if self.with.is_empty() { String::new() } else { format!(", with: {{ {} }}", self.with) };
        let choice = if self.choice.is_empty() { String::new() } else { format!(", {}", self.choice) };
        format!("{{ fault: {}{with}{choice} }}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::RuleSpec;
    use crate::server::Layers;
    use crate::tls::AuthorityDir;

    #[test]
    fn every_kind_is_listed_once_described_and_its_example_can_be_carried_out() {
        let authority = AuthorityDir::in_memory();
        let kinds = kinds();
        for kind in &kinds {
            assert!(kind.summary().len() > 10 && kind.description.ends_with('.'), "{}: {}", kind.name, kind.description);
            let value = squall_model::Document::parse(&kind.example()).unwrap().value;
            let rule: RuleSpec = serde_json::from_value(value).unwrap();
            Layers::compile("p", 1, &authority, &[rule], None, None).unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        }
        let mut names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), kinds.len());
        assert!(EXAMPLES.iter().all(|(name, ..)| names.contains(name)));
    }
}
