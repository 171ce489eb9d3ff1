//! The questions of a comparison: a probe's arguments with what is known of each target put in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use squall_model::{Arm, Compare, inline, nearest, quoted};

use crate::program::{CompareSpec, Program};
use crate::target::Variable;
use crate::{Registry, Target, TargetMeta};

/// A question to one target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    pub arm: Arm,
    /// The target's id.
    pub target: String,
    /// The host that the target is on, if that is another one.
    pub host: Option<String>,
    /// The probe's arguments.
    pub args: Json,
}

/// Something in a probe's arguments that stands for what is known of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Placeholder<'a> {
    /// `{{host}}`
    Host,
    /// `{{host.zone}}`: a label of the host.
    Label(&'a str),
    /// `{{target.port}}`
    Target(&'a str),
    /// Anything else.
    Unknown,
}

impl<'a> Placeholder<'a> {
    fn read(name: &'a str) -> Self {
        match name.split_once('.') {
            None if name == "host" => Self::Host,
            Some(("host", label)) if !label.is_empty() => Self::Label(label),
            Some(("target", variable)) if !variable.is_empty() => Self::Target(variable),
            _ => Self::Unknown,
        }
    }
}

/// Names between `{{` and `}}`, each with its place in the text.
fn names(text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find("{{")?;
        let end = start + text[start..].find("}}")?;
        from = end + 2;
        Some((start..end + 2, text[start + 2..end].trim()))
    })
}

/// The arguments with each placeholder replaced by what `value` says of it. A text that is nothing but a number's placeholder becomes that
/// number.
fn replaced(args: &Json, value: &impl Fn(&str) -> Result<Json, String>) -> Result<Json, String> {
    match args {
        Json::String(text) => {
            let (mut out, mut rest) = (String::with_capacity(text.len()), 0);
            for (place, name) in names(text) {
                let value = value(name)?;
                if place == (0..text.len()) {
                    return Ok(value);
                }
                out.push_str(&text[rest..place.start]);
                match value {
                    Json::String(text) => out.push_str(&text),
                    other => out.push_str(&other.to_string()),
                }
                rest = place.end;
            }
            out.push_str(&text[rest..]);
            Ok(Json::String(out))
        }
        Json::Array(items) => items.iter().map(|item| replaced(item, value)).collect::<Result<Vec<_>, _>>().map(Json::Array),
        Json::Object(map) => {
            let entries = map.iter().map(|(key, item)| Ok((key.clone(), replaced(item, value)?)));
            entries.collect::<Result<_, String>>().map(Json::Object)
        }
        other => Ok(other.clone()),
    }
}

fn variable<'m>(meta: &'m TargetMeta, name: &str) -> Option<&'m Variable> {
    meta.variables.iter().find(|variable| variable.name == name)
}

/// The arguments as they would be for some target of a kind, to be checked before there is one; or what is wrong with a placeholder, and
/// what to do about it.
pub(crate) fn sample(args: &Json, meta: &TargetMeta) -> Result<Json, (String, String)> {
    let hint = std::cell::RefCell::new(String::new());
    let value = |name: &str| {
        let known: Vec<String> = meta.variables.iter().map(|variable| format!("target.{}", variable.name)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).chain(["host", "host.LABEL"]).collect();
        match Placeholder::read(name) {
            Placeholder::Host | Placeholder::Label(_) => Ok(Json::String("host".into())),
            Placeholder::Target(name) if variable(meta, name).is_some_and(|known| known.number) => Ok(Json::from(1)),
            Placeholder::Target(name) if variable(meta, name).is_some() => Ok(Json::String("name".into())),
            Placeholder::Target(_) | Placeholder::Unknown => {
                let meant = nearest(name, known.iter().copied());
                *hint.borrow_mut() = meant.map_or_else(
                    || format!("of a `{}` there are {}", meta.name, quoted(&known)),
                    |meant| format!("did you mean `{{{{{meant}}}}}`?"),
                );
                Err(format!("`{{{{{name}}}}}` stands for nothing"))
            }
        }
    };
    replaced(args, &value).map_err(|message| (message, hint.take()))
}

/// Whether the arguments say anything of the target that is asked.
pub(crate) fn tells_targets_apart(args: &Json) -> bool {
    match args {
        Json::String(text) => names(text).next().is_some(),
        Json::Array(items) => items.iter().any(tells_targets_apart),
        Json::Object(map) => map.values().any(tells_targets_apart),
        _ => false,
    }
}

/// The arguments for one target.
fn filled(args: &Json, target: &Target, meta: &TargetMeta) -> Result<Json, String> {
    let nothing = |name: &str, why: &str| Err(format!("`{{{{{name}}}}}` stands for nothing: {why}"));
    replaced(args, &|name: &str| match Placeholder::read(name) {
        // On this host, a name that always leads to it.
        Placeholder::Host => Ok(Json::String(target.label_of_host("host").unwrap_or("localhost").to_owned())),
        Placeholder::Label(label) => match target.label_of_host(label) {
            Some(value) => Ok(Json::String(value.to_owned())),
            None => nothing(name, &format!("the host of {} has no label `{label}`", target.label)),
        },
        Placeholder::Target(wanted) => {
            let value = variable(meta, wanted).and_then(|known| target.own_facts().pointer(known.place)).filter(|value| !value.is_null());
            value.cloned().map_or_else(|| nothing(name, &format!("{} has none", target.label)), Ok)
        }
        Placeholder::Unknown => nothing(name, "there is no such placeholder"),
    })
}

/// The questions of a comparison to these targets and this control group, or why they cannot be asked. Two that are the same cannot tell
/// one group from the other.
pub(crate) fn questions(
    spec: &CompareSpec,
    compare: &Compare,
    registry: &Registry,
    targets: &[Target],
    control: &[Target],
) -> Result<Vec<Question>, String> {
    let error = |why: String| format!("comparison `{}`: {why}", spec.name);
    let probe = registry.probe(&compare.probe.kind).ok_or_else(|| error(format!("`{}` is not a kind of probe", compare.probe.kind)))?;
    let arms = targets.iter().map(|target| (Arm::Experiment, target)).chain(control.iter().map(|target| (Arm::Control, target)));
    let mut questions = Vec::new();
    for (arm, target) in arms {
        let kind = registry.target(&target.kind).ok_or_else(|| error(format!("`{}` is not a kind of target", target.kind)))?;
        let args = filled(&compare.probe.with, target, kind.meta()).map_err(error)?;
        if let Some(wrong) = probe.check(&args).into_iter().next() {
            return Err(error(format!("for {}: {}: {}", target.label, wrong.path, wrong.message)));
        }
        let host = target.label_of_host("host").map(str::to_owned);
        questions.push(Question { arm, target: target.id.clone(), host, args });
    }
    let mut asked: BTreeMap<(Option<&str>, String), BTreeSet<Arm>> = BTreeMap::new();
    for question in &questions {
        let from = question.host.as_deref().filter(|_| !probe.meta().from_anywhere);
        asked.entry((from, inline(&question.args))).or_default().insert(question.arm);
    }
    if let Some(((_, args), _)) = asked.iter().find(|(_, arms)| arms.len() > 1) {
        return Err(error(format!("the same is asked of both groups ({}: {args}), so nothing is compared", compare.probe.kind)));
    }
    Ok(questions)
}

impl Program {
    /// The questions of every comparison of a step.
    pub(crate) fn questions(
        &self,
        node: usize,
        registry: &Registry,
        targets: &[Target],
        control: &[Target],
    ) -> Result<Vec<(usize, Question)>, String> {
        let mut all = Vec::new();
        let manifest = &self.experiment.spec.compare;
        for (index, (spec, compare)) in self.comparisons.iter().zip(manifest).enumerate().filter(|(_, (spec, _))| spec.node == node) {
            all.extend(questions(spec, compare, registry, targets, control)?.into_iter().map(|question| (index, question)));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const META: TargetMeta = TargetMeta {
        name: "process",
        summary: "",
        variables: &[
            Variable { name: "port", place: "/ports/0", number: true, what: "" },
            Variable { name: "name", place: "/name", number: false, what: "" },
        ],
        example: "",
    };

    fn target(facts: Json) -> Target {
        Target { kind: "process".into(), id: "process:1:2".into(), label: "cart (pid 1)".into(), facts }
    }

    #[test]
    fn what_is_known_of_a_target_is_put_in() {
        let args =
            json!({ "url": "http://{{ host }}:{{target.port}}/{{target.name}}", "port": "{{target.port}}", "n": [1, "{{target.name}}"] });
        let here = filled(&args, &target(json!({ "ports": [8080], "name": "cart" })), &META).expect("all known");
        assert_eq!(here, json!({ "url": "http://localhost:8080/cart", "port": 8080, "n": [1, "cart"] }));
        let placed = json!({ "host": "web-1", "labels": { "zone": "a" }, "target": { "facts": { "ports": [9], "name": "x" } } });
        let there = filled(&json!("{{host}}:{{target.port}} in {{host.zone}}"), &target(placed), &META).expect("all known");
        assert_eq!(there, json!("web-1:9 in a"));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let none = filled(&json!("{{target.port}}"), &target(json!({ "ports": [] })), &META).expect_err("no port");
        assert_eq!(none, "`{{target.port}}` stands for nothing: cart (pid 1) has none");
        let label = filled(&json!("{{host.zone}}"), &target(json!({})), &META).expect_err("no label");
        assert!(label.contains("no label `zone`"), "{label}");
        let (message, hint) = sample(&json!({ "url": "http://h:{{target.prot}}/" }), &META).expect_err("a slip");
        assert_eq!((message.as_str(), hint.as_str()), ("`{{target.prot}}` stands for nothing", "did you mean `{{target.port}}`?"));
        assert_eq!(sample(&json!({ "port": "{{target.port}}" }), &META).expect("known"), json!({ "port": 1 }));
    }

    #[test]
    fn text_with_braces_of_its_own_is_left_alone() {
        for text in ["up{job=\"x\"}", "a {{ b", "}} c", ""] {
            assert_eq!(filled(&json!(text), &target(json!({})), &META).expect("no placeholder"), json!(text));
            assert!(!tells_targets_apart(&json!([{ "a": text }])));
        }
        assert!(tells_targets_apart(&json!([{ "a": "x{{host}}" }])));
    }
}
