//! What can be explained.

use serde::Serialize;
use squall_engine::{Registry, Undone};
use squall_model::Verdict;
use squall_proxy::Toxic;
use squall_proxy::rule::RuleSpec;
use squall_proxy::tls::TlsSpec;

use super::field;
use crate::context::exit;

/// One thing explained.
#[derive(Debug, Serialize)]
pub(super) struct Topic {
    /// As it is asked for.
    pub(super) name: String,
    /// What it is.
    pub(super) text: String,
    /// Single facts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) facts: Vec<Fact>,
    /// Lists, such as fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sections: Vec<Section>,
    /// In YAML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) example: Option<String>,
}

/// A single fact.
#[derive(Debug, Serialize)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// A list under a title.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) entries: Vec<Entry>,
}

/// One line of a list.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) text: String,
    /// Type, default, whether it is required.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
}

impl Entry {
    fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), note: String::new() }
    }
}

impl Topic {
    fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into(), facts: Vec::new(), sections: Vec::new(), example: None }
    }

    fn section(mut self, title: &str, entries: Vec<Entry>) -> Self {
        if !entries.is_empty() {
            self.sections.push(Section { title: title.into(), entries });
        }
        self
    }
}

/// Every topic but the fields.
pub(super) fn names(registry: &Registry) -> Vec<String> {
    let fixed =
        ["experiment", "policy", "faults", "probes", "targets", "verdicts", "exit-codes", "toxics", "rules", "tls"].map(str::to_owned);
    let faults = registry.faults.iter().map(|kind| kind.meta().name.to_owned());
    let probes = registry.probes.iter().map(|kind| format!("probes.{}", kind.meta().name));
    let targets = registry.targets.iter().map(|kind| format!("targets.{}", kind.meta().name));
    let toxics = Toxic::TYPES.iter().map(|name| format!("toxics.{name}"));
    fixed.into_iter().chain(faults).chain(probes).chain(targets).chain(toxics).collect()
}

/// The topic by its name; the empty name is the list of them.
pub(super) fn find(name: &str, registry: &Registry) -> Option<Topic> {
    match name {
        "" => return Some(index(registry)),
        "faults" => {
            return Some(Topic::new(name, "Kinds of failure: `fault:` in a step of the method.").section("Faults", faults(registry)));
        }
        "probes" => {
            let text = "Kinds of measurement: the one key of a probe that is not `name`, `expect`, `every` or `timeout`.";
            return Some(Topic::new(name, text).section("Probes", probes(registry)));
        }
        "targets" => {
            let text = "Kinds of thing that a fault is applied to: the one key of a target that is not `select` or `except`.";
            return Some(Topic::new(name, text).section("Targets", targets(registry)));
        }
        "verdicts" => return Some(Topic::new(name, "How a run ends, with the exit code of `squall run`.").section("Verdicts", verdicts())),
        "toxics" => {
            let text = "Faults on the bytes of a proxy's connections: `squall proxy --toxic`, files, and Toxiproxy's API.";
            return Some(Topic::new(name, text).section("Toxics", toxics()));
        }
        "rules" => return Some(rules(registry)),
        "tls" => {
            let topic = described(name, &schemars::schema_for!(TlsSpec).to_value());
            return Some(Topic { example: Some("squall proxy --upstream localhost:8080 --tls upstream=plain".into()), ..topic });
        }
        "exit-codes" => return Some(Topic::new(name, "What the exit codes mean.").section("Exit codes", exit_codes())),
        _ => {}
    }
    let kind = fault(name, registry).or_else(|| probe(name, registry)).or_else(|| target(name, registry));
    kind.or_else(|| toxic(name)).or_else(|| field::find(name, registry))
}

fn index(registry: &Registry) -> Topic {
    let general = vec![
        Entry::new("experiment", "the manifest that `squall run` reads, as a whole"),
        Entry::new("policy", "the limits of a host, as a whole"),
        Entry::new("verdicts", "how a run ends"),
        Entry::new("exit-codes", "what scripts can rely on"),
        Entry::new("rules", "what a rule of a proxy may have: matching, percentage, sticky keys"),
        Entry::new("tls", "the `tls` block of a proxy"),
        Entry::new("spec.method.ramp", "any field of an experiment, by its path; of a policy, as `policy.spec.caps`"),
    ];
    Topic::new("topics", "What `squall explain TOPIC` can explain.")
        .section("General", general)
        .section("Faults", faults(registry))
        .section("Probes", probes(registry))
        .section("Targets", targets(registry))
        .section("Toxics of a proxy", toxics())
}

fn faults(registry: &Registry) -> Vec<Entry> {
    registry.faults.iter().map(|kind| Entry::new(kind.meta().name, kind.meta().summary)).collect()
}

fn probes(registry: &Registry) -> Vec<Entry> {
    registry.probes.iter().map(|kind| Entry::new(format!("probes.{}", kind.meta().name), kind.meta().summary)).collect()
}

fn targets(registry: &Registry) -> Vec<Entry> {
    registry.targets.iter().map(|kind| Entry::new(format!("targets.{}", kind.meta().name), kind.meta().summary)).collect()
}

fn toxics() -> Vec<Entry> {
    let entry = |name: &&str| {
        let schema = Toxic::schema(name).map(schemars::Schema::to_value).unwrap_or_default();
        Entry::new(format!("toxics.{name}"), field::first_sentence(schema["description"].as_str().unwrap_or_default()))
    };
    Toxic::TYPES.iter().map(entry).collect()
}

fn toxic(name: &str) -> Option<Topic> {
    let kind = name.strip_prefix("toxics.").unwrap_or(name);
    let mut topic = described(name, &Toxic::schema(kind)?.to_value());
    for section in &mut topic.sections {
        section.title = "Attributes".into();
    }
    let example = Toxic::EXAMPLES.iter().find(|text| text.split([':', ';']).next() == Some(kind))?;
    topic.example = Some(format!("squall proxy --upstream localhost:5432 --listen localhost:15432 --toxic '{example}'"));
    Some(topic)
}

fn rules(registry: &Registry) -> Topic {
    let topic = described("rules", &schemars::schema_for!(RuleSpec).to_value());
    let is_rule = |name: &str| squall_proxy::rule::names().any(|kind| kind == name);
    let kinds = faults(registry).into_iter().filter(|entry| is_rule(&entry.name)).collect();
    let example = "{ fault: http.abort, with: { status: 503 }, percent: 10%, match: { path: \"/v1/*\" } }";
    Topic { example: Some(example.into()), ..topic }.section("Faults", kinds)
}

/// A topic out of a schema alone.
fn described(name: &str, schema: &serde_json::Value) -> Topic {
    let text = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    Topic::new(name, &text).section("Fields", field::entries(schema))
}

fn verdicts() -> Vec<Entry> {
    let text = |verdict: Verdict| match verdict {
        Verdict::Held => "the steady state held through the fault and after it",
        Verdict::Deviated => "it did not: a weakness was found, or the system did not recover in time",
        Verdict::Unsteady => "the system was not steady before; nothing was touched",
        Verdict::Aborted => "a guard or a person stopped the run; everything was put back",
        Verdict::Inconclusive => "it could not be measured, or the fault had no effect",
        Verdict::Failed => "Squall itself failed: a fault could not be put in force, or not be reverted",
    };
    let entry =
        |verdict: Verdict| Entry { note: format!("exit code {}", verdict.exit_code()), ..Entry::new(verdict.name(), text(verdict)) };
    Verdict::ALL.into_iter().map(entry).collect()
}

fn exit_codes() -> Vec<Entry> {
    let mut codes: Vec<(u8, String)> =
        verdicts().into_iter().zip(Verdict::ALL).map(|(e, v)| (v.exit_code(), format!("{}: {}", e.name, e.text))).collect();
    codes.push((exit::USAGE, "wrong usage, or a manifest that cannot be used".into()));
    codes.push((exit::REFUSED, "refused by policy or conflict, or nothing matched; nothing was touched".into()));
    codes.sort();
    codes.into_iter().map(|(code, text)| Entry::new(code.to_string(), text)).collect()
}

fn fault(name: &str, registry: &Registry) -> Option<Topic> {
    let kind = registry.fault(name)?;
    let meta = kind.meta();
    let undone = match meta.undone {
        Undone::Kernel => "by the kernel, when Squall's process ends",
        Undone::Child => "by ending the child process that carries it, which the kernel ends with Squall",
        Undone::Ledger => "from the ledger: by the engine, the watchdog, the next start or `squall recover`",
        Undone::Supervisor => "by whoever supervises the target; Squall checks that they did",
        Undone::Depends => "it depends on the arguments; `squall plan` says",
        Undone::Irreversible => "never; the step has to say `acceptIrreversible: true`",
    };
    let mut topic = Topic::new(name, &format!("{}.", meta.summary.trim_end_matches('.')));
    topic.facts.push(Fact { name: "targets", value: meta.targets.join(", ") });
    topic.facts.push(Fact { name: "lasts", value: if meta.lasting { "until reverted: needs `for`" } else { "a moment" }.into() });
    topic.facts.push(Fact { name: "undone", value: undone.into() });
    if !meta.needs.is_empty() {
        topic
            .facts
            .push(Fact { name: "needs", value: format!("{} (`squall doctor` says whether this host has it)", meta.needs.join(", ")) });
    }
    topic.example = Some(meta.example.to_owned());
    Some(topic.section("Arguments, under `with`", field::entries(&kind.schema().to_value())))
}

fn probe(name: &str, registry: &Registry) -> Option<Topic> {
    let kind = registry.probe(name.strip_prefix("probes.")?)?;
    let meta = kind.meta();
    let mut topic = Topic::new(name, &format!("{}.", meta.summary.trim_end_matches('.')));
    topic.example = Some(meta.example.to_owned());
    Some(topic.section(&format!("Arguments, under `{}`", meta.name), field::entries(&kind.schema().to_value())))
}

fn target(name: &str, registry: &Registry) -> Option<Topic> {
    let kind = registry.target(name.strip_prefix("targets.")?)?;
    let meta = kind.meta();
    let mut topic = Topic::new(name, &format!("{}.", meta.summary.trim_end_matches('.')));
    topic.example = Some(meta.example.to_owned());
    let topic = topic.section(&format!("Selector, under `{}`", meta.name), field::entries(&kind.schema().to_value()));
    let variables = meta.variables.iter();
    let variables =
        variables.map(|known| Entry { name: format!("{{{{target.{}}}}}", known.name), text: known.what.into(), note: String::new() });
    Some(topic.section("In the questions of a comparison", variables.collect()))
}
