//! Comparisons of a step's targets with its control group.

use super::Checker;
use crate::{Compare, Path, Percent, Spec, Step, nearest, quoted};

/// Below this, "worse" is a guess; at 100 % it could never be said.
const LEAST_SURE: Percent = Percent(80.0);

pub(super) fn check(spec: &Spec, path: &Path, checker: &mut Checker<'_>) {
    let mut steps = Vec::new();
    compared(&spec.method, &mut steps);
    checker
        .names("comparison", spec.compare.iter().enumerate().map(|(i, compare)| (compare.probe.name.as_str(), path.index(i).key("name"))));
    for (i, compare) in spec.compare.iter().enumerate() {
        let path = path.index(i);
        if spec.hypothesis.probes.iter().any(|probe| probe.name == compare.probe.name) {
            let hint = "give it another name: reports and findings tell them apart by it";
            checker.at(&path.key("name"), format!("a probe is called `{}`, too", compare.probe.name), hint);
        }
        checker.positive(&path.key("every"), compare.probe.every, "1s");
        checker.positive(&path.key("timeout"), compare.probe.timeout, "2s");
        answer(compare, &path, checker);
        limits(compare, &path, checker);
        step(spec, compare, &steps, &path, checker);
    }
}

/// Fault steps that have a control group, by name where they have one.
fn compared<'s>(steps: &'s [Step], found: &mut Vec<Option<&'s str>>) {
    for step in steps {
        if step.fault.is_some() && step.target.as_ref().is_some_and(|target| target.control) {
            found.push(step.name.as_deref());
        }
        for group in [&step.parallel, &step.sequence].into_iter().flatten() {
            compared(group, found);
        }
    }
}

fn answer(compare: &Compare, path: &Path, checker: &mut Checker<'_>) {
    let at = path.key("expect");
    let Some(expect) = &compare.probe.expect else {
        if !checker.is_mended(&at) {
            let hint = "say what a good answer is, such as `expect: { eq: 200 }`; each that is not counts as a bad one";
            checker.at_key(&path.key("name"), "a comparison needs an `expect`", hint);
        }
        return;
    };
    checker.expectation(expect, &at);
    if expect.persist.is_some() {
        let hint = "remove it: every answer counts, and how many it takes is for the test to say";
        checker.at_key(&at.key("for"), "`for` means nothing in a comparison", hint);
    }
}

fn limits(compare: &Compare, path: &Path, checker: &mut Checker<'_>) {
    if compare.margin.0 >= 100.0 {
        let message = format!("with a margin of {} nothing is ever worse", compare.margin);
        checker.at(&path.key("margin"), message, "write how many points more bad answers are acceptable, such as `5%`");
    }
    if !(LEAST_SURE.0..100.0).contains(&compare.confidence.0) {
        let message = format!("the confidence is {}, and must be at least {LEAST_SURE} and below 100%", compare.confidence);
        checker.at(&path.key("confidence"), message, format!("write one such as `{}` or `99.9%`", Compare::CONFIDENCE));
    }
}

fn step(spec: &Spec, compare: &Compare, steps: &[Option<&str>], path: &Path, checker: &mut Checker<'_>) {
    let method = Path::default().key("spec").key("method");
    if spec.method.is_empty() || checker.mended.iter().any(|mended| mended.starts_with(&method) || method.starts_with(mended)) {
        return;
    }
    let names: Vec<&str> = steps.iter().copied().flatten().collect();
    match &compare.step {
        None if steps.is_empty() => {
            let hint = "add `control: true` to the `target` of the step whose targets are to be compared";
            checker.at_key(&path.key("name"), "no step has a control group to compare with", hint);
        }
        None if steps.len() > 1 => {
            let hint = if names.is_empty() {
                "give each a `name`, and write one here".into()
            } else {
                format!("add `step:` with one of {}", quoted(&names))
            };
            checker.at_key(&path.key("name"), "several steps have a control group", hint);
        }
        Some(step) if !names.contains(&step.as_str()) => {
            let all = || match names.as_slice() {
                [] => "give a step a `name`, and its `target` a `control: true`".to_owned(),
                names => format!("the steps with a control group are {}", quoted(names)),
            };
            let hint = nearest(step, names.iter().copied()).map_or_else(all, |meant| format!("did you mean `{meant}`?"));
            checker.at(&path.key("step"), format!("there is no step `{step}` with a control group"), hint);
        }
        None | Some(_) => {}
    }
}
