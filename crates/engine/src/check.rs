//! Checks an experiment against the kinds that there are: their names, their arguments, and thresholds against what the
//! probes measure. What needs no kinds has been checked by `squall-model`.

use std::collections::BTreeMap;
use std::sync::Arc;

use squall_model::{
    Compare, Diagnostics, Dimension, Document, Expectation, Experiment, Path, Probe, Step, Target, check_threshold, nearest, quoted,
    read_experiment,
};

use crate::compare::{sample, tells_targets_apart};
use crate::fault::Undone;
use crate::registry::{AnyFault, AnyProbe, KindError, Registry};

/// More messages help nobody, and some cost a search for what was meant.
const MAX_FOUND: usize = 100;

/// Reads an experiment and checks all of it: everything that is wrong at once, in order of place.
pub fn validate_experiment(text: &str, registry: &Registry) -> Result<(Experiment, Document), Diagnostics> {
    let mut reading = read_experiment(text)?;
    let found = reading.value.as_ref().map(|experiment| check(experiment, &reading.document, registry));
    reading.add(found.unwrap_or_default());
    reading.finish()
}

/// Everything about the kinds that an experiment names, with its place in the document that it was read from.
pub fn check(experiment: &Experiment, document: &Document, registry: &Registry) -> Diagnostics {
    let mut checker = Checker { document, registry, found: Vec::new(), dimensions: BTreeMap::new() };
    let spec = Path::default().key("spec");
    let probes = spec.key("hypothesis").key("probes");
    for (i, probe) in experiment.spec.hypothesis.probes.iter().enumerate() {
        checker.probe(experiment, probe, &probes.index(i));
    }
    for (i, guard) in experiment.spec.guards.iter().enumerate() {
        checker.threshold(&guard.probe, &guard.abort, &spec.key("guards").index(i).key("abort"));
    }
    for (i, compare) in experiment.spec.compare.iter().enumerate() {
        checker.compare(experiment, compare, &spec.key("compare").index(i));
    }
    checker.steps(&experiment.spec.method, &spec.key("method"));
    checker.found
}

struct Checker<'a> {
    document: &'a Document,
    registry: &'a Registry,
    found: Diagnostics,
    /// Of the probes whose kind and arguments are right, by name.
    dimensions: BTreeMap<String, Dimension>,
}

impl<'a> Checker<'a> {
    fn at(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        if self.found.len() > MAX_FOUND {
            return;
        }
        self.found.push(self.document.at(path, message, Some(hint.into())));
    }

    fn at_key(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        if self.found.len() > MAX_FOUND {
            return;
        }
        self.found.push(self.document.at_key(path, message, Some(hint.into())));
    }

    /// A step lacks a field: shown at its fault, and about the field, so that nothing is said where that could not be read.
    fn lacks(&mut self, step: &Path, field: &str, message: String, hint: impl Into<String>) {
        let mut diagnostic = self.document.at(&step.key("fault"), message, Some(hint.into()));
        diagnostic.path = step.key(field).to_string();
        self.found.push(diagnostic);
    }

    /// Errors of a kind's arguments, which stand at `base`.
    fn arguments(&mut self, errors: Vec<KindError>, base: &Path, topic: &str) {
        for error in errors {
            let path = base.join(&error.path);
            let hint = error.hint.unwrap_or_else(|| format!("`squall explain {topic}` shows an example"));
            let absent = !self.document.has(base);
            let hint = if absent { format!("write it under `with`; `squall explain {topic}` shows an example") } else { hint };
            if error.at_key || absent { self.at_key(&path, error.message, hint) } else { self.at(&path, error.message, hint) }
        }
    }

    /// The kind of a probe, among the fields of what it is written in.
    fn kind_of_probe(&mut self, probe: &Probe, fields: &[&str], path: &Path) -> Option<&'a Arc<dyn AnyProbe>> {
        let registry = self.registry;
        let known = registry.probe(&probe.kind);
        if known.is_none() {
            let kinds: Vec<&str> = registry.probes.iter().map(|kind| kind.meta().name).collect();
            let hint = unknown_kind(&probe.kind, &kinds, fields);
            self.at_key(path, format!("unknown kind of probe `{}`", probe.kind), hint);
        }
        known
    }

    fn probe(&mut self, experiment: &Experiment, probe: &Probe, path: &Path) {
        let base = path.key(&probe.kind);
        let Some(kind) = self.kind_of_probe(probe, &Probe::FIELDS, &base) else { return };
        let errors = kind.check(&probe.with);
        let good = errors.is_empty();
        let dimension = kind.dimension(&probe.with);
        self.arguments(errors, &base, &format!("probes.{}", probe.kind));
        if !good {
            return;
        }
        self.traffic(experiment, probe, &base);
        self.dimensions.insert(probe.name.clone(), dimension);
        if let Some(expect) = &probe.expect {
            self.threshold(&probe.name, expect, &path.key("expect"));
        }
    }

    /// A comparison's question, as it would be to one of its step's targets.
    fn compare(&mut self, experiment: &Experiment, compare: &Compare, path: &Path) {
        let probe = &compare.probe;
        let base = path.key(&probe.kind);
        let Some(kind) = self.kind_of_probe(probe, &Compare::FIELDS, &base) else { return };
        if probe.kind == "traffic" {
            let hint = "ask the targets themselves, as with `http: { url: \"http://127.0.0.1:{{target.port}}/\" }`";
            return self.at_key(&base, "the load of a run tells nothing of one target", hint);
        }
        let Some(meta) = compared(&experiment.spec.method, compare).and_then(|target| self.registry.target(&target.kind)).map(|k| k.meta())
        else {
            // Said already: there is no such step, or no such kind of target.
            return;
        };
        let args = match sample(&probe.with, meta) {
            Ok(args) => args,
            Err((message, hint)) => return self.at(&base, message, hint),
        };
        let errors = kind.check(&args);
        let good = errors.is_empty();
        let dimension = kind.dimension(&args);
        self.arguments(errors, &base, &format!("probes.{}", probe.kind));
        if kind.meta().from_anywhere && !tells_targets_apart(&probe.with) {
            let known = meta.variables.iter().map(|variable| format!("target.{}", variable.name)).chain(["host".to_owned()]);
            let known: Vec<String> = known.map(|name| format!("{{{{{name}}}}}")).collect();
            self.at(&base, "the same is asked of every target", format!("put in what tells them apart: {}", quoted(&known)));
        }
        if let (true, Some(expect)) = (good, &probe.expect)
            && let Some((key, message, hint)) = check_threshold(expect, dimension)
        {
            let at = path.key("expect");
            self.at(&key.map_or_else(|| at.clone(), |key| at.key(key)), message, hint);
        }
    }

    /// A `traffic` probe reads one of the experiment's own traffics.
    fn traffic(&mut self, experiment: &Experiment, probe: &Probe, base: &Path) {
        let Some(from) = probe.with.get("from").and_then(serde_json::Value::as_str).filter(|_| probe.kind == "traffic") else { return };
        let names: Vec<&str> = experiment.spec.traffic.iter().map(|traffic| traffic.name.as_str()).collect();
        if !names.contains(&from) && self.found.len() <= MAX_FOUND {
            let all = || match names.as_slice() {
                [] => "add it under `spec.traffic`".to_owned(),
                names => format!("the traffics of this experiment are {}", quoted(names)),
            };
            let hint = nearest(from, names.iter().copied()).map_or_else(all, |meant| format!("did you mean `{meant}`?"));
            self.at(&base.key("from"), format!("there is no traffic `{from}`"), hint);
        }
    }

    fn threshold(&mut self, probe: &str, expectation: &Expectation, path: &Path) {
        let Some(dimension) = self.dimensions.get(probe) else { return };
        if let Some((key, message, hint)) = check_threshold(expectation, *dimension) {
            let path = key.map_or_else(|| path.clone(), |key| path.key(key));
            self.at(&path, message, hint);
        }
    }

    fn steps(&mut self, steps: &[Step], path: &Path) {
        for (i, step) in steps.iter().enumerate() {
            let path = path.index(i);
            if let Some(name) = &step.fault {
                self.fault(step, name, &path);
            }
            if let Some(when) = &step.when {
                self.threshold(&when.probe, &when.is, &path.key("when").key("is"));
            }
            for (key, group) in [("parallel", &step.parallel), ("sequence", &step.sequence)] {
                if let Some(group) = group {
                    self.steps(group, &path.key(key));
                }
            }
        }
    }

    fn fault(&mut self, step: &Step, name: &str, path: &Path) {
        let registry = self.registry;
        let known = registry.fault(name);
        if let Some(fault) = known {
            self.known_fault(fault.as_ref(), step, path);
        } else {
            let hint = unknown_fault(name, registry);
            self.at(&path.key("fault"), format!("unknown fault `{name}`"), hint);
        }
        if let Some(target) = &step.target {
            self.target(target, known.map(AsRef::as_ref), &path.key("target"));
        }
    }

    fn known_fault(&mut self, fault: &dyn AnyFault, step: &Step, path: &Path) {
        let meta = fault.meta();
        let args = step.with.clone().unwrap_or_default();
        self.arguments(fault.check(&args), &path.key("with"), meta.name);
        if step.target.is_none() && !meta.targets.contains(&"host") {
            let example = meta.targets.iter().find_map(|name| self.registry.target(name)).map(|kind| one_line(kind.meta().example));
            let hint = example.map_or_else(|| format!("add a target: {}", quoted(meta.targets)), |example| format!("add `{example}`"));
            self.lacks(path, "target", format!("`{}` needs a `target`", meta.name), hint);
        }
        if meta.lasting && step.duration.is_none() {
            let message = format!("`{}` lasts until it is reverted, and needs a `for`", meta.name);
            self.lacks(path, "for", message, "add its time box, such as `for: 30s`");
        }
        if meta.undone == Undone::Irreversible && !step.accept_irreversible {
            let hint = "if that is acceptable, add `acceptIrreversible: true` to the step";
            self.lacks(path, "acceptIrreversible", format!("`{}` cannot be undone", meta.name), hint);
        }
    }

    fn target(&mut self, target: &Target, fault: Option<&dyn AnyFault>, path: &Path) {
        let base = path.key(&target.kind);
        let Some(kind) = self.registry.target(&target.kind) else {
            let kinds: Vec<&str> = self.registry.targets.iter().map(|kind| kind.meta().name).collect();
            let hint = unknown_kind(&target.kind, &kinds, &Target::FIELDS);
            self.at_key(&base, format!("unknown kind of target `{}`", target.kind), hint);
            return;
        };
        let topic = format!("targets.{}", target.kind);
        let (selector, except) = (kind.check(&target.selector), target.except.as_ref().map(|except| kind.check(except)));
        self.arguments(selector, &base, &topic);
        self.arguments(except.unwrap_or_default(), &path.key("except"), &topic);
        if let Some(meta) = fault.map(AnyFault::meta)
            && !meta.targets.contains(&target.kind.as_str())
        {
            let message = format!("`{}` cannot be applied to a `{}`", meta.name, target.kind);
            self.at_key(&base, message, format!("its targets are {}", quoted(meta.targets)));
        }
    }
}

/// The target of the step that a comparison is about.
fn compared<'a>(steps: &'a [Step], compare: &Compare) -> Option<&'a Target> {
    steps.iter().find_map(|step| {
        let meant = step.fault.is_some() && (compare.step.is_none() || compare.step == step.name);
        let own = step.target.as_ref().filter(|target| meant && target.control);
        let within = || [&step.parallel, &step.sequence].into_iter().flatten().find_map(|group| compared(group, compare));
        own.or_else(within)
    })
}

/// The hint for a kind that does not exist: near in letters to a kind, or to a field beside it.
fn unknown_kind(word: &str, kinds: &[&str], fields: &[&str]) -> String {
    if let Some(meant) = nearest(word, kinds.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    match nearest(word, fields.iter().copied()) {
        Some(field) => format!("did you mean the field `{field}`? A kind is missing too: one of {}", quoted(kinds)),
        None => format!("the kinds are {}", quoted(kinds)),
    }
}

fn unknown_fault(word: &str, registry: &Registry) -> String {
    let names: Vec<&str> = registry.faults.iter().map(|fault| fault.name()).collect();
    // `kill` is `process.kill`; `process` is a family.
    let by_last = names.iter().find(|name| name.rsplit('.').next() == Some(word));
    if let Some(meant) = by_last.copied().or_else(|| nearest(word, names.iter().copied())) {
        return format!("did you mean `{meant}`?");
    }
    let family = word.split('.').next().unwrap_or_default();
    let siblings: Vec<&str> = names.iter().copied().filter(|name| name.split('.').next() == Some(family)).collect();
    if siblings.is_empty() {
        return format!("the faults are {}", quoted(&names));
    }
    let last = word.rsplit('.').next().unwrap_or_default();
    let near = nearest(last, siblings.iter().filter_map(|name| name.rsplit('.').next()));
    let near = near.and_then(|last| siblings.iter().find(|name| name.rsplit('.').next() == Some(last)));
    near.map_or_else(|| format!("the faults of `{family}` are {}", quoted(&siblings)), |meant| format!("did you mean `{meant}`?"))
}

/// An example that fits into a hint.
fn one_line(example: &str) -> String {
    let lines: Vec<&str> = example.trim().lines().collect();
    match lines.as_slice() {
        [line] if line.starts_with("target:") => (*line).to_owned(),
        [line] => format!("target: {{ {line} }}"),
        _ => "target: { process: { name: payments } }".into(),
    }
}
